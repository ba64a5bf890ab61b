"""A cache of decoded pictures, so that each file is decoded only once.

There is one cache file for a source, a preparation and a part of the data; see ``picture_file``. An entry is valid
while the picture file keeps its size, times of change and inode. Only files that changed are decoded again. For a
damaged file the reason is cached. A file that could not be opened is tried again: too many were open, or a disk was
away.
"""

import hashlib
import json
import logging
import math
import os
import shutil
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from modiste.data.paths import picture_cache_folder
from modiste.data.pictures.listing import NOT_FIRST, is_later
from modiste.data.pictures.picture_file import new_picture_file, read_picture_file
from modiste.errors import MissingExtraError, PhotoError, StorageError
from modiste.photo import heif
from modiste.photo.opening import SILENCE, read_file
from modiste.photo.preparation import VERSION, Preparation
from modiste.runs import storage
from modiste.system import posix
from modiste.system.processes import available_cores

LOG = logging.getLogger(__name__)
FORMAT = 2
"""Version of the cache file's format."""
AHEAD = 64
"""Files that are decoded ahead of the one that is stored."""
BAR_FROM = 200
"""Least number of pictures for which a terminal shows a progress bar."""
Result = tuple[str, UInt8[np.ndarray, "c side side"] | None, str]
"""The hash of a file's content, its image, and its fault."""
Passing = Callable[[Iterable[Any]], Iterable[Any]]


@dataclass(frozen=True, eq=False)
class Decoded:
    """Decoded picture files, in the order in which they were named.

    Attributes:
        names: Names of the files.
        images: Images of the files without a fault, in the same order.
        digests: SHA-256 of each file's content; empty if it could not be read at all.
        faults: Why a file gave no image; empty if it did.
    """

    names: tuple[str, ...]
    images: UInt8[np.ndarray, "n c side side"]
    digests: tuple[str, ...]
    faults: tuple[str, ...]

    def select(self, names: Sequence[str]) -> "Decoded":
        """Return the files of these names alone, in this order."""
        if tuple(names) == self.names:
            return self
        positions = {name: position for position, name in enumerate(self.names)}
        order = [positions[name] for name in names]
        rows = np.cumsum([not fault for fault in self.faults]) - 1
        images = self.images[[rows[position] for position in order if not self.faults[position]]]
        digests = tuple(self.digests[position] for position in order)
        return Decoded(tuple(names), images, digests, tuple(self.faults[position] for position in order))


def decode_cached(
    folder: Path, names: Sequence[str], preparation: Preparation, part: str, *, mapped: bool = False
) -> Decoded:
    """Return the same as ``decode``, from the cache for files that have not changed, and update the cache.

    Args:
        folder: That the names are relative to.
        names: Names of the files.
        preparation: From a file to an image.
        part: Part of the data, development or held out: each has a cache file of its own.
        mapped: Whether the images stay in the cache's file, mapped and read-only, and never come into memory together.

    Raises:
        MissingExtraError: A package that opens or prepares pictures is not installed.
        StorageError: With ``mapped``, if the cache cannot be written, or its disk has too little space.
    """
    check_installed(preparation)
    path = cache_file(folder, preparation, part)
    with _writing_alone(path.parent) if mapped else nullcontext():
        return _up_to_date(path, folder, names, preparation, mapped=mapped)


def _up_to_date(path: Path, folder: Path, names: Sequence[str], preparation: Preparation, *, mapped: bool) -> Decoded:
    """Return the pictures of these names from the cache's file, which is brought up to date."""
    stamps = {name: _stamp(folder / name) for name in names}
    cached, old_stamps = _load(path, preparation, mapped=mapped)
    changed = {name for name in names if not stamps[name] or old_stamps.get(name) != stamps[name]}
    changed |= {name for name in _unopened(cached) if name in stamps and _is_readable(folder / name)}
    if cached is not None and not changed and (not mapped or cached.names == tuple(names)):
        return cached.select(names)
    unchanged = Kept(cached) if cached is not None and len(changed) < len(names) else Kept()
    results = _renewed(folder, names, preparation, changed, unchanged)
    with _progress_bar(len(names)) as advance:
        if mapped:
            return _written(path, names, advance(results), preparation, stamps)
        whole = _collected(names, advance(results), preparation)
    _save(path, whole, stamps)
    return whole


def _unopened(cached: Decoded | None) -> list[str]:
    """Return the names of the files that could not be read at all."""
    known = () if cached is None else zip(cached.names, cached.digests, strict=True)
    return [name for name, digest in known if not digest]


def _is_readable(path: Path) -> bool:
    try:
        read_file(path)
    except PhotoError:
        return False
    return True


def decode(folder: Path, names: Sequence[str], preparation: Preparation) -> Decoded:
    """Read and prepare the files of these names in ``folder``, on all cores."""
    return _collected(names, _decoded(folder, names, preparation), preparation)


class Kept:
    """Pictures of the cache by their names.

    Args:
        cached: What the cache holds; None for nothing.
    """

    def __init__(self, cached: Decoded | None = None) -> None:
        self.cached = cached
        names, faults = ((), ()) if cached is None else (cached.names, cached.faults)
        self.positions = {name: position for position, name in enumerate(names)}
        self.rows = np.cumsum([not fault for fault in faults], dtype=np.int64) - 1

    def __getitem__(self, name: str) -> Result:
        assert self.cached is not None
        position = self.positions[name]
        fault = self.cached.faults[position]
        image = None if fault else self.cached.images[self.rows[position]]
        return self.cached.digests[position], image, fault


def _renewed(
    folder: Path, names: Sequence[str], preparation: Preparation, changed: Set[str], unchanged: Kept
) -> Iterator[Result]:
    """Yield the result of each file: decoded if it has changed, else from the cache."""
    new = _decoded(folder, [name for name in names if name in changed], preparation)
    for name in names:
        yield next(new) if name in changed else unchanged[name]


def _decoded(folder: Path, names: Sequence[str], preparation: Preparation) -> Iterator[Result]:
    """Yield the result of each file, decoded on all cores; few are held at a time."""
    with SILENCE, ThreadPoolExecutor(len(available_cores())) as pool:
        waiting = deque[Future[Result]]()
        for name in names:
            waiting.append(pool.submit(_decode_one, folder / name, preparation))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _collected(names: Sequence[str], results: Iterable[Result], preparation: Preparation) -> Decoded:
    """Return all results in memory."""
    images, digests, faults, row = np.empty((len(names), *preparation.shape), np.uint8), list[str](), list[str](), 0
    for digest, image, fault in results:
        digests.append(digest)
        faults.append(fault)
        if image is not None:
            images[row] = image
            row += 1
    return Decoded(tuple(names), images[:row], tuple(digests), tuple(faults))


def _written(
    path: Path, names: Sequence[str], results: Iterable[Result], preparation: Preparation, stamps: dict[str, str]
) -> Decoded:
    """Write all results to the cache's file, one by one, and return them mapped."""
    storage.remove_abandoned(path.parent)
    check_space(path, len(names), preparation)
    digests, faults = list[str](), list[str]()
    with new_picture_file(path) as file:
        for digest, image, fault in results:
            digests.append(digest)
            faults.append(fault)
            if image is not None:
                file.add(image)
        file.finish(_index(names, digests, faults, stamps))
    whole, _ = _load(path, preparation, mapped=True)
    if whole is None:
        raise StorageError(f"{path}: cannot be read after it was written; check the disk")
    return whole


@contextmanager
def _writing_alone(folder: Path) -> Iterator[None]:
    """Wait until no other process writes a large file in the cache: it may be the same one, and fill the disk twice."""
    storage.make_private(folder)
    descriptor = posix.open_to_lock(folder)
    try:
        with suppress(OSError):  # a file system without locks
            posix.lock_file(descriptor, wait=True)
        yield
    finally:
        os.close(descriptor)


def check_space(path: Path, pictures: int, preparation: Preparation) -> None:
    """Raise StorageError if the disk of the cache has too little space for these pictures."""
    needed, free = pictures * math.prod(preparation.shape), shutil.disk_usage(path.parent).free
    if needed > free:
        raise StorageError(
            f"{path.parent}: {pictures:,} pictures of {preparation.side} x {preparation.side} need "
            f"{needed / 1e9:.3g} GB of this disk, {free / 1e9:.3g} GB are free; free space there, set XDG_CACHE_HOME "
            "to a folder on another disk, or choose a smaller --data.side"
        )


def check_installed(preparation: Preparation) -> None:
    """Raise MissingExtraError unless Pillow is installed, and the segmentation network if it is named.

    DataError if the segmentation network's file is another one.
    """
    try:
        import_module("PIL")
    except ImportError as error:
        raise MissingExtraError("pictures need Pillow: pip install 'modiste[photo]'") from error
    preparation.check_network()


def cache_file(folder: Path, preparation: Preparation, part: str) -> Path:
    """Return the cache file for pictures in ``folder``: one for each part, preparation and version of the libraries."""
    from PIL import __version__ as pillow

    key = [os.path.realpath(folder), preparation.way, preparation.side, preparation.channels, preparation.decoder, part]
    key += preparation.finder
    digest = hashlib.sha256(json.dumps([*key, FORMAT, VERSION, pillow, heif.version()]).encode()).hexdigest()
    return picture_cache_folder() / f"{digest[:32]}.pictures"


def _decode_one(path: Path, preparation: Preparation) -> Result:
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


def _load(path: Path, preparation: Preparation, *, mapped: bool) -> tuple[Decoded | None, dict[str, str]]:
    """Return the cached pictures and the stamp of each file; None and no stamps if the cache is absent or damaged."""
    try:
        images, index = read_picture_file(path, preparation.shape, mapped=mapped)
        names, faults = tuple(index["names"]), tuple(index["faults"])
        return Decoded(names, images, tuple(index["digests"]), faults), dict(zip(names, index["marks"], strict=True))
    except OSError:
        return None, {}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        LOG.warning("%s: damaged (%s); pictures are read again", path, error)
        return None, {}


def _save(path: Path, whole: Decoded, stamps: dict[str, str]) -> None:
    try:
        storage.make_private(path.parent)
        with new_picture_file(path) as file:
            file.add(whole.images)
            file.finish(_index(whole.names, whole.digests, whole.faults, stamps))
    except StorageError as error:
        LOG.warning("pictures will be read again next time: %s", error)


def _index(
    names: Sequence[str], digests: Sequence[str], faults: Sequence[str], stamps: dict[str, str]
) -> dict[str, Sequence[str]]:
    return {"names": names, "digests": digests, "faults": faults, "marks": [stamps[name] for name in names]}
