"""Opens a picture file as an upright colour image.

Every limit is checked in the header, before anything is decoded. The camera's metadata are never given to a decoder,
except where they come in the formats of the web, and there only the orientation and the colour profile are used. A
decoder of Pillow's that makes too many reads or takes too long is stopped.
"""

import io
import struct
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from modiste.errors import PhotoError, extra_for, reason_of
from modiste.photo.colour import from_lab, to_srgb
from modiste.photo.heif import HEVC, decode_heic, read_container
from modiste.photo.jpeg import MOST_SCANNED_PIXELS, START, Jpeg, read_jpeg
from modiste.photo.orientation import UPRIGHT, orientation_of, turn_upright
from modiste.photo.pnm import KINDS as PNM_KINDS
from modiste.photo.pnm import Pnm
from modiste.photo.tiff import STARTS as TIFF_STARTS
from modiste.photo.tiff import read_tiff
from modiste.recipes.recipe import DECODERS

if TYPE_CHECKING:
    from PIL.Image import Image

EXTRA = ("photos", "Pillow", "photo")
"""Arguments of ``extra_for``."""
WEB_FORMATS = ("PNG", "WEBP", "BMP", "GIF")
"""Formats that Pillow recognises, reads and limits by itself, but for what is checked here."""
FORMATS = ("JPEG", *WEB_FORMATS, "HEIC", "AVIF", "TIFF", "PPM")
MOST_BYTES = 20 * 2**20
MOST_PIXELS = 24_000_000
MOST_JPEG_PIXELS = 64_000_000
"""A JPEG can be decoded at a half, a quarter or an eighth of its size."""
MOST_HEIF_PIXELS = 52_000_000
"""For HEIC and AVIF. Phones take up to 50 million, each a grid of tiles."""
RUNS, MOST_RUN_PIXELS = "bmp_rle", 4_000_000
"""Pillow decodes a run-length encoded BMP pixel by pixel, in Python."""
PNG = b"\x89PNG\r\n\x1a\n"
PACKED_NOTES, MOST_PACKED_NOTES = (b"iCCP", b"zTXt", b"iTXt"), 100
"""Chunks of a PNG that can each expand to a megabyte."""
LONGEST_SIDE = 1024
"""Pixels that are kept of a photo's longer side; the network sees 28."""
LEAST_DECODED, DECODED_PER_PIXEL = 480, 4
"""Pixels of a photo's longer side that suffice: to find a garment, and for each pixel of the network's side. Decoder 3
decodes no more of a JPEG than twice as many: libjpeg gives a half, a quarter or an eighth of the size."""
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


class _Silence(AbstractContextManager[None]):
    """A context without warnings of decoders, in which several threads may be at the same time.

    The filters of warnings belong to the process: the first thread to enter changes them, the last to leave restores
    them. A caller that waits for a pool of decoding threads enters the context too, around the pool. Whatever else the
    caller does to the filters meanwhile then nests as it has to.
    """

    def __init__(self) -> None:
        self._lock, self._inside, self._filters = threading.Lock(), 0, ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._filters.enter_context(warnings.catch_warnings())
                warnings.filterwarnings("ignore", module=r"(PIL|pillow_heif)(\.|$)")
            self._inside += 1

    def __exit__(self, *_error: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._filters.close()


SILENCE = _Silence()
"""Keeps back Pillow's warnings, of its own limit and of slightly wrong metadata."""


def open_photo(
    content: bytes | Path, *, decoder: int = DECODERS[-1], side: int = LONGEST_SIDE
) -> UInt8[np.ndarray, "h w 3"]:
    """Return a photo in red, green and blue, upright, its longer side at most LONGEST_SIDE pixels.

    Transparent parts become white. Of an animation or of several pages the first image is returned. A JPEG may lack its
    end marker, but no pixel.

    Args:
        content: A file of one of FORMATS, or its bytes.
        decoder: 1 ignores colour profiles; 2 converts colours to sRGB; 3 also decodes a JPEG smaller, where the result
            still has ``decoded_side(side)`` pixels. A run keeps that of its training.
        side: Side of the network's images, in pixels.

    Raises:
        PhotoError: The file is of none of FORMATS, damaged, or too large to be a photo; or HEIC, without pillow-heif.
        MissingExtraError: Pillow is not installed.
    """
    data = read_file(content) if isinstance(content, Path) else content
    if not data:
        raise PhotoError("the file is empty; expected a photo")
    if len(data) > MOST_BYTES:
        raise PhotoError(f"the file has {len(data):,} bytes; expected at most {MOST_BYTES:,}; make it smaller")
    if not data.startswith(START):
        return _as_photo(lambda: _load(data), decoder)
    jpeg = read_jpeg(data)
    wanted = decoded_side(side) if decoder > 2 else None
    photo = _as_photo(lambda: _load_jpeg(jpeg, jpeg.picture, wanted), decoder)
    if not jpeg.ended:
        longer = _as_photo(lambda: _load_jpeg(jpeg, jpeg.continued, wanted), decoder) if jpeg.is_complete else None
        if longer is None or not np.array_equal(photo, longer):
            raise PhotoError("the image is damaged (its end is missing)")
    return photo


def photo_of(image: "Image", *, decoder: int = DECODERS[-1]) -> UInt8[np.ndarray, "h w 3"]:
    """Return an image of PIL as ``open_photo`` returns a file of it. The image does not change.

    It is turned upright by its Exif metadata, transparent parts become white, 16 bits are scaled to 8, and colours are
    converted to sRGB. Only a JPEG larger than LONGEST_SIDE may differ, by rounding: ``open_photo`` decodes it smaller.

    Args:
        image: Image of any mode, opened from a file or made in memory.
        decoder: As for ``open_photo``.

    Raises:
        PhotoError: The image's file is damaged, or it is too large to be a photo, too small, or a strip.
    """
    return _as_photo(lambda: _in_memory(image), decoder)


def decoded_side(side: int) -> int:
    """Return how many pixels of a photo's longer side suffice for a network's image of this side."""
    return min(max(LEAST_DECODED, DECODED_PER_PIXEL * side), LONGEST_SIDE)


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


@dataclass(frozen=True)
class _Loaded:
    """A decoded image, as it is stored.

    Attributes:
        image: With all its pixels.
        orientation: 1 to 8.
        profile: Its colour profile; None if it has none.
    """

    image: "Image"
    orientation: int = UPRIGHT
    profile: bytes | None = None


def _as_photo(load: Callable[[], _Loaded], decoder: int) -> UInt8[np.ndarray, "h w 3"]:
    """Return the image that ``load`` decodes as ``open_photo`` does; PhotoError if it is damaged or too large."""
    with extra_for(*EXTRA):
        from PIL import Image, UnidentifiedImageError
    try:
        with SILENCE:
            loaded = load()
            image = turn_upright(loaded.image, loaded.orientation)
            profile = loaded.profile if decoder > 1 else None
            photo = image if profile and image.mode == "CMYK" else as_rgb(image)
            photo.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.BOX)
            return np.asarray(to_srgb(photo, profile)).copy()
    except UnidentifiedImageError:
        raise PhotoError(f"not a readable image; expected {', '.join(FORMATS)}") from None
    except Image.DecompressionBombError:
        raise PhotoError(
            f"the image is too large; expected at most {MOST_PIXELS // 10**6} million pixels, "
            f"{MOST_HEIF_PIXELS // 10**6} million for HEIC and AVIF, {MOST_JPEG_PIXELS // 10**6} million for a JPEG"
        ) from None
    except DAMAGE as error:
        raise PhotoError(f"the image is damaged ({error})") from error


def _in_memory(image: "Image") -> _Loaded:
    _check_size(image.size, MOST_JPEG_PIXELS)
    copied = image.copy()  # the result is scaled in place
    return _Loaded(copied, orientation_of(copied.info), copied.info.get("icc_profile"))


def _load(data: bytes) -> _Loaded:
    """Decode a file of any format but JPEG."""
    if data[4:8] == b"ftyp":
        return _load_heif(data)
    if data[:4] in TIFF_STARTS:
        tiff = read_tiff(data)
        return _Loaded(_decode(tiff.picture, ("TIFF",), MOST_PIXELS), tiff.orientation, tiff.profile)
    if data[:2] in PNM_KINDS and data[2:3] in b" \t\r\n#":
        return _load_pnm(data)
    if data.startswith(PNG) and sum(map(data.count, PACKED_NOTES)) > MOST_PACKED_NOTES:
        raise PhotoError(
            f"the image has more than {MOST_PACKED_NOTES} compressed notes; expected a photo; save it again"
        )
    image = _decode(data, WEB_FORMATS, MOST_PIXELS)
    return _Loaded(image, orientation_of(image.info), image.info.get("icc_profile"))


def _load_jpeg(jpeg: Jpeg, data: bytes, wanted: int | None) -> _Loaded:
    """Decode a JPEG's ``picture``, or the same ``continued``; for ``wanted`` see ``_decode``."""
    image = _decode(data, ("JPEG",), MOST_JPEG_PIXELS, jpeg.scans, wanted)
    return _Loaded(image, orientation_of(jpeg.info), jpeg.profile)


def _load_heif(data: bytes) -> _Loaded:
    """Decode a HEIC or AVIF file. Its container says how to turn it; the camera's notes may say so again."""
    container = read_container(data, MOST_HEIF_PIXELS)
    _check_size(container.size, MOST_HEIF_PIXELS)
    if container.codec == HEVC:
        image = decode_heic(container.picture)
        _check_size(image.size, MOST_HEIF_PIXELS)  # it may have been cropped
        return _Loaded(image, UPRIGHT, image.info.get("icc_profile"))
    from PIL import features

    if not features.check("avif"):
        raise PhotoError("an AVIF photo, which needs Pillow 11.3 or later, built with AVIF; save it as JPEG")
    try:
        image = _decode(container.picture, ("AVIF",), MOST_HEIF_PIXELS)
    except RuntimeError as error:  # libavif's own
        raise PhotoError(f"the image is damaged ({error})") from error
    return _Loaded(image, orientation_of(image.info), image.info.get("icc_profile"))


def _load_pnm(data: bytes) -> _Loaded:
    from PIL import Image

    pnm = Pnm(data)
    _check_size(pnm.size, MOST_PIXELS)
    return _Loaded(Image.fromarray(pnm.pixels()))


def _decode(data: bytes, formats: tuple[str, ...], most: int, scans: int = 1, wanted: int | None = None) -> "Image":
    """Return the image that Pillow decodes.

    Args:
        data: The file.
        formats: That it may have.
        most: Pixels that it may have.
        scans: Scans of a JPEG, passes over its pixels.
        wanted: Least pixels of a JPEG's longer side; None for LONGEST_SIDE of both sides.
    """
    from PIL import Image

    reader = RationedReader(data)
    image = Image.open(reader, formats=formats)
    runs = bool(image.tile) and image.tile[0][0] == RUNS
    _check_size(image.size, MOST_RUN_PIXELS if runs else most, scans)
    reader.allow_pixels()
    image.draft("RGB", (LONGEST_SIDE, LONGEST_SIDE) if wanted is None else _least_size(image.size, wanted))
    image.decodermaxblock = PIECE_BYTES
    image.load()
    return image


def _least_size(size: tuple[int, int], longer: int) -> tuple[int, int]:
    """Return the smallest size that Pillow may decode, whose longer side has ``longer`` pixels, if it has them."""
    scale = max(1, max(size) // longer)
    return size[0] // scale, size[1] // scale


def _check_size(size: tuple[int, int], most: int, scans: int = 1) -> None:
    """Raise PhotoError if the header announces more than ``most`` pixels, too few, a strip, or too many scans."""
    width, height = size
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


def as_rgb(image: "Image") -> "Image":
    """Convert an image of any mode to red, green and blue; transparent parts become white.

    Raises:
        PhotoError: It is of floats from 0 to 1, which would all be black.
    """
    from PIL import Image

    if image.mode == "LAB":
        return from_lab(image)
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        values = np.asarray(image, dtype=np.float64)
        if image.mode == "F" and not (np.isfinite(values).all() and (values.max() > 1 or not values.any())):
            raise PhotoError("the image holds fractions up to 1, or no numbers; expected 0 to 255; save it with 8 bits")
        top = 65535.0 if values.max(initial=0) > 255 else 255.0
        image = Image.fromarray((values.clip(0, top) * (255 / top)).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        layer = image.convert("RGBA")
        ground = Image.new("RGBA", layer.size, (*WHITE, 255))
        image = Image.alpha_composite(ground, layer)
    return image.convert("RGB")
