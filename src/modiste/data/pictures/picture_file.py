"""The file of decoded pictures: rows of pixels, an index in JSON, the index's size, and the SHA-256 of all before it.

It is written from the first picture to the last in constant memory. It is read into memory, or mapped: then the system
reads a picture when it is used, and may forget it again.
"""

import hashlib
import json
import mmap
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import UInt8

from modiste.runs import storage

HASH_BYTES, SIZE_BYTES = 32, 8
BLOCK_BYTES = 2**20
Index = dict[str, Any]
MAPPINGS = weakref.WeakSet[mmap.mmap]()
"""All files that this process has mapped."""


@dataclass
class Writer:
    """Writes the parts of a file in their order, and hashes them."""

    file: BinaryIO
    digest: "hashlib._Hash"

    def add(self, images: UInt8[np.ndarray, "*n c h w"]) -> None:
        """Add one picture, or several; OSError if the disk refuses."""
        self._write(np.ascontiguousarray(images).reshape(-1).data)

    def finish(self, index: Index) -> None:
        """Add the index, and the hash; OSError if the disk refuses."""
        content = json.dumps(index).encode()
        self._write(memoryview(content))
        self._write(memoryview(len(content).to_bytes(SIZE_BYTES, "little")))
        self.file.write(self.digest.digest())

    def _write(self, content: memoryview) -> None:
        self.digest.update(content)
        self.file.write(content)


@contextmanager
def new_picture_file(path: Path) -> Iterator[Writer]:
    """Yield a writer of the file that replaces ``path`` at the end of the block; StorageError as ``new_content``."""
    with storage.new_content(path, synced=False) as file:  # its hash reveals what a power cut has lost
        yield Writer(file, hashlib.sha256())


def read_picture_file(
    path: Path, shape: tuple[int, int, int], *, mapped: bool
) -> tuple[UInt8[np.ndarray, "n c h w"], Index]:
    """Return the pictures and the index.

    Args:
        path: Path of the file.
        shape: Shape of a picture, (channels, height, width).
        mapped: Map the file, read-only, in place of reading its pictures into memory. The file is read once all the
            same, to check its hash.

    Raises:
        OSError: There is no such file, or it cannot be read.
        ValueError: Its content is damaged.
    """
    with path.open("rb") as file:
        pixels = _pixel_bytes(file)
        rows, rest = divmod(pixels, int(np.prod(shape)))
        if rest:
            raise ValueError(f"{pixels:,} bytes of pixels are not pictures of {shape}")
        images = _mapping(file, pixels) if mapped else np.empty(pixels, np.uint8)
        digest = _hash_pixels(file, pixels) if mapped else _fill(file, images)
        content, own_hash = file.read()[:-HASH_BYTES], _last(file)
        digest.update(content)
        if digest.digest() != own_hash:
            raise ValueError("its content does not match its hash")
        return images.reshape(rows, *shape), json.loads(content[:-SIZE_BYTES])


def release_pages() -> None:
    """Give back the memory of mapped pictures that were read; they are read again when they are used.

    The system may keep them in its own cache. But this process's memory stays small, however many pictures it passes.
    """
    for mapping in list(MAPPINGS) if hasattr(mmap, "MADV_DONTNEED") else ():  # not on Windows
        mapping.madvise(mmap.MADV_DONTNEED)


def _pixel_bytes(file: BinaryIO) -> int:
    """Return the number of bytes before the index; ValueError if there is no index."""
    size = os.fstat(file.fileno()).st_size
    file.seek(max(0, size - HASH_BYTES - SIZE_BYTES))
    pixels = size - HASH_BYTES - SIZE_BYTES - int.from_bytes(file.read(SIZE_BYTES), "little")
    if not 0 <= pixels < size - HASH_BYTES - SIZE_BYTES:
        raise ValueError("its end is missing")
    file.seek(0)
    return pixels


def _last(file: BinaryIO) -> bytes:
    file.seek(-HASH_BYTES, os.SEEK_END)
    return file.read()


def _mapping(file: BinaryIO, pixels: int) -> UInt8[np.ndarray, " p"]:
    """Return the first ``pixels`` bytes of a file, mapped; an empty array where there are none."""
    if not pixels:
        return np.empty(0, np.uint8)
    mapping = mmap.mmap(file.fileno(), pixels, access=mmap.ACCESS_READ)
    MAPPINGS.add(mapping)
    return np.frombuffer(mapping, np.uint8)


def _fill(file: BinaryIO, images: UInt8[np.ndarray, " p"]) -> "hashlib._Hash":
    """Read the pixels, and return their hash."""
    if file.readinto(images) != len(images):  # type: ignore[attr-defined]
        raise ValueError("its end is missing")
    return hashlib.sha256(images.data)


def _hash_pixels(file: BinaryIO, pixels: int) -> "hashlib._Hash":
    """Return the hash of the pixels, read block by block."""
    digest = hashlib.sha256()
    for start in range(0, pixels, BLOCK_BYTES):
        digest.update(file.read(min(BLOCK_BYTES, pixels - start)))
    return digest
