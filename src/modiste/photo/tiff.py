"""Reads a TIFF's first directory before it is decoded, and reduces the file to what the pixels need.

Camera raw files have the same container. Their first image is a preview, so they are refused.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from modiste.errors import PhotoError

STARTS = {b"II*\0": "<", b"MM\0*": ">"}
"""The first bytes, and the byte order in ``struct``."""
MOST_ENTRIES = 1_000
MOST_PIECES = 50_000
"""Most strips or tiles. A camera's photo has a strip for every row, or every few."""
MOST_VALUES = 10_000
"""Most values of any other tag; a palette has 768."""
MOST_OVERHANG = 4
"""Pixels in whole tiles may be this many times those of the image."""
TILE_PIXELS = 2**20
"""Tiles up to this size may be larger than the image."""
COMPRESSIONS = {1: "none", 5: "LZW", 8: "Deflate", 32946: "Deflate", 32773: "PackBits"}
"""Those that are read, by their number. Each expands a strip once and in proportion to its size."""
_BYTES_OF = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
"""Bytes of a value of each of TIFF's types."""
_WHOLE = {1: "B", 3: "H", 4: "I"}
"""Types of whole numbers, and their codes in ``struct``."""
_SUBFILE, _WIDTH, _HEIGHT, _COMPRESSION, _ORIENTATION = 254, 256, 257, 259, 274
_TILE_WIDTH, _TILE_HEIGHT, _PROFILE, _DNG_VERSION = 322, 323, 34675, 50706
_OFFSETS, _SIZES = (273, 324), (279, 325)
"""Of strips and tiles, in bytes."""
_KEPT = {*_OFFSETS, *_SIZES, 256, 257, 258, 259, 262, 266, 277, 278, 284, 317, 320, 322, 323, 338, 339, 530, 532}
"""Tags that the pixels need; 274, the orientation, is applied here."""


@dataclass(frozen=True)
class Tiff:
    """What the first directory of a TIFF contains.

    Attributes:
        picture: The file with a directory of its pixels alone: no metadata, no other page.
        size: (width, height) as stored.
        orientation: 1 to 8.
        profile: The colour profile; None if there is none.
    """

    picture: bytes
    size: tuple[int, int]
    orientation: int
    profile: bytes | None


def read_tiff(data: bytes) -> Tiff:
    """Read a TIFF's first directory.

    Raises:
        PhotoError: It is damaged, compressed in a way that is not read, a camera raw file, or has too many parts.
    """
    order = STARTS[data[:4]]
    try:
        entries = _entries(data, order)
        size = (_number(data, order, entries, _WIDTH), _number(data, order, entries, _HEIGHT))
        _check_kind(data, order, entries)
        _check_pieces(data, order, entries)
        _check_tiles(data, order, entries, size)
        orientation = _number(data, order, entries, _ORIENTATION, 1)
        return Tiff(_reduced(data, order, entries), size, orientation, _bytes(data, order, entries.get(_PROFILE)))
    except struct.error:
        raise PhotoError("the image is damaged (its directory is cut short)") from None


def _entries(data: bytes, order: str) -> dict[int, bytes]:
    """Return the twelve bytes of each entry of the first directory by its tag."""
    (at,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, at)
    if count > MOST_ENTRIES:
        raise PhotoError(f"the image has more than {MOST_ENTRIES:,} tags; expected a photo; save it again")
    if at + 2 + 12 * count > len(data):
        raise PhotoError("the image is damaged (its directory is cut short)")
    entries: dict[int, bytes] = {}
    for start in range(at + 2, at + 2 + 12 * count, 12):
        entry = data[start : start + 12]
        (tag,) = struct.unpack_from(f"{order}H", entry)
        entries.setdefault(tag, entry)
    return entries


def _check_kind(data: bytes, order: str, entries: Mapping[int, bytes]) -> None:
    """Raise PhotoError for a raw file, a preview, or a compression that is not read."""
    if _DNG_VERSION in entries or _number(data, order, entries, _SUBFILE, 0) & 1:
        raise PhotoError("a camera raw file, or a preview alone; expected a photo; save it as JPEG or PNG")
    number = _number(data, order, entries, _COMPRESSION, 1)
    if number not in COMPRESSIONS:
        known = ", ".join(dict.fromkeys(COMPRESSIONS.values()))
        raise PhotoError(f"the TIFF has compression {number}; expected {known}; save it as JPEG or PNG")


def _check_pieces(data: bytes, order: str, entries: Mapping[int, bytes]) -> None:
    """Raise PhotoError if there are too many strips or tiles, if they overlap, or if another tag has many values."""
    for tag in _KEPT & entries.keys():
        _, kind, count = struct.unpack_from(f"{order}HHI", entries[tag])
        most = MOST_PIECES if tag in _OFFSETS + _SIZES else MOST_VALUES
        if count > most:
            raise PhotoError(f"the image has {count:,} values of TIFF tag {tag}; expected at most {most:,}")
        if count * _BYTES_OF.get(kind, 1) > len(data):
            raise PhotoError("the image is damaged (a tag is cut short)")
    sizes = [sum(_values(data, order, entries[tag])) for tag in _SIZES if tag in entries]
    if not sizes or max(sizes) > 2 * len(data):
        raise PhotoError("the image is damaged (its parts are larger than the file)")


def _check_tiles(data: bytes, order: str, entries: Mapping[int, bytes], size: tuple[int, int]) -> None:
    """Raise PhotoError if the tiles have many more pixels than the image: each is decoded whole."""
    if _TILE_WIDTH not in entries and _TILE_HEIGHT not in entries:
        return
    width, height = (_number(data, order, entries, tag) for tag in (_TILE_WIDTH, _TILE_HEIGHT))
    if not width or not height:
        raise PhotoError("the image is damaged (its tiles have no size)")
    across, down = -(-size[0] // width), -(-size[1] // height)
    if width * height > TILE_PIXELS and across * down * width * height > MOST_OVERHANG * size[0] * size[1]:
        raise PhotoError(f"the image has tiles of {width:,} x {height:,}; expected none larger than itself")
    if across * down > MOST_PIECES:
        raise PhotoError(f"the image has {across * down:,} tiles; expected at most {MOST_PIECES:,}")


def _reduced(data: bytes, order: str, entries: Mapping[int, bytes]) -> bytes:
    """Return the file with one more directory at its end, of the tags in _KEPT, as its only one."""
    kept = [entries[tag] for tag in sorted(_KEPT & entries.keys())]
    padded = data + bytes(len(data) % 2)
    directory = struct.pack(f"{order}H", len(kept)) + b"".join(kept) + bytes(4)
    return data[:4] + struct.pack(f"{order}I", len(padded)) + padded[8:] + directory


def _number(data: bytes, order: str, entries: Mapping[int, bytes], tag: int, default: int | None = None) -> int:
    """Return the only value of a tag; PhotoError if it is no whole number, or is absent and has no default."""
    if tag not in entries:
        if default is None:
            raise PhotoError(f"the image is damaged (it lacks TIFF tag {tag})")
        return default
    values = _values(data, order, entries[tag])
    if len(values) != 1:
        raise PhotoError(f"the image is damaged (TIFF tag {tag} is not one number)")
    return values[0]


def _values(data: bytes, order: str, entry: bytes) -> tuple[int, ...]:
    """Return the whole numbers of an entry; PhotoError if it has others, or more than MOST_PIECES."""
    tag, kind, count = struct.unpack_from(f"{order}HHI", entry)
    if kind not in _WHOLE or count > MOST_PIECES:
        raise PhotoError(f"the image is damaged (TIFF tag {tag} holds no whole numbers)")
    layout = f"{order}{count}{_WHOLE[kind]}"
    if struct.calcsize(layout) <= 4:
        return struct.unpack_from(layout, entry, 8)
    (at,) = struct.unpack_from(f"{order}I", entry, 8)
    return struct.unpack_from(layout, data, at)


def _bytes(data: bytes, order: str, entry: bytes | None) -> bytes | None:
    """Return the bytes of an entry of type BYTE or UNDEFINED; None if it has another type, or too few bytes."""
    if entry is None:
        return None
    _, kind, count, at = struct.unpack(f"{order}HHII", entry)
    return data[at : at + count] if kind in (1, 7) and 4 < count <= len(data) - at else None
