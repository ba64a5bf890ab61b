"""Turns a photo upright, as the camera's metadata say. Only the orientation is read, at a bounded cost."""

import re
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

UPRIGHT = 1
ORIENTATION_TAG = 0x0112
MOST_ENTRIES = 1_000
"""Most entries of an Exif directory that are searched for the orientation."""
INTEGER_TYPES = {1: "B", 3: "H", 4: "I"}
"""TIFF's integer types and their codes in ``struct``."""
_IN_XMP = re.compile(rb'tiff:Orientation(?:="|>)([1-8])')
_RAW_PROFILE = "Raw profile type exif"


def turn_upright(image: "Image", orientation: int) -> "Image":
    """Rotate or mirror an image whose Exif orientation is 1 to 8; any other number leaves it as it is."""
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
    turn = turns.get(orientation)
    return image if turn is None else image.transpose(turn)


def orientation_of(info: Mapping[Any, Any]) -> int:
    """Return the orientation, 1 to 8, from an image's Exif or else its XMP metadata; UPRIGHT without either.

    ``info`` has the keys that Pillow gives to an image's metadata.
    """
    exif = info.get("exif") or _exif_in_text(info.get(_RAW_PROFILE))
    return _orientation_in_exif(exif) or _orientation_in_xmp(info.get("xmp")) or UPRIGHT


def _orientation_in_exif(exif: bytes) -> int | None:
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return None
    try:
        (at,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, at)
        for entry in range(at + 2, at + 2 + 12 * min(count, MOST_ENTRIES), 12):
            tag, kind = struct.unpack_from(f"{order}HH", tiff, entry)
            if tag == ORIENTATION_TAG and kind in INTEGER_TYPES:
                return int(struct.unpack_from(order + INTEGER_TYPES[kind], tiff, entry + 8)[0])
    except struct.error:
        return None
    return None


def _orientation_in_xmp(xmp: bytes | str | None) -> int | None:
    found = _IN_XMP.search(xmp.encode() if isinstance(xmp, str) else xmp or b"")
    return int(found[1]) if found else None


def _exif_in_text(profile: str | None) -> bytes:
    """Return the Exif metadata that older programs write into a PNG as hexadecimal digits, after three lines."""
    try:
        return bytes.fromhex("".join((profile or "").split("\n")[3:]))
    except ValueError:
        return b""
