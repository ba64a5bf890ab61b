"""Several finished runs on the same images: their logits, and the ensemble that averages their probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from modiste.errors import RunError
from modiste.evaluation.assessment import Assessment, Measurement, Split, Weights, assess, class_names, measure
from modiste.evaluation.predictions import check_path, write_predictions
from modiste.runs.run_folder import Run


def evaluate_together(
    folders: Sequence[Path | str],
    *,
    split: Split = "validation",
    weights: Weights = "picked",
    device: str = "auto",
    data_folder: Path | str | None = None,
    predictions: Path | str | None = None,
) -> Assessment:
    """Evaluate the ensemble of finished runs: the mean of their probabilities.

    Each run is also evaluated by itself. With ``split="test"``, this counts as an evaluation on test for each of them.

    Args:
        folders: the run folders.
        split: ``validation`` or ``test``.
        weights: see ``evaluate``.
        device: where the logits are computed.
        data_folder: see ``evaluate``.
        predictions: see ``evaluate``; the predictions are the ensemble's.

    Returns:
        The measures of the ensemble. Its ``test_openings`` is the largest of the runs'.

    Raises:
        RunError: a run is unfinished or damaged, or the runs were not evaluated on the same images.
        DataError: the images are missing or damaged.
    """
    if predictions is not None:
        check_path(predictions)
    found = measure_runs(folders, split=split, weights=weights, device=device, data_folder=data_folder)
    logits = mean_probabilities(found.logits).log()
    if predictions is not None:
        write_predictions(predictions, logits, found.labels, found.class_names)
    openings = max(item.test_openings for item in found.assessments)
    return assess(
        logits, found.labels, found.class_names, split=split, weights=weights, epoch=0, test_openings=openings
    )


def mean_probabilities(logits: Sequence[Float[Tensor, "n classes"]]) -> Float[Tensor, "n classes"]:
    """Return the mean over runs of the probabilities that their logits give, in float64."""
    return torch.stack([one.double().softmax(1) for one in logits]).mean(0)


@dataclass(frozen=True)
class MeasuredRuns:
    """Finished runs evaluated on the same images.

    Attributes:
        runs: in the order of the folders.
        assessments: of each run by itself.
        logits: of each run.
        labels: of the images.
        class_names: one per class, the same for all runs.
    """

    runs: tuple[Run, ...]
    assessments: tuple[Assessment, ...]
    logits: tuple[Float[Tensor, "n classes"], ...]
    labels: Int64[Tensor, " n"]
    class_names: tuple[str, ...]


def measure_runs(
    folders: Sequence[Path | str],
    *,
    split: Split = "validation",
    weights: Weights = "picked",
    device: str = "auto",
    data_folder: Path | str | None = None,
) -> MeasuredRuns:
    """Evaluate finished runs on the same images; arguments and errors as for ``evaluate_together``."""
    found = [
        measure(
            folder, split=split, weights=weights, device=device, data_folder=data_folder, identified=len(folders) > 1
        )
        for folder in folders
    ]
    for one in found:
        _check_same_images(found[0], one)
    return MeasuredRuns(
        runs=tuple(one.run for one in found),
        assessments=tuple(one.assess() for one in found),
        logits=tuple(one.measured.logits for one in found),
        labels=found[0].measured.labels,
        class_names=class_names(found[0].run),
    )


def _check_same_images(one: Measurement, other: Measurement) -> None:
    """Raise RunError unless two runs have the same classes and were evaluated on the same images."""
    if class_names(one.run) != class_names(other.run):
        raise RunError(
            f"{other.run.folder}: has other classes than {one.run.folder}; compare runs that have the same classes"
        )
    if one.measured.images != other.measured.images or not one.measured.labels.equal(other.measured.labels):
        raise RunError(
            f"{other.run.folder}: measured on other images than {one.run.folder}, or in another order; compare runs "
            "with the same data and the same division (--data.split, --data.split-seed)"
        )
