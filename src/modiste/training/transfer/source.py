"""The file that weights are transferred from: found by path or by its name on a hub, and read tensor by tensor.

Two sorts of files are read, both safetensors: Modiste's own, checked as the whole model that they hold, and those of
other libraries, of which only the header is read until a tensor is wanted.
"""

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
"""By safetensors' names of number formats; the others, such as 8-bit floats, mean nothing without their scales."""
PICKLES = (b"PK\x03\x04", b"\x80")
"""How the files of torch.save begin: a zip archive, or in old ones the pickle itself."""


@dataclass(frozen=True)
class Source:
    """A file of weights.

    Attributes:
        path: where it lies on this machine.
        sha256: of its content; by this a recipe names it.
        name: its name on a hub, empty when it was given by path.
        commit: the hub's commit that the file was taken from.
    """

    path: Path
    sha256: str
    name: str = ""
    commit: str = ""


@dataclass(frozen=True)
class Stored:
    """A tensor as it lies in a file; ``read`` brings its numbers into memory."""

    shape: tuple[int, ...]
    kind: Kind
    read: Callable[[], Tensor]


def locate(source: Path | str | Source, *, quiet: bool = False) -> Source:
    """Find a run folder's model file, a file, or one on a hub (``hub:OWNER/NAME``), which is fetched.

    RunError when there is none or a hub does not give it, RecipeError for a name that cannot be, StorageError when it
    cannot be kept, MissingExtraError without the hub's client. ``quiet`` shows no bar while a file comes.
    """
    if isinstance(source, Source):
        return source
    if str(source).startswith(PREFIX):
        file = parse(str(source))
        fetched = hub.fetch(file, Hub(quiet=quiet))
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
    """Return what tensors the file holds, by name; RunError when it is damaged or no safetensors file."""
    try:
        file: Any = safe_open(path, framework="pt")
        if "modiste" in (file.metadata() or {}):
            return _own(path)
        return {name: _stored(file, name) for name in file.keys()}  # noqa: SIM118  (it is no mapping)
    except (SafetensorError, OSError, ValueError) as error:
        raise RunError(_complaint(path, error)) from error


def _own(path: Path) -> dict[str, Stored]:
    """The standardisation is left out: it is the data's, never transferred."""
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
            pickled = file.read(4).startswith(PICKLES)
    except OSError:
        pickled = False
    if pickled:
        return (
            f"{path}: a pickle, which can run code when it is read and never is here; expected a .safetensors file: "
            "look for one at its source, or convert it where you trust it (safetensors.torch.save_file)"
        )
    return f"{path}: damaged or not a safetensors file ({error}); fetch it again"
