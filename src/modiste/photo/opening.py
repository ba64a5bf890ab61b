"""From a file to upright colours, with every limit checked on the header, before anything is decoded."""

import struct
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from modiste.errors import PhotoError, extra_for
from modiste.photo.jpeg import MOST_SCANNED_PIXELS, START, Jpeg, read_jpeg
from modiste.photo.orientation import upright
from modiste.photo.rationed_reader import PIECE_BYTES, RationedReader

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

EXTRA = ("photos", "Pillow and SciPy", "photo")
"""What reading photos takes; see ``extra_for``."""
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
MOST_BYTES = 20 * 2**20
MOST_PIXELS = 24_000_000
MOST_JPEG_PIXELS = 64_000_000
"""A JPEG can be decoded at a half, a quarter or an eighth of its size."""
RUNS, MOST_RUN_PIXELS = "bmp_rle", 4_000_000
"""A BMP of runs is decoded pixel by pixel in Python."""
PNG = b"\x89PNG\r\n\x1a\n"
PACKED_NOTES, MOST_PACKED_NOTES = (b"iCCP", b"zTXt", b"iTXt"), 100
"""Chunks of a PNG that each unpack to as much as a megabyte."""
LONGEST_SIDE = 1024
"""Pixels that are kept of a photo's longer side; the network sees 28."""
LEAST_SIDE = 4
MOST_ASPECT = 50
WHITE = (255, 255, 255)
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
"""What decoders raise on damaged files, beside Pillow's own."""


def open_photo(content: bytes | Path) -> UInt8[np.ndarray, "h w 3"]:
    """Return a photo as red, green and blue, upright as its camera says, its longer side at most LONGEST_SIDE.

    What is transparent is white. Of an animation the first frame counts. A JPEG may lack its end marker, but no pixel.

    Raises:
        PhotoError: no image of these formats, damaged, or too large to be a photo.
        MissingExtraError: Pillow is not installed.
    """
    data = read(content) if isinstance(content, Path) else content
    if not data:
        raise PhotoError("the file is empty; expected a photo")
    if len(data) > MOST_BYTES:
        raise PhotoError(f"the file has {len(data):,} bytes; expected at most {MOST_BYTES:,}; make it smaller")
    if data.startswith(PNG) and sum(map(data.count, PACKED_NOTES)) > MOST_PACKED_NOTES:
        raise PhotoError(
            f"the image has more than {MOST_PACKED_NOTES} compressed notes; expected a photo; save it anew"
        )
    if not data.startswith(START):
        return decode(data)
    jpeg = read_jpeg(data)
    photo = decode(jpeg.picture, jpeg)
    if not jpeg.ended and not (jpeg.is_complete and np.array_equal(photo, decode(jpeg.continued, jpeg))):
        raise PhotoError("the image is damaged (its end is missing)")
    return photo


def decode(data: bytes, jpeg: Jpeg | None = None) -> UInt8[np.ndarray, "h w 3"]:
    """Return what ``open_photo`` does for a file's bytes; of a JPEG, ``data`` is its picture without the notes."""
    with extra_for(*EXTRA):
        from PIL import Image, UnidentifiedImageError
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own limit, metadata that is slightly wrong
            reader = RationedReader(data)
            with Image.open(reader, formats=FORMATS) as image:
                check_size(image, jpeg.scans if jpeg else 1)
                reader.serve_pixels()
                image.draft("RGB", (LONGEST_SIDE, LONGEST_SIDE))
                image.decodermaxblock = PIECE_BYTES
                image.load()
                photo = as_colours(upright(image, jpeg.info if jpeg else image.info))
                photo.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.BOX)
                return np.asarray(photo).copy()
    except UnidentifiedImageError:
        raise PhotoError(f"no image that can be read; expected {', '.join(FORMATS)}") from None
    except Image.DecompressionBombError:
        raise PhotoError(
            f"the image is too large; expected at most {MOST_PIXELS // 10**6} million pixels, "
            f"{MOST_JPEG_PIXELS // 10**6} of a JPEG"
        ) from None
    except DAMAGE as error:
        raise PhotoError(f"the image is damaged ({error})") from error


def read(path: Path) -> bytes:
    """Return a file's bytes; PhotoError when it cannot be read, or is too large to be a photo."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise PhotoError(f"the file has {path.stat().st_size:,} bytes; expected at most {MOST_BYTES:,}")
        with path.open("rb") as file:
            return file.read(MOST_BYTES + 1)  # a pipe has no size, and a file may grow
    except (OSError, ValueError) as error:
        raise PhotoError(f"cannot be read ({getattr(error, 'strerror', None) or error})") from error


def check_size(image: "ImageFile", scans: int) -> None:
    """Raise PhotoError when the header promises too many pixels, too few, or a strip; or too many scans of them."""
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
        raise PhotoError(f"the image has {scans} scans; expected at most {most} at this size; save it anew")


def as_colours(image: "Image") -> "Image":
    """Return any kind of image as red, green and blue."""
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
