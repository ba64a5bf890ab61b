"""Pictures as they were decoded last time, so that the next start need not: one file for a source and a preparation.

The file begins with the hash of all that follows. What it holds of a picture counts as long as the picture's file has
the same size, times of change and number; a file that was touched is read again, the others are not.
"""

import hashlib
import json
import logging
import os
import stat
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from modiste import storage
from modiste.data.decoding import Decoded, decode
from modiste.data.faults import reason_of
from modiste.data.places import picture_cache_folder
from modiste.errors import MissingExtraError, StorageError
from modiste.photo.preparation import VERSION, Preparation

FORMAT = 1
SEAL_BYTES = 32
LOG = logging.getLogger(__name__)


def decoded(place: Path, names: Sequence[str], preparation: Preparation, part: str) -> Decoded:
    """Return what ``decode`` does, from the cache where it knows the files as they are.

    Args:
        place: folder that the names are relative to.
        names: of the files.
        preparation: what they become.
        part: of the data: what is sealed is kept apart, in a file of its own.
    """
    check_installed(preparation)
    path = cache_file(place, preparation, part)
    marks = {name: mark_of(place / name) for name in names}
    kept, old = _kept(path)
    fresh = [name for name in names if not marks[name] or old.get(name) != marks[name]]
    if not fresh and kept is not None:
        return kept.chosen(names)
    new = decode(place, fresh, preparation)
    same = [] if kept is None else [name for name in names if name not in set(fresh)]
    whole = new if kept is None or not same else joined(kept.chosen(same), new).chosen(names)
    _keep(path, whole, marks)
    return whole


def check_installed(preparation: Preparation) -> None:
    """Raise MissingExtraError unless what opens pictures, and what parts a garment from its ground, is installed."""
    try:
        import_module("PIL")
        if preparation.way == "garment":
            import_module("scipy.ndimage")
    except ImportError as error:
        raise MissingExtraError("pictures need Pillow and SciPy: pip install 'modiste[photo]'") from error


def cache_file(place: Path, preparation: Preparation, part: str) -> Path:
    """Return the file for pictures below ``place``: one for each way to prepare them, and version of the decoder."""
    from PIL import __version__ as pillow

    told = [os.path.realpath(place), preparation.way, preparation.side, preparation.channels, part]
    key = hashlib.sha256(json.dumps([*told, FORMAT, VERSION, pillow]).encode()).hexdigest()
    return picture_cache_folder() / f"{key[:32]}.safetensors"


def mark_of(path: Path) -> str:
    """Return what changes whenever a file does, without opening it; empty when there is no telling."""
    try:
        facts = path.stat()
    except OSError:
        return ""
    return f"{facts.st_size}:{facts.st_mtime_ns}:{facts.st_ctime_ns}:{facts.st_ino}"


def joined(one: Decoded, other: Decoded) -> Decoded:
    """Return two as one."""
    return Decoded(
        one.names + other.names,
        np.concatenate([one.images, other.images]),
        one.digests + other.digests,
        one.faults + other.faults,
    )


def _keep(path: Path, whole: Decoded, marks: dict[str, str]) -> None:
    plain = {
        "names": whole.names,
        "digests": whole.digests,
        "faults": whole.faults,
        "marks": [marks[name] for name in whole.names],
    }
    content = safetensors.numpy.save({"images": whole.images}, {"pictures": json.dumps(plain)})
    try:
        make_private(path.parent)
        storage.write_bytes(path, hashlib.sha256(content).digest() + content)
    except StorageError as error:
        LOG.warning("pictures will be read again next time: %s", error)


def make_private(folder: Path) -> None:
    """Make a folder that its owner alone may enter, or close one that others may: the pictures may be of people.

    Raises StorageError when that cannot be.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if stat.S_IMODE(folder.stat().st_mode) & 0o077:
            folder.chmod(0o700)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be made for its owner alone ({reason_of(error)})") from error


def _kept(path: Path) -> tuple[Decoded | None, dict[str, str]]:
    """Return what the cache holds, and the mark of each file; nothing where it is not there or not whole."""
    try:
        content = path.read_bytes()
    except OSError:
        return None, {}
    try:
        return _from_bytes(content)
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        LOG.warning("%s: damaged (%s); pictures are read anew", path, error)
        return None, {}


def _from_bytes(content: bytes) -> tuple[Decoded, dict[str, str]]:
    seal, body = content[:SEAL_BYTES], memoryview(content)[SEAL_BYTES:]
    if hashlib.sha256(body).digest() != seal:
        raise ValueError("its content does not match its seal")
    header = json.loads(bytes(body[8 : 8 + int.from_bytes(body[:8], "little")]))
    plain: dict[str, Any] = json.loads(header["__metadata__"]["pictures"])
    images = safetensors.numpy.load(bytes(body))["images"]
    names = tuple(plain["names"])
    whole = Decoded(names, images, tuple(plain["digests"]), tuple(plain["faults"]))
    return whole, dict(zip(names, plain["marks"], strict=True))
