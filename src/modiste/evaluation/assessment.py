"""Evaluation of a finished run on validation or on the held-out test set. Evaluations on test are counted."""

import dataclasses
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from modiste import machine
from modiste.data.dataset import ImageSet
from modiste.display import Displayed, Table, interval, percent, times
from modiste.errors import ReadOnlyError, RunError
from modiste.evaluation import metrics
from modiste.evaluation.calibration import Bin, expected_calibration_error, reliability
from modiste.evaluation.inference import infer
from modiste.evaluation.metrics import ClassScores
from modiste.evaluation.predictions import write_predictions
from modiste.evaluation.run_images import load_own_development
from modiste.evaluation.statistics import wilson_interval
from modiste.runs import run_folder
from modiste.runs.run_folder import Measured, Run, open_run

Split = Literal["validation", "test"]
Weights = Literal["picked", "last", "snapshots"]


@dataclass(frozen=True, kw_only=True, repr=False)
class Assessment(Displayed):
    """The measures of a run on one split.

    Attributes:
        split: ``validation``, ``test`` or ``other data``; see ``other_data.evaluate_on``.
        weights: ``picked``: those of the epoch selected by validation; ``last``: those of the last epoch; or
            ``snapshots``: those at the end of every cycle of the learning rate, as an ensemble.
        epoch: The epoch of the weights; 0 for an ensemble.
        images: Number of images.
        accuracy: Share of images that are classified correctly.
        accuracy_interval: Wilson's 95 % interval of the accuracy.
        loss: Mean cross-entropy, in nats.
        per_class: Precision, recall, F1 and support of each class, by name.
        macro: Their plain mean over the classes that appear as a label or a prediction.
        weighted: Their mean over classes, weighted by support.
        confusion: Confusion matrix: number of images by label (row) and prediction (column).
        top2_accuracy: Share of images whose label is among the two most probable classes.
        brier: Mean squared distance of the probabilities from the one-hot labels, 0 to 2.
        calibration: Bins of the reliability diagram.
        expected_calibration_error: Mean gap between confidence and accuracy, 0 to 1.
        test_openings: Number of times the run has been evaluated on test, including this one. An evaluation that was
            killed and repeated may count twice.
        unfinished_step: Steps that a run has taken which has not finished; None for a finished run.
    """

    split: Split | Literal["other data"]
    weights: Weights
    epoch: int
    images: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    loss: float
    per_class: dict[str, ClassScores]
    macro: ClassScores
    weighted: ClassScores
    confusion: tuple[tuple[int, ...], ...]
    top2_accuracy: float
    brier: float
    calibration: tuple[Bin, ...]
    expected_calibration_error: float
    test_openings: int
    unfinished_step: int | None = None

    def as_plain(self) -> dict[str, Any]:
        """Return the same as dictionaries, lists, numbers and strings."""
        return dataclasses.asdict(self)

    def table(self) -> Table:
        """Return the accuracy with its interval, and each class's scores."""
        title = f"{self.split}, {self.images:,} images: accuracy {percent(self.accuracy)}"
        rows = [
            [name, *("-" if figure is None else f"{figure:.4f}" for figure in score.figures), f"{score.support:,}"]
            for name, score in self.per_class.items()
        ]
        notes = [f"loss {self.loss:.4f}, expected calibration error {self.expected_calibration_error:.4f}"]
        if self.unfinished_step is not None:
            notes.append(f"the run has not finished: its newest saved state, after {self.unfinished_step:,} steps")
        if self.test_openings:
            notes.append(f"evaluated on test {times(self.test_openings)}")
        header = ("class", "precision", "recall", "F1-score", "images")
        return Table(f"{title} ({interval(self.accuracy_interval)})", rows, header, notes)


def evaluate(
    folder: Path | str,
    *,
    split: Split = "validation",
    weights: Weights = "picked",
    device: str = "auto",
    data_folder: Path | str | None = None,
) -> Assessment:
    """Evaluate a finished run on validation, or on the held-out test set.

    Logits are computed once and stored in the run folder; later calls read them. The run counts every evaluation on
    test. If the run folder is read-only, the measures are still returned, with a warning that nothing was stored.

    Example::

        print(modiste.evaluate("runs/paper", split="test").accuracy)

    Args:
        folder: The run folder.
        split: ``validation`` or ``test``.
        weights: ``picked`` for those selected by validation, ``last`` for those of the last epoch, ``snapshots`` for
            the mean of the probabilities of all snapshots, of a run with several cycles of the learning rate.
        device: Where the logits are computed.
        data_folder: Folder of Fashion-MNIST, or of data that have moved; see ``load_dataset``. Stored logits are
            accepted only if they belong to the images in that folder.

    Raises:
        RecipeError: There is no such split, or there are no such weights.
        RunError: The run is unfinished or damaged, or the data are not those it was trained or evaluated on.
        DataError: The images are missing or damaged.
    """
    return keep(measure(folder, split=split, weights=weights, device=device, data_folder=data_folder)).assess()


@dataclass(frozen=True)
class Measurement:
    """The logits of a run on one split, and the state of the run after they were computed.

    Attributes:
        run: The run.
        split: ``validation`` or ``test``.
        weights: ``picked``, ``last`` or ``snapshots``.
        measured: The logits.
        is_new: Whether the run folder does not hold these logits yet.
    """

    run: Run
    split: Split
    weights: Weights
    measured: Measured
    is_new: bool = False

    def write_predictions(self, path: Path | str) -> None:
        """Write a file with the prediction of every image; arguments and errors as for ``write_predictions``."""
        write_predictions(path, self.measured.logits, self.measured.labels, class_names(self.run))

    def assess(self) -> Assessment:
        """Return the measures of these logits."""
        run = self.run
        return assess(
            self.measured.logits,
            self.measured.labels,
            class_names(run),
            split=self.split,
            weights=self.weights,
            epoch=epoch_of(run, self.weights),
            test_openings=run.test_openings,
        )


def measure(
    folder: Path | str,
    *,
    split: Split = "validation",
    weights: Weights = "picked",
    device: str = "auto",
    data_folder: Path | str | None = None,
    images: ImageSet | None = None,
) -> Measurement:
    """Return the logits of a finished run, stored or computed; see ``evaluate``. Nothing is stored or counted.

    Args:
        folder: The run folder.
        split: ``validation`` or ``test``.
        weights: ``picked``, ``last`` or ``snapshots``.
        device: Where the logits are computed.
        data_folder: See ``evaluate``.
        images: Images of the split, for a run on data in memory. Stored logits are accepted only if they belong to
            these images.
    """
    run = open_run(folder)
    name = run_folder.logits_name(split, weights)
    found = stored = run.measured(split, weights) if run_folder.is_listed(run, name) else None
    if found is None or data_folder is not None or images is not None:
        measured = load_split(run, split, data_folder) if images is None else images
        found = _matched(run, stored, measured, split) or _infer(run, measured, weights, device)
    is_new = stored is None or found.logits is not stored.logits
    return Measurement(run, split, weights, found, is_new)


def keep(found: Measurement) -> Measurement:
    """Store new logits in the run folder, and count an evaluation on test; return the measurement of that run."""
    run, split, weights = found.run, found.split, found.weights
    new = {}
    if found.is_new:
        new[run_folder.logits_name(split, weights)] = run_folder.logits_bytes(found.measured, epoch_of(run, weights))
    return replace(found, run=_kept(run, new, openings=int(split == "test")), is_new=False)


def assess_stored(run: Run, *, split: Split = "validation", weights: Weights = "picked") -> Assessment:
    """Evaluate a run by the logits stored in its folder, without loading images; RunError if there are none."""
    return Measurement(run, split, weights, run.measured(split, weights)).assess()


def assess(
    logits: Float[Tensor, "n classes"],
    labels: Int64[Tensor, " n"],
    names: tuple[str, ...],
    **circumstances: Any,
) -> Assessment:
    """Compute all measures from logits and labels.

    Args:
        logits: Logits of each image.
        labels: Labels of each image.
        names: Names of the classes.
        circumstances: The other fields of ``Assessment``: split, weights, epoch, test_openings, unfinished_step.
    """
    matrix = metrics.confusion(logits, labels)
    bins = reliability(logits, labels)
    return Assessment(
        images=len(labels),
        accuracy=metrics.accuracy(logits, labels),
        accuracy_interval=wilson_interval(int(matrix.diag().sum()), len(labels)),
        loss=metrics.cross_entropy(logits, labels),
        per_class=dict(zip(names, metrics.class_scores(matrix), strict=True)),
        macro=metrics.macro_mean(matrix),
        weighted=metrics.weighted_mean(matrix),
        confusion=tuple(tuple(row) for row in matrix.tolist()),
        top2_accuracy=metrics.top_accuracy(logits, labels, 2),
        brier=metrics.brier(logits, labels),
        calibration=tuple(bins),
        expected_calibration_error=expected_calibration_error(bins),
        **circumstances,
    )


def load_split(run: Run, split: Split, data_folder: Path | str | None = None) -> ImageSet:
    """Load the images of a run's split; RunError if the data are not those that it was trained on."""
    run_folder.check_split(split)
    development = load_own_development(run, data_folder)
    if split == "validation":
        return development.validation
    from modiste.data import held_out  # not before: a process that trains also loads this file, for its classes

    return held_out.load_test(run.recipe.data, None if data_folder is None else Path(data_folder))


def class_names(run: Run) -> tuple[str, ...]:
    """Return the run's class names."""
    return run.load_info().task.class_names


def _matched(run: Run, stored: Measured | None, images: ImageSet, split: Split) -> Measured | None:
    """Return the stored logits if they belong to ``images``; None if they must be computed.

    Earlier versions of Modiste did not store which images the logits belong to. On validation the images are known,
    because the data are those of training. On test the logits are computed again.

    Raises:
        RunError: The stored logits belong to other images.
    """
    if stored is None or (split == "test" and not stored.images):
        return None
    identity = images.identity()
    if not stored.images and stored.labels.equal(images.labels):
        return replace(stored, images=identity)
    if stored.images != identity:
        raise RunError(
            f"{run.folder}: the {split} images found are not those that it was measured on; restore the original "
            "images, or give their folder with --data-folder"
        )
    return stored


def _kept(run: Run, files: dict[str, bytes], *, openings: int) -> Run:
    """Write files into the run folder and count evaluations on test; warn if the folder is read-only."""
    if not files and not openings:
        return run
    try:
        return run_folder.keep(run, files, openings=openings)
    except ReadOnlyError as error:
        lost = "nothing was stored, and this evaluation on test was not counted" if openings else "nothing was stored"
        logging.getLogger(__name__).warning("%s: %s", lost, error)
        return replace(run, test_openings=run.test_openings + openings)


def epoch_of(run: Run, weights: Weights) -> int:
    """Return the epoch of the weights; 0 for snapshots, which are of several."""
    return {"picked": run.picked.epoch, "last": run.history[-1].epoch, "snapshots": 0}[weights]


def infer_run(run: Run, images: UInt8[Tensor, "n c h w"], weights: Weights, device: str) -> Float[Tensor, "n classes"]:
    """Return the logits of a run on images; of snapshots, the logarithm of the mean of their probabilities.

    Averaging the snapshots of one run is due to Huang et al., "Snapshot ensembles: train 1, get M for free" (2017).

    Raises:
        RunError: The run has no snapshots, or a logit is not finite.
    """
    chosen = machine.choose_device(device)
    images = images.to(chosen)
    found = [infer(model.to(chosen), images, run.recipe) for model in run.load_models(weights)]
    logits = found[0] if len(found) == 1 else metrics.ensemble_logits(found).float()
    if wrong := int((~logits.isfinite().all(1)).sum()):
        raise RunError(
            f"{run.folder}: logits that are not finite for {wrong:,} of {len(logits):,} images, expected none; "
            "train again with a lower learning rate, or with --precision float32"
        )
    return logits


def _infer(run: Run, images: ImageSet, weights: Weights, device: str) -> Measured:
    """Compute the logits of images; RunError if the network does not take them."""
    task = run.load_info().task
    _check_task(run, images, task.image_shape, len(task.class_names))
    return Measured(infer_run(run, images.images, weights, device), images.labels, images.identity())


def _check_task(run: Run, images: ImageSet, shape: tuple[int, int, int], classes: int) -> None:
    """Raise RunError unless the images have this shape and labels below ``classes``."""
    found = tuple(images.images.shape[1:])
    if found != shape or int(images.labels.max()) >= classes:
        raise RunError(
            f"{run.folder}: trained on images of {shape} and {classes} classes, "
            f"found {found} and labels up to {int(images.labels.max())}; restore the data it was trained on"
        )
