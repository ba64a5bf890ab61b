"""The source of transferred weights: a file, found by path or on a hub, and read tensor by tensor.

All files are safetensors. A file of Modiste's own is loaded and checked as a whole model. Of another library's file,
only the header is read until a tensor is needed.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open
from torch import Tensor

from modiste.errors import RunError
from modiste.runs import checkpoint, run_folder, storage
from modiste.training.transfer import hub
from modiste.training.transfer.hub import GRAMMAR, PREFIX, Hub, parse

Kind = Literal["real", "whole", "other"]
KINDS: dict[str, Kind] = {
    **dict.fromkeys(("F64", "F32", "F16", "BF16"), "real"),
    **dict.fromkeys(("I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8"), "whole"),
}
"""Kinds of numbers by safetensors' names of formats; other formats, such as 8-bit floats, need scales to be read."""
PICKLE = re.compile(rb"PK\x03\x04|\x80[\x02-\x05][^\x00]")
"""Begins files written by ``torch.save``: a zip archive, or in old files a pickle of protocols 2 to 5."""


@dataclass(frozen=True)
class Source:
    """A file of weights.

    Attributes:
        path: Path of the file on this machine.
        sha256: Hash of its content, which a recipe refers to.
        name: Its name on a hub; empty if it was given by path.
        commit: The hub's commit of the file; empty if it was given by path.
    """

    path: Path
    sha256: str
    name: str = ""
    commit: str = ""


@dataclass(frozen=True)
class Stored:
    """A tensor in a file; ``read`` loads its numbers into memory."""

    shape: tuple[int, ...]
    kind: Kind
    read: Callable[[], Tensor]


def locate(source: Path | str | Source, *, quiet: bool = False) -> Source:
    """Find the file that ``source`` names; a file of a hub is fetched.

    Args:
        source: A run folder, a safetensors file, or ``hub:OWNER/NAME``; a Source is returned as it is.
        quiet: Whether to show no progress bar while a file is fetched.

    Raises:
        RunError: There is no such file, or the hub refuses it or cannot be reached.
        RecipeError: The name on the hub is not valid.
        StorageError: The fetched file cannot be stored.
        MissingExtraError: The hub's client is not installed.
    """
    if isinstance(source, Source):
        return source
    if str(source).startswith(PREFIX):
        file = parse(str(source))
        fetched = hub.fetch(file, Hub.open(quiet=quiet))
        return Source(fetched.path, fetched.sha256, str(file), fetched.commit)
    path = Path(source)
    try:
        path = path / run_folder.WEIGHTS["picked"] if path.is_dir() else path
        found = path.is_file()
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror}); check its name and permissions") from error
    if not found:
        raise RunError(
            f"{path}: no model file to transfer from; expected a finished run's folder, its model.safetensors, another "
            f"library's .safetensors file, or {GRAMMAR}"
        )
    return Source(path, storage.sha256(path))


def read(path: Path) -> dict[str, Stored]:
    """Return the file's tensors by name; RunError if the file is damaged or not safetensors."""
    try:
        file: Any = safe_open(path, framework="pt")
        if "modiste" in (file.metadata() or {}):
            return _own(path)
        return {name: _stored(file, name) for name in file.keys()}  # noqa: SIM118  (``file`` is not a mapping)
    except (SafetensorError, OSError, ValueError) as error:
        raise RunError(_complaint(path, error)) from error


def _own(path: Path) -> dict[str, Stored]:
    """Return the tensors of Modiste's own file without the standardisation, which belongs to the data."""
    weights = checkpoint.load_model(path)[0].state_dict()
    return {
        name: Stored(tuple(tensor.shape), "real" if tensor.is_floating_point() else "whole", partial(_itself, tensor))
        for name, tensor in weights.items()
        if not name.startswith("standardize.")
    }


def _itself(tensor: Tensor) -> Tensor:
    return tensor


def _stored(file: Any, name: str) -> Stored:
    header = file.get_slice(name)
    return Stored(tuple(header.get_shape()), KINDS.get(header.get_dtype(), "other"), partial(file.get_tensor, name))


def _complaint(path: Path, error: Exception) -> str:
    try:
        with path.open("rb") as file:
            pickled = PICKLE.match(file.read(4)) is not None
    except OSError:
        pickled = False
    if pickled:
        return (
            f"{path}: a pickle, which can run code when it is read and never is here; expected a .safetensors file: "
            "look for one at its source, or convert it where you trust it (safetensors.torch.save_file)"
        )
    return f"{path}: damaged or not a safetensors file ({error}); fetch it again"
