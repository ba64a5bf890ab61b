"""How a camera was held, from the notes in its file: the one field that is read, at a bounded cost."""

import re
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

TAG = 0x0112
NUMBERS = {1: "B", 3: "H", 4: "I"}
"""TIFF's types of whole numbers, as ``struct`` writes them."""
UPRIGHT = 1
MOST_ENTRIES = 1_000
_IN_XMP = re.compile(rb'tiff:Orientation(?:="|>)([1-8])')
_RAW_PROFILE = "Raw profile type exif"


def upright(image: "Image", info: Mapping[Any, Any]) -> "Image":
    """Turn or mirror an image as its notes say."""
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    turn = turns.get(orientation_of(info))
    return image if turn is None else image.transpose(turn)


def orientation_of(info: Mapping[str, Any]) -> int:
    """Return the orientation, 1 to 8, in the Exif notes or else in the XMP notes; UPRIGHT where neither has it.

    Args:
        info: of an image, with the keys that Pillow gives the notes.
    """
    return _in_exif(info.get("exif") or _in_text(info.get(_RAW_PROFILE))) or _in_xmp(info.get("xmp")) or UPRIGHT


def _in_exif(exif: bytes) -> int | None:
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return None
    try:
        (at,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, at)
        for entry in range(at + 2, at + 2 + 12 * min(count, MOST_ENTRIES), 12):
            tag, kind = struct.unpack_from(f"{order}HH", tiff, entry)
            if tag == TAG and kind in NUMBERS:
                return int(struct.unpack_from(order + NUMBERS[kind], tiff, entry + 8)[0])
    except struct.error:
        return None
    return None


def _in_xmp(xmp: bytes | str | None) -> int | None:
    found = _IN_XMP.search(xmp.encode() if isinstance(xmp, str) else xmp or b"")
    return int(found[1]) if found else None


def _in_text(profile: str | None) -> bytes:
    """Return the Exif notes that older programs write into a PNG as hexadecimal digits below three lines."""
    try:
        return bytes.fromhex("".join((profile or "").split("\n")[3:]))
    except ValueError:
        return b""
