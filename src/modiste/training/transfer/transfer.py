"""Transfer learning: weights taken from another network, tensor by tensor, with a report on each tensor.

A recipe names its source by hash, never by path. The path is given on the command line, and a file with another hash is
refused.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from modiste.errors import RecipeError, RunError
from modiste.models import layers
from modiste.recipes.recipe import TransferRecipe
from modiste.runs import run_folder, storage
from modiste.training.transfer import backbones
from modiste.training.transfer.renaming import listed, rename
from modiste.training.transfer.source import Source, Stored, locate, read

IMAGE_CHANNELS = 4
"""Largest number of channels of an image: colour with transparency."""
Fate = Literal["taken", "reshaped", "of another shape", "of another type", "not in the source", "left out"]
TAKEN = frozenset({"taken", "reshaped"})
"""Fates of the tensors that hold weights of the source."""


@dataclass(frozen=True)
class TransferReport:
    """What was done with each tensor.

    Attributes:
        fates: For each of the network's tensors, whether it was taken, or why not.
        unused: Names of the source's tensors that the network has no place for.
        origin: The source's ``sha256``, and its ``name`` and ``commit`` if it came from a hub.
    """

    fates: dict[str, Fate]
    unused: tuple[str, ...] = ()
    origin: Mapping[str, str] | None = None

    @property
    def taken(self) -> frozenset[str]:
        """Names of the network's tensors that hold weights of the source."""
        return frozenset(name for name, fate in self.fates.items() if fate in TAKEN)

    def __str__(self) -> str:
        count = {fate: list(self.fates.values()).count(fate) for fate in dict.fromkeys(self.fates.values())}
        parts = ["transfer: " + ", ".join(f"{number} {fate}" for fate, number in count.items())]
        fresh = [name for name in self.fates if name not in self.taken]
        if fresh:
            parts.append(f"fresh: {listed(fresh)}")
        if self.unused:
            parts.append(f"no place for: {listed(self.unused)}")
        return "; ".join(parts)


@dataclass(frozen=True)
class _Match:
    """How a source fits a network.

    Attributes:
        source: The file.
        stored: Its tensors by their own names.
        names: These names by the names in the network, after the rules of the recipe.
        fates: What becomes of each tensor of the network.
    """

    source: Source
    stored: Mapping[str, Stored]
    names: Mapping[str, str]
    fates: dict[str, Fate]


def source_hash(source: Path | str | Source) -> str:
    """Return the hash by which a recipe names a source; raises what ``locate`` raises."""
    return locate(source).sha256


def transfer(
    model: nn.Module, source: Path | str | Source | None, recipe: TransferRecipe, folder: Path
) -> TransferReport:
    """Copy every tensor of the source that fits into ``model``, and write a report into ``folder``.

    The standardisation keeps the values of the new data. A kernel for another number of image channels is summed over
    them and divided evenly among the new channels. A last layer for other classes keeps its initial values. Numbers
    are converted to the model's format.

    Args:
        model: Changed in place.
        source: A run folder, a safetensors file or ``hub:OWNER/NAME``.
        recipe: The source's hash, rules for names, and tensors that are not to be taken.
        folder: Folder of the run.

    Raises:
        RunError: The source is damaged or holds numbers that are not finite.
        RecipeError: The source is not the file that the recipe names, or none of its tensors fits.
    """
    match = _match(model, source, recipe)
    for name, tensor in _wanted(model).items():
        if match.fates[name] in TAKEN:
            old = match.names[name]
            _take(tensor, match.stored[old], f"{match.source.path}: {old}")
    unused = tuple(old for name, old in match.names.items() if name not in match.fates)
    origin = {key: value for key, value in asdict(match.source).items() if key != "path" and value}
    report = TransferReport(match.fates, unused, origin)
    layers.keep_uncounted(model)
    storage.write_hashed_json(folder / run_folder.TRANSFER, asdict(report))
    return report


def check(model: nn.Module, source: Path | str | Source | None, recipe: TransferRecipe) -> None:
    """Raise the errors of ``freeze`` and ``transfer`` that need no tensor to be read; nothing changes.

    Args:
        model: The network that would be changed.
        source: As ``transfer`` takes it.
        recipe: Names what is frozen, and the source if there is one.

    Raises:
        RunError, RecipeError: As ``freeze`` and ``transfer``.
    """
    _check_freeze(model, recipe.freeze)
    if recipe.source:
        _match(model, source, recipe)


def read_report(folder: Path) -> TransferReport:
    """Return the report that ``transfer`` wrote when the run began; RunError if it is damaged."""
    path = folder / run_folder.TRANSFER
    content = storage.read_hashed_json(path)
    if not isinstance(content.get("fates"), dict):
        raise RunError(f"{path}: damaged, it does not say what became of each tensor")
    return TransferReport(content["fates"], tuple(content.get("unused", ())), content.get("origin"))


def freeze(model: nn.Module, beginnings: tuple[str, ...]) -> None:
    """Exclude from training the parameters whose names start with one of ``beginnings``.

    Raises:
        RecipeError: No parameter's name starts so, or no trainable parameter is left.
    """
    _check_freeze(model, beginnings)
    for name, parameter in model.named_parameters():
        if name.startswith(beginnings):
            parameter.requires_grad_(False)


def _check_freeze(model: nn.Module, beginnings: tuple[str, ...]) -> None:
    parameters = dict(model.named_parameters())
    _check_known("freeze", beginnings, parameters)
    learning = [name for name, parameter in parameters.items() if parameter.requires_grad]
    if all(name.startswith(beginnings) for name in learning):
        raise RecipeError(f"transfer.freeze: {', '.join(beginnings)} leave nothing to learn; name fewer")


def _check_known(field: str, beginnings: tuple[str, ...], names: Iterable[str]) -> None:
    known = list(names)
    for beginning in beginnings:
        if not any(name.startswith(beginning) for name in known):
            raise RecipeError(f"transfer.{field}: no tensor begins with {beginning!r}; known: {', '.join(known)}")


def _matching_source(source: Path | str | Source | None, recipe: TransferRecipe) -> Source:
    found = None
    if source is not None:
        found = locate(source)
    elif backbone := backbones.of_hash(recipe.source):
        found = backbones.locate(backbone)
    if found is None or found.sha256 != recipe.source:
        expected = f"the model file with SHA-256 {recipe.source[:16]}..."
        other = "none" if found is None else f"{found.path}, another file"
        raise RecipeError(
            f"transfer.source: expected {expected}, found {other}; name it: --transfer-from, in Python transfer_from="
        )
    return found


def _wanted(model: nn.Module) -> dict[str, Tensor]:
    """Return the network's tensors by name, without the standardisation, which belongs to the data."""
    return {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("standardize.")}


def _match(model: nn.Module, source: Path | str | Source | None, recipe: TransferRecipe) -> _Match:
    """Find the source, and the fate of each tensor of the network, by names, types and shapes alone."""
    found = _matching_source(source, recipe)
    stored, wanted = read(found.path), _wanted(model)
    names = rename(stored, recipe.rename)
    _check_known("fresh", recipe.fresh, wanted)
    fates: dict[str, Fate] = {
        name: "left out" if name.startswith(recipe.fresh) else _fate(tensor, stored.get(names.get(name, "")))
        for name, tensor in wanted.items()
    }
    if not TAKEN.intersection(fates.values()):
        raise RecipeError(_nothing_fits(found, stored, wanted))
    return _Match(found, stored, names, fates)


def _fate(tensor: Tensor, stored: Stored | None) -> Fate:
    if stored is None:
        return "not in the source"
    if stored.kind != ("real" if tensor.is_floating_point() else "whole"):
        return "of another type"
    if stored.shape == tensor.shape:
        return "taken"
    return "reshaped" if _differ_in_image_channels(stored.shape, tuple(tensor.shape)) else "of another shape"


@torch.no_grad()
def _take(tensor: Tensor, stored: Stored, where: str) -> None:
    """Copy a stored tensor; a kernel for other image channels is summed over them and divided evenly."""
    numbers = _numbers(stored, tensor, where)
    tensor.copy_(numbers if stored.shape == tensor.shape else numbers.sum(1, keepdim=True) / tensor.shape[1])


def _differ_in_image_channels(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    kernels = len(one) == len(other) == 4 and (one[0], one[2:]) == (other[0], other[2:])
    return kernels and max(one[1], other[1]) <= IMAGE_CHANNELS


def _numbers(stored: Stored, like: Tensor, where: str) -> Tensor:
    numbers = stored.read().to(like)
    if not numbers.isfinite().all():
        raise RunError(f"{where} holds numbers that are not finite as {like.dtype}; nothing can be learnt from them")
    return numbers


def _nothing_fits(source: Source, stored: Mapping[str, Stored], wanted: Mapping[str, Tensor]) -> str:
    there, here = _shown(stored) or "nothing", _shown(wanted)
    return (
        f"{source.name or source.path}: none of its tensors fits this network; the file holds {there}; the network has "
        f"{here}; transfer from a network of its kind, or say which is which with --transfer.rename OLD=NEW ..."
    )


def _shown(tensors: Mapping[str, Stored] | Mapping[str, Tensor]) -> str:
    """List the first few names with their shapes; kernels and matrices come before vectors and numbers."""
    shapes = {name: tuple(item.shape) for name, item in tensors.items()}
    return listed(f"{name} {shapes[name]}" for name in sorted(shapes, key=lambda name: len(shapes[name]) < 2))
