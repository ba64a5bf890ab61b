"""Decoded pictures: every file is decoded once, and one cache file for a source and a preparation keeps the result.

The cache file begins with the hash of all that follows. An entry is valid as long as the picture's file has the same
size, times of change and inode; a file that was touched is decoded again, the others are not. The reason is kept for a
file that cannot be read.
"""

import hashlib
import json
import logging
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from jaxtyping import UInt8
from safetensors import SafetensorError

from modiste.data.paths import picture_cache_folder
from modiste.errors import MissingExtraError, PhotoError, StorageError, reason_of
from modiste.photo.opening import read
from modiste.photo.preparation import VERSION, Preparation
from modiste.processes import available_cores
from modiste.runs import storage

LOG = logging.getLogger(__name__)
Passing = Callable[[Iterable[Any]], Iterable[Any]]
SHOWN_FROM = 200
"""Pictures from which on progress is shown at a terminal."""


@dataclass(frozen=True, eq=False)
class Decoded:
    """What became of picture files, in the order in which they were named.

    Attributes:
        names: of the files.
        images: of those without a fault, in their order.
        digests: SHA-256 of each file's content; empty where it could not be read at all.
        faults: why a file gave no image; empty if it did.
    """

    names: tuple[str, ...]
    images: UInt8[np.ndarray, "n c side side"]
    digests: tuple[str, ...]
    faults: tuple[str, ...]

    def chosen(self, names: Sequence[str]) -> "Decoded":
        """Return the same of these names alone, in their order."""
        places = {name: place for place, name in enumerate(self.names)}
        order = [places[name] for name in names]
        rows = np.cumsum([not fault for fault in self.faults]) - 1
        images = self.images[[rows[place] for place in order if not self.faults[place]]]
        return Decoded(
            tuple(names), images, tuple(self.digests[place] for place in order), tuple(self.faults[p] for p in order)
        )


def decode(place: Path, names: Sequence[str], preparation: Preparation) -> Decoded:
    """Read and prepare the files of these names below ``place``, on all cores."""
    with ThreadPoolExecutor(len(available_cores())) as pool, _shown(len(names)) as advance:
        results = pool.map(lambda name: decode_one(place / name, preparation), names)
        done = list(advance(results))
    side, channels = preparation.side, preparation.channels
    images = np.empty((sum(not fault for *_, fault in done), channels, side, side), np.uint8)
    for row, image in enumerate(image for _, image, fault in done if not fault):
        images[row] = image
    return Decoded(tuple(names), images, tuple(one[0] for one in done), tuple(one[2] for one in done))


def decode_one(path: Path, preparation: Preparation) -> tuple[str, UInt8[np.ndarray, "c side side"] | None, str]:
    """Return the hash of a file's content, its image, and what was wrong with it."""
    digest = ""
    try:
        content = read(path)
        digest = hashlib.sha256(content).hexdigest()
        return digest, preparation(content).planes, ""
    except PhotoError as error:
        return digest, None, str(error)


@contextmanager
def _shown(total: int) -> Iterator[Passing]:
    """Yield what passes results on, with a bar at a terminal when there are many and warnings are shown too."""
    if total < SHOWN_FROM or not (sys.stderr and sys.stderr.isatty()) or not LOG.isEnabledFor(logging.WARNING):
        yield iter
        return
    from rich.console import Console
    from rich.progress import track

    def advance(results: Iterable[Any]) -> Iterable[Any]:
        return track(results, "reading pictures", total, console=Console(stderr=True), transient=True)

    yield advance


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
