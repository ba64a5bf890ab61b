"""Reads HEIC and AVIF files (ISO 23008-12): first the container, with its items and what they decode to.

Only still pictures are read: one coded picture, or a grid of them, and the pictures that accompany them, such as their
transparency. What is no picture, such as the camera's notes, is hidden from the decoder. No other file imports
pillow-heif, which decodes HEIC.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING

from modiste.errors import PhotoError
from modiste.photo.codestream import Coded, read_av1, read_hevc

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_BOXES = 20_000
MOST_ITEMS = 1_000
"""libheif reads as many. A photo of 50 million pixels has 200 tiles."""
MOST_CODED_PIXELS = 400_000_000
"""Pixels of all pictures that are decoded, times the passes over them."""
HEVC, AV1, GRID = b"hvc1", b"av01", b"grid"
BRANDS = {HEVC: b"heic", AV1: b"avif"}
"""Main brand of a file of still pictures; a file of a film has another."""
NOTES = (b"Exif", b"mime", b"uri ")
HIDDEN = b"none"
"""Type that no decoder knows."""
_ONCE = {b"meta", b"pitm", b"iinf", b"iloc", b"iprp", b"ipco", b"iref", b"idat"}
"""Boxes that may occur once: of two, decoders may take either."""
MISSING = "a HEIC photo, which needs pillow-heif: pip install 'modiste[heif]', or save it as JPEG"


@dataclass
class _Meta:
    """The box ``meta``: ids of items, and what is known of each.

    Attributes:
        primary: The item that is shown.
        kinds: Type of each item.
        places: Where that type stands in the file.
        extents: Whether a piece of an item's data lies in ``described``, its offset and its length.
        described: Content of the box ``idat``.
        properties: Name and content, in order.
        belong: Numbers, from 1, of each item's properties.
        parts: Items that a derived item is made of.
        beside: Items that accompany an item, such as its transparency.
        seen: Names of the boxes that occurred.
        links: Number of references between items, and from items to properties.
    """

    primary: int = 0
    kinds: dict[int, bytes] = field(default_factory=dict)
    places: dict[int, int] = field(default_factory=dict)
    extents: dict[int, list[tuple[bool, int, int]]] = field(default_factory=dict)
    described: bytes = b""
    properties: list[tuple[bytes, bytes]] = field(default_factory=list)
    belong: dict[int, list[int]] = field(default_factory=dict)
    parts: dict[int, tuple[int, ...]] = field(default_factory=dict)
    beside: dict[int, list[int]] = field(default_factory=dict)
    seen: set[bytes] = field(default_factory=set)
    links: int = 0

    def count(self, more: int) -> None:
        """Count links; PhotoError when there are more than MOST_BOXES."""
        self.links += more
        if self.links > MOST_BOXES:
            raise PhotoError(f"the image has more than {MOST_BOXES:,} parts; expected a photo; save it again")

    def properties_of(self, item: int, kind: bytes) -> list[bytes]:
        chosen = [self.properties[index - 1] for index in self.belong.get(item, ()) if index <= len(self.properties)]
        return [content for name, content in chosen if name == kind]


@dataclass(frozen=True)
class Container:
    """What a HEIC or AVIF file contains.

    Attributes:
        picture: The file as a still picture, without notes.
        codec: HEVC or AV1.
        size: (width, height), before it is turned upright.
    """

    picture: bytes
    codec: bytes
    size: tuple[int, int]


def read_container(data: bytes, most_pixels: int) -> Container:
    """Read the container.

    Args:
        data: The file.
        most_pixels: That the picture may have, and each coded picture.

    Raises:
        PhotoError: The file is damaged, is no still picture in HEVC or AV1, or decodes to too many pixels.
    """
    try:
        meta = _read_meta(data)
        sizes = meta.properties_of(meta.primary, b"ispe")
        width, height = struct.unpack_from(">4xII", sizes[0]) if sizes else (0, 0)
        codec = _check_items(data, meta, most_pixels)
    except (struct.error, IndexError):
        raise PhotoError("the image is damaged (its boxes are cut short)") from None
    return Container(_as_still(data, meta, codec), codec, (width, height))


def _read_meta(data: bytes) -> _Meta:
    meta, count = _Meta(), 0
    waiting = [(0, len(data), False)]
    while waiting:
        first, last, inside = waiting.pop()
        for kind, start, stop in _boxes(data, first, last):
            count += 1
            if count > MOST_BOXES:
                raise PhotoError(f"the image has more than {MOST_BOXES:,} parts; expected a photo; save it again")
            if kind in _ONCE & meta.seen or kind == b"mini":
                raise PhotoError("the image is damaged (a box occurs twice)")
            meta.seen.add(kind)
            if kind in (b"meta", b"iprp"):
                waiting.append((start + (4 if kind == b"meta" else 0), stop, True))
            elif inside and kind == b"ipco":
                meta.properties = [(name, data[at:end]) for name, at, end in _boxes(data, start, stop)]
            elif inside and kind == b"idat":
                meta.described = data[start:stop]
            elif inside and kind in _READERS:
                _READERS[kind](meta, data, start, stop)
    if b"pitm" not in meta.seen:
        raise PhotoError("not a readable image; expected a still picture, found a film or another container")
    return meta


def _boxes(data: bytes, start: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the type of each box in a range of the file, and where its content starts and stops."""
    for _ in range(MOST_BOXES):
        if stop - start < 8:
            return
        size, kind = struct.unpack_from(">I4s", data, start)
        head = 8
        if size == 1:
            (size,), head = struct.unpack_from(">Q", data, start + 8), 16
        end = start + size if size else stop
        if end < start + head or end > stop:
            raise PhotoError("the image is damaged (a box is larger than what holds it)")
        yield kind, start + head, end
        start = end


def _read_primary(meta: _Meta, data: bytes, start: int, stop: int) -> None:
    (meta.primary,) = struct.unpack_from(">H" if data[start] == 0 else ">I", data, start + 4)


def _read_items(meta: _Meta, data: bytes, start: int, stop: int) -> None:
    """Read ``iinf``: the type of each item."""
    for kind, at, _ in _boxes(data, start + (6 if data[start] == 0 else 8), stop):
        if kind != b"infe" or data[at] not in (2, 3):
            raise PhotoError("the image is damaged (an item has no type)")
        layout = ">HH4s" if data[at] == 2 else ">IH4s"
        item, _, name = struct.unpack_from(layout, data, at + 4)
        if item in meta.kinds or len(meta.kinds) == MOST_ITEMS:
            raise PhotoError(f"the image has an item twice, or more than {MOST_ITEMS:,}; expected a photo")
        meta.kinds[item] = name
        meta.places[item] = at + 4 + struct.calcsize(layout) - 4


def _read_references(meta: _Meta, data: bytes, start: int, stop: int) -> None:
    """Read ``iref``: the parts of a grid, and the pictures that accompany another."""
    code, size = ("H", 2) if data[start] == 0 else ("I", 4)
    for kind, at, _ in _boxes(data, start + 4, stop):
        item, count = struct.unpack_from(f">{code}H", data, at)
        meta.count(count)
        targets = struct.unpack_from(f">{count}{code}", data, at + size + 2)
        if kind == b"dimg":
            if item in meta.parts:
                raise PhotoError("the image is damaged (a grid is described twice)")
            meta.parts[item] = targets
        elif kind == b"auxl":
            for target in targets:
                meta.beside.setdefault(target, []).append(item)


def _read_places(meta: _Meta, data: bytes, start: int, stop: int) -> None:
    """Read ``iloc``: where the data of each item are."""
    version, sizes, others = data[start], data[start + 4], data[start + 5]
    widths = (sizes >> 4, sizes & 15, others >> 4, others & 15 if version else 0)
    if version > 2 or any(width not in (0, 4, 8) for width in widths):
        raise PhotoError("the image is damaged (its items have no place)")
    at = start + 6
    count, at = _number(data, at, 4 if version == 2 else 2)
    total = 0
    for _ in range(min(count, MOST_ITEMS + 1)):
        item, at = _number(data, at, 4 if version == 2 else 2)
        method, at = _number(data, at, 2 if version else 0)
        at += 2
        base, at = _number(data, at, widths[2])
        pieces, at = _number(data, at, 2)
        total += pieces
        if method & 15 > 1 or total > MOST_BOXES:
            raise PhotoError("the image is damaged (its items have no place)")
        meta.extents[item] = []
        for _ in range(pieces):
            _, at = _number(data, at, widths[3])
            offset, at = _number(data, at, widths[0])
            length, at = _number(data, at, widths[1])
            meta.extents[item].append((bool(method & 15), base + offset, length))


def _read_associations(meta: _Meta, data: bytes, start: int, stop: int) -> None:
    """Read ``ipma``: which properties each item has."""
    wide, code = data[start + 3] & 1, 2 if data[start] == 0 else 4
    count, at = _number(data, start + 4, 4)
    for _ in range(min(count, MOST_ITEMS + 1)):
        item, at = _number(data, at, code)
        several, at = _number(data, at, 1)
        meta.count(several)
        for _ in range(several):
            index, at = _number(data, at, 2 if wide else 1)
            meta.belong.setdefault(item, []).append(index & (0x7FFF if wide else 0x7F))


_READERS = {
    b"pitm": _read_primary,
    b"iinf": _read_items,
    b"iref": _read_references,
    b"iloc": _read_places,
    b"ipma": _read_associations,
}


def _number(data: bytes, at: int, size: int) -> tuple[int, int]:
    """Return the number in ``size`` bytes, and where the next begins."""
    if at + size > len(data):
        raise IndexError
    return int.from_bytes(data[at : at + size]), at + size


def _check_items(data: bytes, meta: _Meta, most_pixels: int) -> bytes:
    """Return the codec of the primary item; PhotoError if it needs others than HEVC or AV1, or too much work."""
    wanted = _wanted(data, meta, most_pixels)
    codec = meta.kinds.get(wanted[0], b"")
    if codec not in BRANDS:
        raise PhotoError(f"the image is of an unsupported kind ({codec!r}); save it as JPEG or PNG")
    if any(meta.kinds.get(item) != codec for item in wanted):
        raise PhotoError("the image is damaged (its parts are of several kinds)")
    done: dict[int, Coded] = {}
    total = left = 0
    for item in wanted:
        if item not in done:
            content = _content(data, meta, item)
            left += len(content)
            if left > 2 * len(data):
                raise PhotoError("the image is damaged (its parts overlap)")
            done[item] = _coded(meta, item, codec, content)
        if done[item].pixels > most_pixels:
            raise PhotoError(f"the image is too large; expected at most {most_pixels // 10**6} million pixels")
        total += done[item].pixels * done[item].passes
    if total > MOST_CODED_PIXELS:
        raise PhotoError("the image has too many parts for its size; expected a photo; save it again")
    return codec


def _wanted(data: bytes, meta: _Meta, most_pixels: int) -> list[int]:
    """Return the coded pictures that a decoder of the primary item visits, one as often as it is named."""
    wanted = list(_parts(data, meta, meta.primary, most_pixels))
    beside = {other for item in {meta.primary, *wanted} for other in meta.beside.get(item, ())}
    for other in sorted(beside):
        wanted += _parts(data, meta, other, most_pixels)
        if len(wanted) > MOST_ITEMS:
            break
    if len(wanted) > MOST_ITEMS:
        raise PhotoError(f"the image has more than {MOST_ITEMS:,} tiles; expected a photo; save it again")
    return wanted


def _parts(data: bytes, meta: _Meta, item: int, most_pixels: int) -> Sequence[int]:
    """Return the coded pictures that an item is made of: itself, or the tiles of a grid."""
    if meta.kinds.get(item) != GRID:
        return (item,)
    content = _content(data, meta, item)
    width, height = struct.unpack_from(">4xII" if content[1] & 1 else ">4xHH", content)
    parts = meta.parts.get(item, ())
    if len(parts) != (1 + content[2]) * (1 + content[3]):
        raise PhotoError("the image is damaged (its grid lacks tiles)")
    if width * height > most_pixels:
        raise PhotoError(f"the image is too large; expected at most {most_pixels // 10**6} million pixels")
    return parts


def _content(data: bytes, meta: _Meta, item: int) -> bytes:
    pieces = []
    for described, offset, length in meta.extents.get(item, ()):
        source = meta.described if described else data
        pieces.append(source[offset : offset + length] if length else source[offset:])
    if sum(map(len, pieces)) > len(data):
        raise PhotoError("the image is damaged (its parts overlap)")
    return b"".join(pieces)


def _coded(meta: _Meta, item: int, codec: bytes, content: bytes) -> Coded:
    if codec == AV1:
        return read_av1(content)
    configurations = meta.properties_of(item, b"hvcC")
    if len(configurations) != 1:
        raise PhotoError("the image is damaged (a picture has no parameters)")
    return read_hevc(configurations[0], content)


def _as_still(data: bytes, meta: _Meta, codec: bytes) -> bytes:
    """Return the file with the main brand of a still picture, and with its notes hidden."""
    changed = bytearray(data)
    changed[8:12] = BRANDS[codec]
    for item, kind in meta.kinds.items():
        if kind in NOTES:
            changed[meta.places[item] : meta.places[item] + 4] = HIDDEN
    return bytes(changed)


@cache
def version() -> str:
    """Return the version of pillow-heif; empty if it is not installed."""
    try:
        return metadata.version("pillow-heif")
    except metadata.PackageNotFoundError:
        return ""


def decode_heic(data: bytes) -> "Image":
    """Return the main image of a HEIC file, upright; its colour profile is in ``info``.

    Raises:
        PhotoError: The file is damaged, or pillow-heif is not installed. The other photos of a folder are still read.
    """
    try:
        import pillow_heif
    except ImportError:
        raise PhotoError(MISSING) from None
    try:
        return pillow_heif.open_heif(data).to_pillow()
    except (RuntimeError, OSError, ValueError, EOFError, SyntaxError, LookupError) as error:
        raise PhotoError(f"the image is damaged ({error})") from error
