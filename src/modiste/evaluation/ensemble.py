"""Several runs as one classifier: the mean of their probabilities (Lakshminarayanan et al., 2017)."""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from modiste.evaluation.assessment import Assessment, Split, Weights, assess
from modiste.evaluation.gathering import gather


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
