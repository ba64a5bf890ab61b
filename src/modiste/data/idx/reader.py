"""Reader of IDX files (Yann LeCun's format of MNIST). It is strict: anything but a complete, valid file is a DataError.

The header says how many bytes follow. The reader first checks that number against the file's size, then reads exactly
that many bytes in blocks. So a file cannot exhaust the memory, nor pass with bytes missing or left over.
"""

import hashlib
import stat
import zlib
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
import numpy.typing as npt

from modiste.errors import fault

LIMIT_BYTES = 2 * 1024**3
"""Largest array that is read, unless the caller sets a smaller limit."""
BLOCK_BYTES = 1024**2
GZIP_MAGIC = b"\x1f\x8b"
DEFLATE_RATIO = 1032
"""Largest expansion by deflate: 258 bytes from two bits."""

_UNSIGNED_BYTE = 0x08
_MAX_DIMENSIONS = 4
_KINDS = {1: "1 dimension, as labels have", 3: "3 dimensions, as images have"}
_FOREIGN = {
    GZIP_MAGIC: "another gzip archive",
    b"<": "a web page (HTML or XML)",
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"PK\x03\x04": "a ZIP archive",
    b"\x93NUMPY": "a NumPy file",
    b"version https://git-lfs": "a Git LFS pointer, not the file itself",
}


@dataclass(frozen=True, eq=False)
class IdxFile:
    """The content of an IDX file."""

    path: Path
    array: npt.NDArray[np.uint8]
    sha256: str
    """Of the uncompressed bytes, header included, in hexadecimal: the same however the file is compressed."""
    size_bytes: int
    """Of the uncompressed file, header included."""


def read_idx(path: Path, *, dimensions: int | None = None, what: str = "", limit_bytes: int = LIMIT_BYTES) -> IdxFile:
    """Read an IDX file of unsigned bytes, raw or gzip, as its first two bytes say.

    Peak memory is the array and a few blocks.

    Args:
        path: Path of the file.
        dimensions: Number of dimensions that the caller expects, 1 to 4; None accepts any.
        what: Name of the content for messages, such as "training labels".
        limit_bytes: Largest uncompressed file accepted.

    Raises:
        DataError: This is not exactly one complete file of that kind.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe or a device could wait for ever
            found = "a folder" if path.is_dir() else "a pipe or device"
            raise fault(path, "not a file", expected=what or "an IDX file", found=found, remedy="name the file")
        with path.open("rb") as file:
            return _Reader(path, file, what).read(dimensions, limit_bytes)
    except FileNotFoundError:
        remedy = "check the folder or fetch the file"
        raise fault(path, "missing", expected=what or "an IDX file", found="nothing", remedy=remedy) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        remedy = "check its permissions and the disk"
        raise fault(path, "unreadable", expected=what or "an IDX file", found=reason, remedy=remedy) from None


class _Stream(Protocol):
    """The uncompressed bytes of a file, in blocks."""

    largest_bytes: int
    """Upper bound on the uncompressed size, from the size of the file."""

    def read(self, most: int) -> bytes:
        """Return 1 to ``most`` bytes; empty at the end."""

    def leftover(self) -> str:
        """Return a name for the bytes after the end; empty if there are none."""


class _Raw:
    def __init__(self, file: BinaryIO, size_bytes: int) -> None:
        self._file = file
        self.largest_bytes = size_bytes

    def read(self, most: int) -> bytes:
        return self._file.read(most)

    def leftover(self) -> str:
        return ""


class _Gunzip:
    def __init__(self, file: BinaryIO, size_bytes: int) -> None:
        self._file = file
        self._inflate = zlib.decompressobj(wbits=31)  # 31: with gzip's header, checksum and length
        self.largest_bytes = size_bytes * DEFLATE_RATIO

    def read(self, most: int) -> bytes:
        while not self._inflate.eof:
            packed = self._inflate.unconsumed_tail or self._file.read(BLOCK_BYTES)
            block = self._inflate.decompress(packed, most)
            if block:
                return block
            if not packed and not self._inflate.eof:
                raise zlib.error("the archive ends too early")
        return b""

    def leftover(self) -> str:
        rest = self._inflate.unused_data or self._file.read(2)
        if not rest:
            return ""
        return "a second gzip member" if rest.startswith(GZIP_MAGIC) else "other bytes after its end"


class _Reader:
    """Reads one file once, from front to back."""

    def __init__(self, path: Path, file: BinaryIO, what: str) -> None:
        self._path = path
        self._what = what or "an IDX file"
        size_bytes = file.seek(0, 2)
        file.seek(0)
        self._compressed = file.read(2) == GZIP_MAGIC
        file.seek(0)
        self._empty = size_bytes == 0
        self._stream: _Stream = (_Gunzip if self._compressed else _Raw)(file, size_bytes)
        self._hash = hashlib.sha256()

    def read(self, dimensions: int | None, limit_bytes: int) -> IdxFile:
        if self._empty:
            raise fault(self._path, "empty", expected=self._what, found="0 bytes")
        try:
            shape = self._read_header(dimensions)
            size_bytes = 4 + 4 * len(shape) + prod(shape)
            self._check_size(shape, size_bytes, limit_bytes)
            array = self._read_body(shape)
            self._check_end(shape, size_bytes)
        except zlib.error as error:
            reason = str(error).removeprefix("Error ")
            raise fault(self._path, "damaged", expected="a whole gzip archive", found=reason) from None
        return IdxFile(self._path, array, self._hash.hexdigest(), size_bytes)

    def _read_header(self, dimensions: int | None) -> tuple[int, ...]:
        magic = self._read_exactly(4, "its first 4 bytes")
        if magic[:2] != b"\0\0":
            raise fault(self._path, "not an IDX file", expected="two zero bytes first", found=_foreign(magic))
        if magic[2] != _UNSIGNED_BYTE:
            expected = "type 0x08 (unsigned byte)"
            raise fault(self._path, "wrong type of values", expected=expected, found=f"0x{magic[2]:02x}")
        count = magic[3]
        if not 1 <= count <= _MAX_DIMENSIONS:
            raise fault(self._path, "wrong dimension count", expected="1 to 4", found=str(count))
        if dimensions not in (None, count):
            raise self._wrong_kind(dimensions or 0, count)
        sizes = self._read_exactly(4 * count, f"a header of {4 + 4 * count} bytes")
        shape = tuple(int.from_bytes(sizes[at : at + 4], "big") for at in range(0, 4 * count, 4))
        if 0 in shape:
            raise fault(self._path, "an empty array", expected="sizes of 1 or more", found=_times(shape))
        return shape

    def _wrong_kind(self, dimensions: int, count: int) -> Exception:
        expected, found = (_KINDS.get(number, f"{number} dimensions") for number in (dimensions, count))
        remedy = "are images and labels swapped?" if {dimensions, count} == {1, 3} else "is it another file?"
        return fault(self._path, f"does not hold {self._what}", expected=expected, found=found, remedy=remedy)

    def _check_size(self, shape: tuple[int, ...], size_bytes: int, limit_bytes: int) -> None:
        found = f"{size_bytes:,} bytes announced by its header ({_times(shape)})"
        if size_bytes > limit_bytes:
            raise fault(self._path, "too large", expected=f"at most {limit_bytes:,} bytes", found=found)
        largest = self._stream.largest_bytes
        if self._compressed and size_bytes > largest:
            expected = f"at most {largest:,} bytes in an archive of this size"
            raise fault(self._path, "cut short or forged", expected=expected, found=found)
        if not self._compressed and size_bytes != largest:
            problem = "truncated" if size_bytes > largest else "bytes left over"
            expected = f"{size_bytes:,} bytes as its header announces ({_times(shape)})"
            raise fault(self._path, problem, expected=expected, found=f"{largest:,} bytes")

    def _read_body(self, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
        try:
            array = np.empty(shape, np.uint8)
        except MemoryError:
            expected = f"{prod(shape):,} bytes of free memory"
            raise fault(self._path, "too large", expected=expected, found="less") from None
        self._fill(array.reshape(-1).data, f"{prod(shape):,} bytes after the header ({_times(shape)})")
        return array

    def _read_exactly(self, count: int, expected: str) -> bytes:
        content = bytearray(count)
        self._fill(memoryview(content), expected)
        return bytes(content)

    def _fill(self, target: memoryview, expected: str) -> None:
        filled = 0
        while filled < len(target):
            block = self._stream.read(min(BLOCK_BYTES, len(target) - filled))
            if not block:
                raise fault(self._path, "truncated", expected=expected, found=f"{filled:,} bytes")
            target[filled : filled + len(block)] = block
            self._hash.update(block)
            filled += len(block)

    def _check_end(self, shape: tuple[int, ...], size_bytes: int) -> None:
        expected = f"its end after {size_bytes:,} bytes ({_times(shape)})"
        if self._stream.read(1):  # for an archive, this also verifies its checksum
            raise fault(self._path, "bytes left over", expected=expected, found="more")
        if leftover := self._stream.leftover():
            raise fault(self._path, "bytes left over", expected="one gzip member and no more", found=leftover)


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _foreign(start: bytes) -> str:
    matches = (name for magic, name in _FOREIGN.items() if start.startswith(magic[: len(start)]))
    return next(matches, f"0x{start.hex()}")
