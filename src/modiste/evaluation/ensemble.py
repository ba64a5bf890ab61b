"""The logits of several finished runs on the same images, and the ensemble that averages their probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from modiste.errors import RunError
from modiste.evaluation.assessment import Assessment, Measurement, Split, Weights, assess, class_names, measure
from modiste.runs.run_folder import Run


@dataclass(frozen=True)
class Gathering:
    """Runs measured on the same images.

    Attributes:
        runs: in the order asked for.
        alone: what each came to by itself.
        logits: of each run.
        labels: of the images.
        class_names: one per class, the same for all.
    """

    runs: tuple[Run, ...]
    alone: tuple[Assessment, ...]
    logits: tuple[Float[Tensor, "n classes"], ...]
    labels: Int64[Tensor, " n"]
    class_names: tuple[str, ...]


def gather(
    folders: Sequence[Path | str],
    *,
    split: Split = "validation",
    weights: Weights = "picked",
    device: str = "auto",
    data_folder: Path | str | None = None,
) -> Gathering:
    """Measure finished runs, each by itself; where that is ``test``, each one's test set counts as opened.

    Raises:
        RunError: a run is unfinished or damaged, or they were not measured on the same images in the same order.
        DataError: the images are missing or damaged.
    """
    found = [
        measure(
            folder, split=split, weights=weights, device=device, data_folder=data_folder, identified=len(folders) > 1
        )
        for folder in folders
    ]
    for one in found:
        _check_alike(found[0], one)
    return Gathering(
        runs=tuple(one.run for one in found),
        alone=tuple(one.assess() for one in found),
        logits=tuple(one.measured.logits for one in found),
        labels=found[0].measured.labels,
        class_names=class_names(found[0].run),
    )


def _check_alike(one: Measurement, other: Measurement) -> None:
    """Raise RunError unless two runs know the same classes and were measured on the same images."""
    if class_names(one.run) != class_names(other.run):
        raise RunError(f"{other.run.folder}: knows other classes than {one.run.folder}; compare like with like")
    if one.measured.images != other.measured.images or not one.measured.labels.equal(other.measured.labels):
        raise RunError(
            f"{other.run.folder}: measured on other images than {one.run.folder}, or in another order; compare runs "
            "of the same data that are divided alike (--data.split, --data.split-seed)"
        )


def evaluate_together(
    folders: Sequence[Path | str],
    *,
    split: Split = "validation",
    weights: Weights = "picked",
    device: str = "auto",
    data_folder: Path | str | None = None,
) -> Assessment:
    """Measure finished runs together; each is measured alone on the way, and its test set counted as opened.

    Raises:
        RunError: a run is unfinished or damaged, or they were not measured on the same images.
        DataError: the images are missing or damaged.
    """
    found = gather(folders, split=split, weights=weights, device=device, data_folder=data_folder)
    logits = mean_probabilities(found.logits).log()
    openings = max(item.test_openings for item in found.alone)
    return assess(
        logits, found.labels, found.class_names, split=split, weights=weights, epoch=0, test_openings=openings
    )


def mean_probabilities(logits: Sequence[Float[Tensor, "n classes"]]) -> Float[Tensor, "n classes"]:
    """Return the mean over runs of the probabilities that their logits give."""
    return torch.stack([one.double().softmax(1) for one in logits]).mean(0)
