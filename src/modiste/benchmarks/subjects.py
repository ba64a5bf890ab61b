"""The runs that a benchmark measures: their networks, the images of the split, and their logits on them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor, nn

from modiste import machine
from modiste.data.dataset import ImageSet
from modiste.errors import RunError
from modiste.evaluation.assessment import Split, load_split
from modiste.evaluation.comparison import groups_by_recipe
from modiste.evaluation.ensemble import PREPARATION, MeasuredRuns, check_preparation, measure_runs
from modiste.evaluation.inference import infer
from modiste.runs import run_folder
from modiste.runs.run_folder import Run, open_run


@dataclass(frozen=True)
class Candidates:
    """Finished runs with the same classes, before they are evaluated.

    Attributes:
        runs: The runs.
        images: Images of the split.
        data_folder: Folder of data that have moved; see ``load_dataset``.
        others: Images of other sets by their path: what a check has loaded, so that it is not loaded again.
    """

    runs: Sequence[Run]
    images: ImageSet
    data_folder: Path | str | None
    others: dict[str, UInt8[Tensor, "_ c h w"]] = field(default_factory=dict)


Check = Callable[[Candidates], None]
"""Raises an error if a benchmark does not take these runs, or these images of the split."""


@dataclass(frozen=True)
class Subjects:
    """Finished runs with the same classes, evaluated on the same images.

    Attributes:
        found: The runs, and their logits on the images as they are.
        split: ``validation`` or ``test``.
        images: Images of the split.
        device: Where networks compute.
        data_folder: Folder of data that have moved; see ``load_dataset``.
        others: See ``Candidates``.
    """

    found: MeasuredRuns
    split: Split
    images: ImageSet
    device: torch.device
    data_folder: Path | str | None
    others: Mapping[str, UInt8[Tensor, "_ c h w"]] = field(default_factory=dict)
    _models: dict[int, nn.Module] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.found.runs)

    def model(self, number: int) -> nn.Module:
        """Return the network of a run, by its position, with the selected weights, in evaluation mode."""
        if number not in self._models:
            self._models[number] = self.found.runs[number].load_model()[0].to(self.device).eval()
        return self._models[number]

    def logits(self, number: int, images: UInt8[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        """Return the logits of other images, on the CPU, as ``evaluate`` computes them."""
        return infer(self.model(number), images.to(self.device), self.found.runs[number].recipe)


def open_subjects(
    folders: Sequence[Path | str],
    split: Split,
    *,
    device: str = "auto",
    data_folder: Path | str | None = None,
    checks: Sequence[Check] = (),
) -> Subjects:
    """Load the images of a split, and evaluate finished runs on it, which counts as one evaluation on test for each.

    Args:
        folders: Folders of the runs, at least one.
        split: ``validation`` or ``test``.
        device: Where networks compute.
        data_folder: Folder of data that have moved; see ``load_dataset``.
        checks: Called before anything is measured and counted.

    Raises:
        RunError: A run is unfinished, damaged or given twice, the runs have other classes or images or prepare
            pictures in unlike ways, or the images found are not those that they were measured on.
        DataError: The images are missing or damaged.
    """
    runs = [open_run(folder) for folder in folders]
    groups_by_recipe(runs)
    images = load_split(runs[0], split, data_folder)
    if images.digests is not None:  # picture files, which every recipe prepares in its own way
        check_preparation(runs, (*PREPARATION, "decoder"))
    _check_measured(runs[0], split, images)
    candidates = Candidates(runs, images, data_folder)
    for check in checks:
        check(candidates)
    found = measure_runs(folders, split=split, device=device, data_folder=data_folder)
    return Subjects(found, split, images, machine.choose_device(device), data_folder, candidates.others)


def _check_measured(run: Run, split: Split, images: ImageSet) -> None:
    """Raise RunError if the run was measured on other images of the split than these."""
    if not run_folder.is_listed(run, run_folder.logits_name(split)):
        return
    measured = run.measured(split)
    if not measured.labels.equal(images.labels) or measured.images not in ("", images.identity()):
        raise RunError(
            f"{run.folder}: the {split} images found are not those that it was measured on; restore the original "
            "images, or give their folder with --data-folder"
        )


def share_by_class(
    holds: Bool[Tensor, " n"], labels: Int64[Tensor, " n"], names: tuple[str, ...]
) -> dict[str, float | None]:
    """Return by class the share of its images for which something holds, 0 to 1; None for a class without images."""
    return {
        name: holds[labels == number].double().mean().item() if (labels == number).any() else None
        for number, name in enumerate(names)
    }
