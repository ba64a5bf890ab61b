"""Opens a picture file as an upright colour image.

Every limit is checked in the header, before anything is decoded. Of the camera's metadata only the orientation is read,
at a bounded cost. A decoder that makes too many reads or takes too long is stopped.
"""

import io
import re
import struct
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

from modiste.errors import PhotoError, extra_for, reason_of
from modiste.photo.jpeg import MOST_SCANNED_PIXELS, START, Jpeg, read_jpeg

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

EXTRA = ("photos", "Pillow and SciPy", "photo")
"""Arguments of ``extra_for``."""
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
MOST_BYTES = 20 * 2**20
MOST_PIXELS = 24_000_000
MOST_JPEG_PIXELS = 64_000_000
"""A JPEG can be decoded at a half, a quarter or an eighth of its size."""
RUNS, MOST_RUN_PIXELS = "bmp_rle", 4_000_000
"""Pillow decodes a run-length encoded BMP pixel by pixel, in Python."""
PNG = b"\x89PNG\r\n\x1a\n"
PACKED_NOTES, MOST_PACKED_NOTES = (b"iCCP", b"zTXt", b"iTXt"), 100
"""Chunks of a PNG that can each expand to a megabyte."""
LONGEST_SIDE = 1024
"""Pixels that are kept of a photo's longer side; the network sees 28."""
LEAST_SIDE = 4
MOST_ASPECT = 50
WHITE = (255, 255, 255)
HEADER_READS = 10_000
"""Most reads for an image's header; a camera's takes some hundred."""
PIXEL_READS = 200_000
"""Most reads for the pixels and what follows them: about a second of Python."""
MOST_SECONDS = 20.0
"""Processor time of the decoding thread. The largest photo takes two seconds; the rest is for slow machines."""
PIECE_BYTES = 16 * 1024
"""A decoder can only be stopped between two pieces of its input."""
DAMAGE = (
    OSError,
    ValueError,
    SyntaxError,
    LookupError,
    EOFError,
    TypeError,
    ArithmeticError,
    AttributeError,
    struct.error,
)
"""Errors that decoders raise on damaged files, in addition to Pillow's own."""
UPRIGHT = 1
ORIENTATION_TAG = 0x0112
MOST_ENTRIES = 1_000
"""Most entries of an Exif directory that are searched for the orientation."""
INTEGER_TYPES = {1: "B", 3: "H", 4: "I"}
"""TIFF's integer types and their codes in ``struct``."""
_IN_XMP = re.compile(rb'tiff:Orientation(?:="|>)([1-8])')
_RAW_PROFILE = "Raw profile type exif"


def open_photo(content: bytes | Path) -> UInt8[np.ndarray, "h w 3"]:
    """Return a photo in red, green and blue, upright, its longer side at most LONGEST_SIDE pixels.

    Transparent parts become white. Of an animation the first frame is returned. A JPEG may lack its end marker, but no
    pixel.

    Raises:
        PhotoError: the file is of none of FORMATS, damaged, or too large to be a photo.
        MissingExtraError: Pillow is not installed.
    """
    data = read_file(content) if isinstance(content, Path) else content
    if not data:
        raise PhotoError("the file is empty; expected a photo")
    if len(data) > MOST_BYTES:
        raise PhotoError(f"the file has {len(data):,} bytes; expected at most {MOST_BYTES:,}; make it smaller")
    if data.startswith(PNG) and sum(map(data.count, PACKED_NOTES)) > MOST_PACKED_NOTES:
        raise PhotoError(
            f"the image has more than {MOST_PACKED_NOTES} compressed notes; expected a photo; save it again"
        )
    if not data.startswith(START):
        return _decode(data)
    jpeg = read_jpeg(data)
    photo = _decode(jpeg.picture, jpeg)
    if not jpeg.ended and not (jpeg.is_complete and np.array_equal(photo, _decode(jpeg.continued, jpeg))):
        raise PhotoError("the image is damaged (its end is missing)")
    return photo


def read_file(path: Path) -> bytes:
    """Return a file's bytes; PhotoError if it cannot be read, or is too large to be a photo."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise PhotoError(f"the file has {path.stat().st_size:,} bytes; expected at most {MOST_BYTES:,}")
        with path.open("rb") as file:
            return file.read(MOST_BYTES + 1)  # a pipe has no size, and a file may grow
    except (OSError, ValueError) as error:
        raise PhotoError(f"cannot be read ({reason_of(error)})") from error


class RationedReader(io.BytesIO):
    """A file in memory that limits the number of reads and the time for them."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._reads, self._ends = HEADER_READS, time.thread_time() + MOST_SECONDS

    def allow_pixels(self) -> None:
        """Allow the number of reads that decoding the pixels takes."""
        self._reads = PIXEL_READS

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next bytes; PhotoError when reads or time are used up."""
        self._reads -= 1
        if self._reads < 0:
            raise PhotoError("the image has too many parts; expected a photo; save it again")
        if time.thread_time() > self._ends:
            raise PhotoError(
                f"the image takes more than {MOST_SECONDS:.0f} s to decode; expected a photo; save it again"
            )
        return super().read(size)


def _decode(data: bytes, jpeg: Jpeg | None = None) -> UInt8[np.ndarray, "h w 3"]:
    """Return the photo in a file's bytes; for a JPEG, ``data`` is the file without its metadata."""
    with extra_for(*EXTRA):
        from PIL import Image, UnidentifiedImageError
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow's own limit, and of slightly wrong metadata
            reader = RationedReader(data)
            with Image.open(reader, formats=FORMATS) as image:
                _check_size(image, jpeg.scans if jpeg else 1)
                reader.allow_pixels()
                image.draft("RGB", (LONGEST_SIDE, LONGEST_SIDE))
                image.decodermaxblock = PIECE_BYTES
                image.load()
                photo = _as_rgb(_upright(image, jpeg.info if jpeg else image.info))
                photo.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.BOX)
                return np.asarray(photo).copy()
    except UnidentifiedImageError:
        raise PhotoError(f"not a readable image; expected {', '.join(FORMATS)}") from None
    except Image.DecompressionBombError:
        raise PhotoError(
            f"the image is too large; expected at most {MOST_PIXELS // 10**6} million pixels, "
            f"{MOST_JPEG_PIXELS // 10**6} million for a JPEG"
        ) from None
    except DAMAGE as error:
        raise PhotoError(f"the image is damaged ({error})") from error


def _check_size(image: "ImageFile", scans: int) -> None:
    """Raise PhotoError if the header announces too many or too few pixels, a strip, or too many scans."""
    width, height = image.size
    runs = bool(image.tile) and image.tile[0][0] == RUNS
    most = MOST_JPEG_PIXELS if image.format == "JPEG" else MOST_RUN_PIXELS if runs else MOST_PIXELS
    if width * height > most:
        raise PhotoError(f"the image is {width:,} x {height:,}; expected at most {most // 10**6} million pixels")
    if min(width, height) < LEAST_SIDE or max(width, height) > MOST_ASPECT * min(width, height):
        raise PhotoError(
            f"the image is {width:,} x {height:,}; expected at least {LEAST_SIDE} pixels a side, and no side "
            f"{MOST_ASPECT} times the other"
        )
    if scans * width * height > MOST_SCANNED_PIXELS:
        most = MOST_SCANNED_PIXELS // (width * height)
        raise PhotoError(f"the image has {scans} scans; expected at most {most} at this size; save it again")


def _as_rgb(image: "Image") -> "Image":
    """Convert an image of any mode to red, green and blue."""
    from PIL import Image

    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        values = np.asarray(image, dtype=np.float64)
        top = 65535.0 if values.max(initial=0) > 255 else 255.0
        image = Image.fromarray((values.clip(0, top) * (255 / top)).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        layer = image.convert("RGBA")
        ground = Image.new("RGBA", layer.size, (*WHITE, 255))
        image = Image.alpha_composite(ground, layer)
    return image.convert("RGB")


def _upright(image: "Image", info: Mapping[Any, Any]) -> "Image":
    """Rotate or mirror an image as its metadata say."""
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
    turn = turns.get(_orientation(info))
    return image if turn is None else image.transpose(turn)


def _orientation(info: Mapping[str, Any]) -> int:
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
