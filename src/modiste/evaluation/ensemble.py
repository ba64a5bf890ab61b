"""Several runs as one classifier: the mean of their probabilities (Lakshminarayanan et al., 2017)."""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from modiste import run_folder
from modiste.errors import RunError
from modiste.evaluation.assessment import Assessment, Split, Weights, assess, class_names, evaluate
from modiste.run_folder import open_run


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
    alone = [
        evaluate(folder, split=split, weights=weights, device=device, data_folder=data_folder) for folder in folders
    ]
    runs = [open_run(folder) for folder in folders]
    stored = [run_folder.read_logits(run.folder / run_folder.logits_name(split, weights)) for run in runs]
    names, labels = class_names(runs[0]), stored[0][1]
    for run, (_, others) in zip(runs, stored, strict=True):
        if class_names(run) != names or not torch.equal(others, labels):
            raise RunError(f"{run.folder}: measured on other images than {runs[0].folder}; compare like with like")
    logits = mean_probabilities([one for one, _ in stored]).log()
    openings = max(item.test_openings for item in alone)
    return assess(logits, labels, names, split=split, weights=weights, epoch=0, test_openings=openings)


def mean_probabilities(logits: Sequence[Float[Tensor, "n classes"]]) -> Float[Tensor, "n classes"]:
    """Return the mean over runs of the probabilities that their logits give."""
    return torch.stack([one.double().softmax(1) for one in logits]).mean(0)
