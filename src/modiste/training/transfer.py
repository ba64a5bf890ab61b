"""Transfer learning: weights taken from another run, tensor by tensor, and what became of each.

A recipe names its source by hash, never by path: where the file lies is said on the command line, and another file is
refused.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from modiste import checkpoint, run_folder, storage
from modiste.errors import RecipeError, RunError
from modiste.recipe import TransferRecipe

REPORT = "transfer.json"
Fate = Literal["taken", "reshaped", "of another shape", "not in the source", "left out"]


@dataclass(frozen=True)
class TransferReport:
    """What became of each tensor of the network."""

    fates: dict[str, Fate]

    @property
    def taken(self) -> frozenset[str]:
        """Names of the tensors that hold weights of the source."""
        return frozenset(name for name, fate in self.fates.items() if fate in ("taken", "reshaped"))

    def __str__(self) -> str:
        count = {fate: list(self.fates.values()).count(fate) for fate in dict.fromkeys(self.fates.values())}
        fresh = [name for name in self.fates if name not in self.taken]
        text = "transfer: " + ", ".join(f"{number} {fate}" for fate, number in count.items())
        return f"{text}; fresh: {', '.join(fresh)}" if fresh else text


def model_file(source: Path | str) -> Path:
    """Return the model file of a run folder, or the file itself."""
    source = Path(source)
    return source / run_folder.WEIGHTS["picked"] if source.is_dir() else source


def source_hash(source: Path | str) -> str:
    """Return the hash by which a recipe names a source; RunError when there is no such file."""
    path = model_file(source)
    if not path.is_file():
        raise RunError(
            f"{path}: no model file to transfer from; expected a finished run's folder or its model.safetensors"
        )
    return storage.sha256(path)


def transfer(model: nn.Module, source: Path | str | None, recipe: TransferRecipe, folder: Path) -> TransferReport:
    """Copy into ``model`` every tensor of the source that fits, and write down in ``folder`` what became of each.

    The standardisation stays the new data's own. A kernel for another number of channels is taken as its sum over them,
    shared evenly among the new ones; a readout for other classes starts afresh.
    """
    if source is None or source_hash(source) != recipe.source:
        expected = f"the model file with SHA-256 {recipe.source[:16]}..."
        found = "none" if source is None else f"{model_file(source)}, another file"
        raise RecipeError(f"transfer.source: expected {expected}, found {found}; name it with --transfer-from")
    weights = checkpoint.load_model(model_file(source))[0].state_dict()
    fates = {
        name: "left out" if name.startswith(recipe.fresh) else _take(tensor, weights.get(name))
        for name, tensor in model.state_dict().items()
        if not name.startswith("standardize.")
    }
    for beginning in recipe.fresh:
        if not any(name.startswith(beginning) for name in fates):
            raise RecipeError(f"transfer.fresh: no tensor begins with {beginning!r}; known: {', '.join(fates)}")
    report = TransferReport(fates)
    if not report.taken:
        raise RecipeError(f"{model_file(source)}: none of its tensors fits this network; transfer from one of its kind")
    storage.write_json(folder / REPORT, asdict(report))
    return report


def read_report(folder: Path) -> TransferReport:
    """Read what ``transfer`` wrote when the run began."""
    content: dict[str, Any] = storage.read_json(folder / REPORT)
    return TransferReport(content["fates"])


def freeze(model: nn.Module, beginnings: tuple[str, ...]) -> None:
    """Stop the parameters whose names begin so from learning; RecipeError for a beginning that none has."""
    names = [name for name, _ in model.named_parameters()]
    for beginning in beginnings:
        if not any(name.startswith(beginning) for name in names):
            raise RecipeError(f"transfer.freeze: no parameter begins with {beginning!r}; known: {', '.join(names)}")
    for name, parameter in model.named_parameters():
        if name.startswith(beginnings):
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise RecipeError(f"transfer.freeze: {', '.join(beginnings)} leave nothing to learn; name fewer")


@torch.no_grad()
def _take(tensor: Tensor, found: Tensor | None) -> Fate:
    if found is None:
        return "not in the source"
    if found.shape == tensor.shape:
        tensor.copy_(found)
        return "taken"
    if tensor.ndim == 4 and (tensor.shape[0], tensor.shape[2:]) == (found.shape[0], found.shape[2:]):
        tensor.copy_(found.sum(1, keepdim=True) / tensor.shape[1])
        return "reshaped"
    return "of another shape"
