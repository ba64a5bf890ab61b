"""Reads the size of a picture from its compressed data, HEVC (H.265) or AV1, and counts what a decoder must do.

A file's header may promise a small picture over data that decode to a huge one, or to thousands that are never shown.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from modiste.errors import PhotoError

_PARAMETERS, _SPS = range(32, 35), 33
"""Types of NAL units: video, sequence and picture parameter sets."""
_SLICES = range(32)
_SEQUENCE, _FRAME_HEADER, _FRAME = 1, 3, 6
"""Types of open bitstream units."""
MOST_UNITS = 10_000
MOST_PARAMETERS = 16
"""Most parameter sets of one type; HEVC numbers its sequence parameter sets from 0 to 15."""
MOST_SPS_BYTES = 1_000


@dataclass(frozen=True)
class Coded:
    """A compressed picture.

    Attributes:
        pixels: Pixels of the largest picture in the data.
        passes: Number of times that a decoder may visit them: slices of a HEVC picture, or frames of AV1.
    """

    pixels: int
    passes: int


def read_hevc(configuration: bytes, data: bytes) -> Coded:
    """Read an item of HEVC; PhotoError if it is damaged or holds more than one picture.

    Args:
        configuration: Content of the box ``hvcC``.
        data: Data of the item: units, each after its length.
    """
    sizes = [_size_of_sps(unit) for unit in _configured_units(configuration) if _nal_type(unit) == _SPS]
    pictures = slices = 0
    for unit in _units(data, 1 + (_byte(configuration, 21) & 3)):
        kind = _nal_type(unit)
        if kind in _PARAMETERS:
            raise PhotoError("the image is damaged (its parameters change within)")
        if kind in _SLICES:
            slices += 1
            pictures += _byte(unit, 2) >> 7  # the first slice of a picture
    if not sizes or pictures != 1:
        raise PhotoError(f"the image is damaged (it holds {pictures} pictures in one)")
    return Coded(max(sizes), slices)


def read_av1(data: bytes) -> Coded:
    """Read an item of AV1; PhotoError if it is damaged."""
    sizes, frames = [], 0
    for kind, unit in _open_units(data):
        if kind == _SEQUENCE:
            sizes.append(_size_of_sequence(unit))
        frames += kind in (_FRAME, _FRAME_HEADER)
    if not sizes or not frames:
        raise PhotoError("the image is damaged (it holds no picture)")
    return Coded(max(sizes), frames)


class _Bits:
    """Reads numbers from bits, the highest first; past the end they are 0."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data), 8 * len(data)

    def take(self, count: int) -> int:
        """Return the next ``count`` bits as a number."""
        self._left -= count
        return (self._value >> self._left if self._left >= 0 else 0) & ((1 << count) - 1)

    def exponential(self) -> int:
        """Return a number in the exponential Golomb code of order 0."""
        zeros = 0
        while zeros < 32 and not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)


def _byte(data: bytes, at: int) -> int:
    return data[at] if at < len(data) else 0


def _nal_type(unit: bytes) -> int:
    return _byte(unit, 0) >> 1 & 63


def _configured_units(configuration: bytes) -> Iterator[bytes]:
    """Yield the units in a box ``hvcC`` (ISO 14496-15, 8.3.3.1.2)."""
    at = 23
    for _ in range(_byte(configuration, 22)):
        count = int.from_bytes(configuration[at + 1 : at + 3])
        at += 3
        if count > MOST_PARAMETERS:
            raise PhotoError(f"the image has {count:,} sets of parameters; expected at most {MOST_PARAMETERS}")
        for _ in range(count):
            size = int.from_bytes(configuration[at : at + 2])
            yield configuration[at + 2 : at + 2 + size]
            at += 2 + size


def _units(data: bytes, length_bytes: int) -> Iterator[bytes]:
    """Yield the beginning of each unit."""
    at = 0
    for _ in range(MOST_UNITS):
        if at >= len(data):
            return
        size = int.from_bytes(data[at : at + length_bytes])
        at += length_bytes
        yield data[at : at + 3]
        at += size
    raise PhotoError(f"the image has more than {MOST_UNITS:,} parts; expected a photo; save it again")


def _size_of_sps(unit: bytes) -> int:
    """Return the pixels that a sequence parameter set announces (H.265, 7.3.2.2)."""
    bits = _Bits(unit[2:MOST_SPS_BYTES].replace(b"\0\0\3", b"\0\0"))
    bits.take(4)
    layers = bits.take(3)
    bits.take(1 + 96)  # the general profile, tier and level
    present = [bits.take(2) for _ in range(layers)]
    bits.take(2 * (8 - layers) if layers else 0)
    for flags in present:
        bits.take(88 * (flags >> 1) + 8 * (flags & 1))
    bits.exponential()
    if bits.exponential() == 3:  # chroma as fine as luma
        bits.take(1)
    return bits.exponential() * bits.exponential()


def _open_units(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the type and the content of each open bitstream unit (AV1, 5.3)."""
    at = 0
    for _ in range(MOST_UNITS):
        if at >= len(data):
            return
        header = data[at]
        at += 2 if header & 4 else 1
        size, at = _little_endian(data, at) if header & 2 else (len(data) - at, at)
        yield header >> 3 & 15, data[at : at + min(size, MOST_SPS_BYTES)]
        at += size
    raise PhotoError(f"the image has more than {MOST_UNITS:,} parts; expected a photo; save it again")


def _little_endian(data: bytes, at: int) -> tuple[int, int]:
    """Return the number at a position, in groups of seven bits with the lowest first, and the position after it."""
    number = 0
    for shift in range(0, 56, 7):
        byte = _byte(data, at)
        number |= (byte & 127) << shift
        at += 1
        if byte < 128:
            break
    return number, at


def _size_of_sequence(unit: bytes) -> int:
    """Return the most pixels that a sequence header allows (AV1, 5.5.1)."""
    bits = _Bits(unit)
    bits.take(4)
    reduced = bits.take(1)
    if reduced:
        bits.take(5)
    else:
        _skip_operating_points(bits)
    wide, high = 1 + bits.take(4), 1 + bits.take(4)
    return (1 + bits.take(wide)) * (1 + bits.take(high)) if reduced else _most(bits, wide) * _most(bits, high)


def _most(bits: _Bits, count: int) -> int:
    """Return the largest side that a frame may take: its own ``count`` bits override the sequence's, if they reach."""
    side = 1 + bits.take(count)
    return 1 << count if 1 << count < 2 * side else side


def _skip_operating_points(bits: _Bits) -> None:
    delay_bits = 0
    if bits.take(1):  # timing
        bits.take(64)
        if bits.take(1):
            bits.exponential()
        if bits.take(1):  # model of the decoder
            delay_bits = 1 + bits.take(5)
            bits.take(42)
    delays = bits.take(1)
    for _ in range(1 + bits.take(5)):
        bits.take(12)
        if bits.take(5) > 7:
            bits.take(1)
        if delay_bits and bits.take(1):
            bits.take(2 * delay_bits + 1)
        if delays and bits.take(1):
            bits.take(4)
