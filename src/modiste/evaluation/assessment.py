"""A finished run measured on validation or test; the one door to the test set, which counts its openings."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from modiste import run_folder, runtime, storage
from modiste.data import sealed
from modiste.data.dataset import ImageSet
from modiste.errors import RunError
from modiste.evaluation import metrics
from modiste.evaluation.calibration import Bin, expected_calibration_error, reliability
from modiste.evaluation.inference import infer
from modiste.evaluation.metrics import ClassScores
from modiste.evaluation.run_images import load_own_development
from modiste.evaluation.statistics import wilson_interval
from modiste.run_folder import Run

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
        per_class: scores of each class by name.
        macro: their plain mean.
        weighted: their mean by support.
        confusion: images by label (row) and prediction (column).
        top2_accuracy: share whose label is among the two likeliest classes.
        brier: mean squared distance of the probabilities from the truth.
        calibration: bins of the reliability diagram.
        expected_calibration_error: mean gap between confidence and accuracy.
        test_openings: how often this run's test set has been opened, this time included.
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

    Args:
        folder: a finished run's.
        split: ``validation`` or ``test``.
        weights: those ``picked`` by validation, or of the ``last`` epoch.
        device: where to compute.
        data_folder: as ``load_dataset`` takes it: of Fashion-MNIST, or of data that have moved.

    Raises:
        RunError: the run is unfinished or damaged, or the data are not those it was trained on.
        DataError: the images are missing or damaged.
    """
    run_folder.require_finished(Path(folder))  # before the lock, which would make a folder that is not there
    with storage.lock(Path(folder)):
        run = run_folder.open_run(folder)
        storage.remove_leftovers(run.folder)
        name = run_folder.logits_name(split, weights)
        new = [] if run_folder.is_listed(run, name) else [name]
        if new:
            logits, labels, epoch = _infer(run, split, weights, device, data_folder)
            run_folder.write_logits(run.folder / name, logits, labels, epoch)
        if new or split == "test":
            run = run_folder.add_files(run, new, test_openings=run.test_openings + (split == "test"))
        return assess_stored(run, split=split, weights=weights)


def assess_stored(run: Run, *, split: Split = "validation", weights: Weights = "picked") -> Assessment:
    """Measure logits that lie in the run folder, opening nothing else; RunError when there are none."""
    name = run_folder.logits_name(split, weights)
    if not run_folder.is_listed(run, name):
        raise RunError(
            f"{run.folder}: not measured on {split} yet; first: modiste evaluate {run.folder} --split {split}"
        )
    logits, labels = run_folder.read_logits(run.folder / name)
    if logits.shape[1] != len(class_names(run)):
        raise RunError(f"{run.folder / name}: damaged or of another kind; expected logits of the run's classes")
    epoch = run.picked.epoch if weights == "picked" else run.history[-1].epoch
    circumstances = {"split": split, "weights": weights, "epoch": epoch, "test_openings": run.test_openings}
    return assess(logits, labels, class_names(run), **circumstances)


def assess(
    logits: Float[Tensor, "n classes"],
    labels: Int64[Tensor, " n"],
    names: tuple[str, ...],
    **circumstances: Any,
) -> Assessment:
    """Compute every figure from logits and labels; ``circumstances`` are Assessment's fields that these cannot tell."""
    matrix = metrics.confusion(logits, labels)
    scores = metrics.class_scores(matrix)
    bins = reliability(logits, labels)
    return Assessment(
        images=len(labels),
        accuracy=metrics.accuracy(logits, labels),
        accuracy_interval=wilson_interval(int(matrix.diag().sum()), len(labels)),
        loss=metrics.cross_entropy(logits, labels),
        per_class=dict(zip(names, scores, strict=True)),
        macro=metrics.macro_mean(scores),
        weighted=metrics.weighted_mean(scores),
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
    return sealed.load_test(run.recipe.data, None if data_folder is None else Path(data_folder))


def class_names(run: Run) -> tuple[str, ...]:
    """Return the run's class names."""
    return run.load_info().task.class_names


def _infer(
    run: Run, split: Split, weights: Weights, device: str, data_folder: Path | str | None
) -> tuple[Tensor, Tensor, int]:
    place: torch.device = runtime.choose_device(device)
    model, info = run.load_model(weights)
    images = load_split(run, split, data_folder).to(place)
    _check_task(run, images, info.task.image_shape, len(info.task.class_names))
    logits = infer(model.to(place), images.images, run.recipe)
    return logits, images.labels.cpu(), info.epoch


def _check_task(run: Run, images: ImageSet, shape: tuple[int, int, int], classes: int) -> None:
    found = tuple(images.images.shape[1:])
    if found != shape or int(images.labels.max()) >= classes:
        raise RunError(
            f"{run.folder}: trained on images of {shape} and {classes} classes, "
            f"found {found} and labels up to {int(images.labels.max())}; restore the data it was trained on"
        )
