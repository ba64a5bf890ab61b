"""Reads PBM, PGM and PPM files (P1 to P6): a short header of numbers, and the pixels in binary or as text."""

import re

import numpy as np
from jaxtyping import UInt8

from modiste.errors import PhotoError

KINDS = {b"P1": 1, b"P2": 1, b"P3": 3, b"P4": 1, b"P5": 1, b"P6": 3}
"""The first two bytes, and the number of values for a pixel."""
TEXT, BITS = (b"P1", b"P2", b"P3"), (b"P1", b"P4")
LARGEST_VALUE = 65_535
_GAP = rb"(?:[ \t\r\n\v\f]|#[^\r\n]*[\r\n])+"
_HEADER = {
    count: re.compile(rb"P[1-6]" + (_GAP + rb"(\d{1,9})") * count + rb"[ \t\r\n\v\f]", re.DOTALL) for count in (2, 3)
}
_COMMENT = re.compile(rb"#[^\r\n]*")
MOST_HEADER_BYTES = 10_000


class Pnm:
    """A PNM file, its header read and its pixels not.

    Attributes:
        size: (width, height).

    Raises:
        PhotoError: The header is damaged.
    """

    def __init__(self, data: bytes) -> None:
        self._data, self._kind = data, data[:2]
        found = _HEADER[2 if self._kind in BITS else 3].match(data, 0, MOST_HEADER_BYTES)
        if not found:
            raise PhotoError("the image is damaged (its header is no PBM, PGM or PPM)")
        self.size = (int(found[1]), int(found[2]))
        self._largest = 1 if self._kind in BITS else int(found[3])
        if not 1 <= self._largest <= LARGEST_VALUE:
            raise PhotoError(f"the image is damaged (its largest value is {self._largest})")
        self._start = found.end()

    def pixels(self) -> UInt8[np.ndarray, "h w 3"]:
        """Return the pixels in red, green and blue; PhotoError if some are missing."""
        width, height = self.size
        channels = KINDS[self._kind]
        values = self._values(width * channels, height)
        if self._kind in BITS:
            values = 1 - values
        values = np.minimum(values, self._largest)
        if self._largest != 255:
            values = (values * np.float32(255 / self._largest)).round()
        image = values.astype(np.uint8).reshape(height, width, channels)
        return np.repeat(image, 3, axis=2) if channels == 1 else image

    def _values(self, across: int, height: int) -> np.ndarray:
        """Return the values as stored, ``height`` rows of ``across``."""
        body, count = memoryview(self._data)[self._start :], across * height
        if self._kind in TEXT:
            return _numbers(bytes(body), count, single=self._kind == b"P1").reshape(height, across)
        if self._kind == b"P4":
            packed = -(-across // 8)
            rows = _leading(np.frombuffer(body, np.uint8), packed * height).reshape(height, packed)
            return np.unpackbits(rows, axis=1)[:, :across]
        kind = np.dtype(np.uint8 if self._largest < 256 else ">u2")
        whole = body[: len(body) // kind.itemsize * kind.itemsize]
        return _leading(np.frombuffer(whole, kind), count).reshape(height, across)


def _numbers(text: bytes, count: int, *, single: bool) -> np.ndarray:
    """Return the first ``count`` decimal numbers of a text with comments; of ``single`` digits, gaps are optional."""
    plain = _COMMENT.sub(b"", text)
    if single:
        digits = np.frombuffer(plain, np.uint8)
        values = digits[(digits == ord("0")) | (digits == ord("1"))] - ord("0")
        return _leading(values, count)
    if plain.translate(None, b"0123456789 \t\r\n\v\f"):
        raise PhotoError("the image is damaged (its pixels are no numbers)")
    return _leading(np.fromstring(plain.decode("ascii"), np.int64, sep=" "), count)


def _leading(values: np.ndarray, count: int) -> np.ndarray:
    if len(values) < count:
        raise PhotoError("the image is damaged (pixels are missing)")
    return values[:count]
