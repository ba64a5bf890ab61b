"""A cache of decoded pictures, so that each file is decoded only once.

There is one cache file for a source, a preparation and a part of the data. It begins with the SHA-256 of the rest. An
entry is valid while the picture file keeps its size, times of change and inode. Only files that changed are decoded
again. For a file that cannot be read, the reason is cached.
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
from modiste.data.pictures.listing import NOT_FIRST, is_later
from modiste.errors import MissingExtraError, PhotoError, StorageError, reason_of
from modiste.photo import heif
from modiste.photo.opening import read_file
from modiste.photo.preparation import VERSION, Preparation
from modiste.processes import available_cores
from modiste.runs import storage

LOG = logging.getLogger(__name__)
FORMAT = 1
"""Version of the cache file's format."""
HASH_BYTES = 32
BAR_FROM = 200
"""Least number of pictures for which a terminal shows a progress bar."""
Passing = Callable[[Iterable[Any]], Iterable[Any]]


@dataclass(frozen=True, eq=False)
class Decoded:
    """Decoded picture files, in the order in which they were named.

    Attributes:
        names: names of the files.
        images: images of the files without a fault, in the same order.
        digests: SHA-256 of each file's content; empty if it could not be read at all.
        faults: why a file gave no image; empty if it did.
    """

    names: tuple[str, ...]
    images: UInt8[np.ndarray, "n c side side"]
    digests: tuple[str, ...]
    faults: tuple[str, ...]

    def select(self, names: Sequence[str]) -> "Decoded":
        """Return the files of these names alone, in this order."""
        positions = {name: position for position, name in enumerate(self.names)}
        order = [positions[name] for name in names]
        rows = np.cumsum([not fault for fault in self.faults]) - 1
        images = self.images[[rows[position] for position in order if not self.faults[position]]]
        digests = tuple(self.digests[position] for position in order)
        return Decoded(tuple(names), images, digests, tuple(self.faults[position] for position in order))


def decode_cached(folder: Path, names: Sequence[str], preparation: Preparation, part: str) -> Decoded:
    """Return the same as ``decode``, from the cache for files that have not changed, and update the cache.

    Args:
        folder: that the names are relative to.
        names: of the files.
        preparation: from a file to an image.
        part: of the data, development or held out: each has a cache file of its own.

    Raises:
        MissingExtraError: a package that opens or prepares pictures is not installed.
    """
    check_installed(preparation)
    path = cache_file(folder, preparation, part)
    stamps = {name: _stamp(folder / name) for name in names}
    cached, old_stamps = _load(path)
    changed = [name for name in names if not stamps[name] or old_stamps.get(name) != stamps[name]]
    if not changed and cached is not None:
        return cached.select(names)
    new = decode(folder, changed, preparation)
    unchanged = [] if cached is None else [name for name in names if name not in set(changed)]
    whole = new if cached is None or not unchanged else _concatenated(cached.select(unchanged), new).select(names)
    _save(path, whole, stamps)
    return whole


def decode(folder: Path, names: Sequence[str], preparation: Preparation) -> Decoded:
    """Read and prepare the files of these names in ``folder``, on all cores."""
    with ThreadPoolExecutor(len(available_cores())) as pool, _progress_bar(len(names)) as advance:
        results = pool.map(lambda name: _decode_one(folder / name, preparation), names)
        done = list(advance(results))
    side, channels = preparation.side, preparation.channels
    images = np.empty((sum(not fault for *_, fault in done), channels, side, side), np.uint8)
    for row, image in enumerate(image for _, image, fault in done if not fault):
        images[row] = image
    return Decoded(tuple(names), images, tuple(one[0] for one in done), tuple(one[2] for one in done))


def check_installed(preparation: Preparation) -> None:
    """Raise MissingExtraError unless Pillow is installed; for garments also SciPy, and the network if it is named.

    DataError if the segmentation network's file is another one.
    """
    try:
        import_module("PIL")
        if preparation.way == "garment":
            import_module("scipy.ndimage")
    except ImportError as error:
        raise MissingExtraError("pictures need Pillow and SciPy: pip install 'modiste[photo]'") from error
    preparation.check_network()


def cache_file(folder: Path, preparation: Preparation, part: str) -> Path:
    """Return the cache file for pictures in ``folder``: one for each part, preparation and version of the libraries."""
    from PIL import __version__ as pillow

    key = [os.path.realpath(folder), preparation.way, preparation.side, preparation.channels, preparation.decoder, part]
    key += [preparation.background] if preparation.background != "plain" else []
    digest = hashlib.sha256(json.dumps([*key, FORMAT, VERSION, pillow, heif.version()]).encode()).hexdigest()
    return picture_cache_folder() / f"{digest[:32]}.safetensors"


def _decode_one(path: Path, preparation: Preparation) -> tuple[str, UInt8[np.ndarray, "c side side"] | None, str]:
    """Return the hash of a file's content, its image, and its fault."""
    digest = ""
    try:
        content = read_file(path)
        digest = hashlib.sha256(content).hexdigest()
        if preparation.decoder == 1 and is_later(path.name):
            return digest, None, NOT_FIRST
        return digest, preparation(content).planes, ""
    except PhotoError as error:
        return digest, None, str(error)


@contextmanager
def _progress_bar(total: int) -> Iterator[Passing]:
    """Yield a function that passes results on. At a terminal it moves a bar if there are many pictures."""
    if total < BAR_FROM or not (sys.stderr and sys.stderr.isatty()) or not LOG.isEnabledFor(logging.WARNING):
        yield iter
        return
    from rich.console import Console
    from rich.progress import track

    def advance(results: Iterable[Any]) -> Iterable[Any]:
        return track(results, "reading pictures", total, console=Console(stderr=True), transient=True)

    yield advance


def _stamp(path: Path) -> str:
    """Return a string that changes whenever the file does, without opening it; empty if the system does not say."""
    try:
        facts = path.stat()
    except OSError:
        return ""
    return f"{facts.st_size}:{facts.st_mtime_ns}:{facts.st_ctime_ns}:{facts.st_ino}"


def _concatenated(one: Decoded, other: Decoded) -> Decoded:
    return Decoded(
        one.names + other.names,
        np.concatenate([one.images, other.images]),
        one.digests + other.digests,
        one.faults + other.faults,
    )


def _load(path: Path) -> tuple[Decoded | None, dict[str, str]]:
    """Return the cached pictures and the stamp of each file; None and no stamps if the cache is absent or damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return None, {}
    try:
        return _from_bytes(content)
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        LOG.warning("%s: damaged (%s); pictures are read again", path, error)
        return None, {}


def _from_bytes(content: bytes) -> tuple[Decoded, dict[str, str]]:
    digest, body = content[:HASH_BYTES], memoryview(content)[HASH_BYTES:]
    if hashlib.sha256(body).digest() != digest:
        raise ValueError("its content does not match its hash")
    header = json.loads(bytes(body[8 : 8 + int.from_bytes(body[:8], "little")]))
    plain: dict[str, Any] = json.loads(header["__metadata__"]["pictures"])
    images = safetensors.numpy.load(bytes(body))["images"]
    names = tuple(plain["names"])
    whole = Decoded(names, images, tuple(plain["digests"]), tuple(plain["faults"]))
    return whole, dict(zip(names, plain["marks"], strict=True))


def _save(path: Path, whole: Decoded, stamps: dict[str, str]) -> None:
    plain = {
        "names": whole.names,
        "digests": whole.digests,
        "faults": whole.faults,
        "marks": [stamps[name] for name in whole.names],
    }
    content = safetensors.numpy.save({"images": whole.images}, {"pictures": json.dumps(plain)})
    try:
        _make_private(path.parent)
        storage.write_bytes(path, hashlib.sha256(content).digest() + content)
    except StorageError as error:
        LOG.warning("pictures will be read again next time: %s", error)


def _make_private(folder: Path) -> None:
    """Create a folder that only its owner may enter, or close an existing one: the pictures may show people.

    Raises StorageError if that is impossible.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if stat.S_IMODE(folder.stat().st_mode) & 0o077:
            folder.chmod(0o700)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be made private to its owner ({reason_of(error)})") from error
