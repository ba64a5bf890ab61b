"""A finished run measured on validation or test; the one door to the test set, which counts its openings."""

import dataclasses
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from jaxtyping import Float, Int64
from torch import Tensor

from modiste import machine
from modiste.data import held_out
from modiste.data.dataset import ImageSet
from modiste.errors import ReadOnlyError, RunError
from modiste.evaluation import metrics
from modiste.evaluation.calibration import Bin, expected_calibration_error, reliability
from modiste.evaluation.inference import infer
from modiste.evaluation.metrics import ClassScores
from modiste.evaluation.run_images import load_own_development
from modiste.evaluation.statistics import wilson_interval
from modiste.runs import run_folder
from modiste.runs.run_folder import Measured, Run, open_run

Split = Literal["validation", "test"]
Weights = Literal["picked", "last"]


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """What a run's logits say about it.

    Attributes:
        split: the images measured on.
        weights: picked by validation, or of the last epoch.
        epoch: after which they were taken; 0 for several runs together.
        images: how many were measured.
        accuracy: share classified correctly.
        accuracy_interval: Wilson's 95 % interval of it.
        loss: mean cross-entropy, in nats.
        per_class: scores of each class by name; of a class without images None but for the support.
        macro: their plain mean over the classes that are labels or predictions of some image.
        weighted: their mean by support.
        confusion: images by label (row) and prediction (column).
        top2_accuracy: share whose label is among the two likeliest classes.
        brier: mean squared distance of the probabilities from the truth.
        calibration: bins of the reliability diagram.
        expected_calibration_error: mean gap between confidence and accuracy.
        test_openings: how often this run's test set has been opened, this time included. An evaluation that was killed
            and given again may count twice.
    """

    split: Split
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

    def as_plain(self) -> dict[str, Any]:
        """Return the same as dictionaries, lists, numbers and strings."""
        return dataclasses.asdict(self)


def evaluate(
    folder: Path | str,
    *,
    split: Split = "validation",
    weights: Weights = "picked",
    device: str = "auto",
    data_folder: Path | str | None = None,
) -> Assessment:
    """Measure a finished run; ``split="test"`` opens the test set, and the run counts it.

    Logits are computed once and stored in the run folder; later calls read them, and a look at test counts each time.
    Where nothing may be written there, figures are returned all the same, and a warning says that nothing was kept.

    Args:
        folder: a finished run's.
        split: ``validation`` or ``test``.
        weights: those ``picked`` by validation, or of the ``last`` epoch.
        device: where to compute.
        data_folder: as ``load_dataset`` takes it: of Fashion-MNIST, or of data that have moved. Stored logits are
            refused unless they are of the images there.

    Raises:
        RunError: the run is unfinished or damaged, or the data are not those it was trained on or measured on.
        DataError: the images are missing or damaged.
    """
    found = measure(folder, split=split, weights=weights, device=device, data_folder=data_folder)
    return found.assess()


@dataclass(frozen=True)
class Measurement:
    """A run's logits on a split, and the run as it is after they were taken."""

    run: Run
    split: Split
    weights: Weights
    measured: Measured

    def assess(self) -> Assessment:
        """Return what the logits say."""
        run = self.run
        return assess(
            self.measured.logits,
            self.measured.labels,
            class_names(run),
            split=self.split,
            weights=self.weights,
            epoch=_epoch(run, self.weights),
            test_openings=run.test_openings,
        )


def measure(
    folder: Path | str,
    *,
    split: Split = "validation",
    weights: Weights = "picked",
    device: str = "auto",
    data_folder: Path | str | None = None,
    identified: bool = False,
) -> Measurement:
    """Return a finished run's logits, stored or computed; see ``evaluate``.

    With ``identified`` it is known of which images they are: where an earlier version of Modiste did not store that,
    the images are loaded.
    """
    run = open_run(folder)
    name = run_folder.logits_name(split, weights)
    found = stored = run.measured(split, weights) if run_folder.is_listed(run, name) else None
    if found is None or data_folder is not None or (identified and not found.images):
        images = load_split(run, split, data_folder)
        found = _matched(run, stored, images, split) or _infer(run, images, weights, device)
    is_new = stored is None or found.logits is not stored.logits
    new = {name: run_folder.logits_bytes(found, _epoch(run, weights))} if is_new else {}
    return Measurement(_kept(run, new, openings=int(split == "test")), split, weights, found)


def assess_stored(run: Run, *, split: Split = "validation", weights: Weights = "picked") -> Assessment:
    """Measure logits that lie in the run folder, opening nothing else; RunError when there are none."""
    return Measurement(run, split, weights, run.measured(split, weights)).assess()


def assess(
    logits: Float[Tensor, "n classes"],
    labels: Int64[Tensor, " n"],
    names: tuple[str, ...],
    **circumstances: Any,
) -> Assessment:
    """Compute every figure from logits and labels; ``circumstances`` are Assessment's fields that these cannot tell."""
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
    """Load the images that a run is measured on; RunError when they are not of the data it was trained on."""
    development = load_own_development(run, data_folder)
    if split == "validation":
        return development.validation
    return held_out.load_test(run.recipe.data, None if data_folder is None else Path(data_folder))


def class_names(run: Run) -> tuple[str, ...]:
    """Return the run's class names."""
    return run.load_info().task.class_names


def _matched(run: Run, stored: Measured | None, images: ImageSet, split: Split) -> Measured | None:
    """Return stored logits if they are those of ``images``, None if they have to be computed; RunError if of others.

    Logits of an earlier version of Modiste do not say of which images they are. On validation these are known all the
    same, since the data are those of the training; test images are measured anew.
    """
    if stored is None or (split == "test" and not stored.images):
        return None
    identity = images.identity()
    if not stored.images and stored.labels.equal(images.labels):
        return replace(stored, images=identity)
    if stored.images != identity:
        raise RunError(
            f"{run.folder}: the {split} images found are not those that it was measured on; restore them, or name "
            "their folder with --data-folder"
        )
    return stored


def _kept(run: Run, files: dict[str, bytes], *, openings: int) -> Run:
    """Write files into the run's folder and count openings, where there is anything to write and that is possible."""
    if not files and not openings:
        return run
    try:
        return run_folder.keep(run, files, openings=openings)
    except ReadOnlyError as error:
        lost = "nothing was kept" + ", and this opening of the test set was not counted" * bool(openings)
        logging.getLogger(__name__).warning("%s: %s", lost, error)
        return replace(run, test_openings=run.test_openings + openings)


def _epoch(run: Run, weights: Weights) -> int:
    return run.picked.epoch if weights == "picked" else run.history[-1].epoch


def _infer(run: Run, images: ImageSet, weights: Weights, device: str) -> Measured:
    place = machine.choose_device(device)
    model, info = run.load_model(weights)
    _check_task(run, images, info.task.image_shape, len(info.task.class_names))
    logits = infer(model.to(place), images.images.to(place), run.recipe)
    return Measured(logits, images.labels, images.identity())


def _check_task(run: Run, images: ImageSet, shape: tuple[int, int, int], classes: int) -> None:
    found = tuple(images.images.shape[1:])
    if found != shape or int(images.labels.max()) >= classes:
        raise RunError(
            f"{run.folder}: trained on images of {shape} and {classes} classes, "
            f"found {found} and labels up to {int(images.labels.max())}; restore the data it was trained on"
        )
