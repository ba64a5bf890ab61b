"""Several finished runs' logits on the same images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from modiste import run_folder
from modiste.errors import RunError
from modiste.evaluation.assessment import Assessment, Split, Weights, class_names, evaluate
from modiste.run_folder import Run, open_run


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
        RunError: a run is unfinished or damaged, or they were not measured on the same images.
        DataError: the images are missing or damaged.
    """
    choices = {"split": split, "weights": weights, "device": device, "data_folder": data_folder}
    alone = [evaluate(folder, **choices) for folder in folders]  # type: ignore[arg-type]
    runs = [open_run(folder) for folder in folders]
    stored = [run_folder.read_logits(run.folder / run_folder.logits_name(split, weights)) for run in runs]
    names, labels = class_names(runs[0]), stored[0][1]
    for run, (_, others) in zip(runs, stored, strict=True):
        if class_names(run) != names or not torch.equal(others, labels):
            raise RunError(f"{run.folder}: measured on other images than {runs[0].folder}; compare like with like")
    return Gathering(tuple(runs), tuple(alone), tuple(logits for logits, _ in stored), labels, names)
