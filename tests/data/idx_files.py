"""Small data sets made by hand, good ones, to be damaged by the tests."""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

IMAGES = "train-images-idx3-ubyte"
LABELS = "train-labels-idx1-ubyte"
TEST_IMAGES = "t10k-images-idx3-ubyte"
TEST_LABELS = "t10k-labels-idx1-ubyte"


def header(*shape: int, kind: int = 0x08) -> bytes:
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, kind, len(shape), *shape)


def idx(array: object) -> bytes:
    values = np.asarray(array, np.uint8)
    return header(*values.shape) + values.tobytes()


def packed(content: bytes) -> bytes:
    return gzip.compress(content, 1, mtime=0)


def bomb(start: bytes, megabytes: int) -> bytes:
    """A gzip archive that begins with ``start`` and goes on with zeros; its end is missing."""
    deflate = zlib.compressobj(wbits=31)
    head = deflate.compress(start) + deflate.flush(zlib.Z_FULL_FLUSH)
    block = deflate.compress(bytes(2**20)) + deflate.flush(zlib.Z_FULL_FLUSH)
    return head + block * megabytes


GOOD_IMAGES = idx(np.arange(6 * 4 * 5).reshape(6, 4, 5))
GOOD_LABELS = idx([0, 1, 2, 0, 1, 2])
GOOD = {IMAGES: GOOD_IMAGES, LABELS: GOOD_LABELS}
GOOD_TEST = {TEST_IMAGES: GOOD_IMAGES, TEST_LABELS: GOOD_LABELS}


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def flip(path: Path, at: int, mask: int) -> None:
    """Change the bits of one byte of a file; a second time undoes it."""
    with path.open("r+b") as file:
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ mask]))
