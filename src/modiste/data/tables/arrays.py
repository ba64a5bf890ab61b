"""Arrays that a person or a file gives, checked and converted: pixels to bytes, labels to whole numbers or text.

Pixels may also come as small pictures: the bytes of a PNG or JPEG file, or an image of PIL.
"""

import io
import warnings
from dataclasses import dataclass
from math import isqrt
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from modiste.errors import DataError, PhotoError, extra_for, shown
from modiste.photo.opening import DAMAGE, EXTRA, as_rgb
from modiste.photo.orientation import UPRIGHT, orientation_of

BLOCK_BYTES = 64 * 2**20
"""Number of bytes of pixels that are checked and converted at a time."""
GREY_OR_COLOUR = (1, 3)
EXACT = 1e-3
"""A float is a multiple of 1/255 if it is within this distance, out of 255; more for half precision."""
MOST_SIDE = 1024
PICTURE_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP")
METADATA = (b"Exif", b"eXIf", b"EXIF", b"tiff:Orientation")
"""Begin the metadata of JPEG, PNG and WebP that may say how a picture is turned."""
PLAIN_MODES, DEEP_MODES = ("1", "L"), ("I", "I;16", "I;16L", "I;16B", "I;16N")
"""Grey modes of Pillow: of at most a byte a pixel, and of more."""


@dataclass(frozen=True, eq=False)
class Pixels:
    """Checked images.

    Attributes:
        images: (N, H, W), or (N, 3, H, W).
        notes: What was changed, for the user.
    """

    images: UInt8[ndarray, "n h w"] | UInt8[ndarray, "n 3 h w"]
    notes: tuple[str, ...] = ()


def refusal(where: str, problem: str, *, expected: str, found: str, remedy: str) -> DataError:
    """Return the error for an array or a column; ``where`` names it, as file: key."""
    return DataError(f"{shown(where)}: {problem}: expected {expected}, found {shown(found)}; {remedy}")


def to_pixels(given: Any, where: str) -> Pixels:
    """Return images as bytes.

    Args:
        given: (N, H, W), (N, H, W, C), (N, C, H, W) with C 1 or 3, or rows (N, H*H) of square images. Whole numbers
            from 0 to 255, of any type; or floats from 0 to 1, which are rounded to multiples of 1/255; or booleans.
        where: Names the array in messages.

    Raises:
        DataError: No such array: of another type or shape, empty, ragged, or with a value out of range.

    Example:
        >>> to_pixels(np.ones((2, 9)), "x").images.shape
        (2, 3, 3)
    """
    array = _as_array(given, where, "images")
    if array.dtype.kind not in "buif":
        raise refusal(
            where,
            "not pixels",
            expected="numbers from 0 to 255, or floats from 0 to 1",
            found=f"type {array.dtype}",
            remedy="give an array of type uint8",
        )
    arranged = _arranged(array, where)
    images, notes = _as_bytes(arranged, where)
    return Pixels(np.ascontiguousarray(images), notes)


def to_labels(given: Any, where: str) -> ndarray:
    """Return labels (N), as int64 or as text.

    Args:
        given: Whole numbers, booleans or text, (N) or (N, 1).
        where: Names the array in messages.

    Raises:
        DataError: No such array: floats, a missing label, several labels an image, numbers of more than 64 bits, bytes
            that are not UTF-8.
    """
    array = _as_array(given, where, "labels")
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise refusal(
            where,
            "not one label an image",
            expected="labels of shape (N) or (N, 1)",
            found=f"shape {array.shape}",
            remedy="several labels an image cannot be learnt; of one-hot rows take labels.argmax(1)",
        )
    if not len(array):
        raise refusal(where, "empty", expected="a label for each image", found="0 labels", remedy="give labels")
    if array.dtype.kind == "f":
        missing = bool(np.isnan(array).any())
        found = f"NaN at position {int(np.isnan(array).argmax()):,}" if missing else f"type {array.dtype}"
        remedy = "fill or drop the rows" if missing else "convert them: labels.astype(int)"
        raise refusal(where, "labels of floats", expected="whole numbers or text", found=found, remedy=remedy)
    if array.dtype.kind in "bui":
        if int(array.max()) > np.iinfo(np.int64).max:
            raise _too_large(where)
        return array.astype(np.int64)
    if array.dtype.kind not in "OUS":
        expected = "whole numbers or text"
        raise refusal(where, "not labels", expected=expected, found=f"type {array.dtype}", remedy="convert them")
    return _of_objects(array.tolist(), where)


def _as_array(given: Any, where: str, what: str) -> ndarray:
    """Return an array without copying where that is possible; tensors of other libraries are moved to memory."""
    for move in ("detach", "cpu"):
        given = getattr(given, move)() if hasattr(given, move) else given
    try:
        return np.asarray(given)
    except (ValueError, TypeError) as error:
        lengths = "parts of different shapes" if isinstance(error, ValueError) else str(error)
        raise refusal(
            where, "ragged", expected=f"one array of {what}", found=lengths, remedy="give all the same shape"
        ) from None


def _arranged(array: ndarray, where: str) -> ndarray:
    """Return a view (N, H, W) or (N, 3, H, W)."""
    if array.ndim in (2, 3, 4) and 0 in array.shape:
        raise refusal(where, "empty", expected="images", found=f"shape {array.shape}", remedy="give images")
    if array.ndim == 2:
        return _from_rows(array, where)
    if array.ndim == 3:
        return _checked_sides(array, where)
    if array.ndim == 4:
        return _from_channels(array, where)
    raise refusal(
        where,
        "not images",
        expected="shape (N, H, W), (N, H, W, C), (N, C, H, W) or rows of H*H pixels",
        found=f"shape {array.shape}",
        remedy="reshape them",
    )


def _from_rows(array: ndarray, where: str) -> ndarray:
    side = isqrt(array.shape[1])
    if side * side != array.shape[1]:
        raise refusal(
            where,
            "rows of no square",
            expected="a square number of pixels in a row, such as 784",
            found=f"{array.shape[1]:,}",
            remedy="reshape them to (N, H, W) or (N, C, H, W)",
        )
    return _checked_sides(array.reshape(-1, side, side), where)


def _from_channels(array: ndarray, where: str) -> ndarray:
    first, last = array.shape[1] in GREY_OR_COLOUR, array.shape[3] in GREY_OR_COLOUR
    if first == last:
        problem, found = ("channels first or last?", "both") if first else ("wrong number of channels", "neither")
        raise refusal(
            where,
            problem,
            expected="1 or 3 channels, at axis 1 or at axis 3",
            found=f"shape {array.shape}, which fits {found}",
            remedy="reshape to (N, H, W) if grey, else to (N, C, H, W)" if first else "keep one channel, or R, G and B",
        )
    planes = array if first else array.transpose(0, 3, 1, 2)
    return _checked_sides(planes[:, 0] if planes.shape[1] == 1 else planes, where)


def _checked_sides(images: ndarray, where: str) -> ndarray:
    if max(images.shape[-2:]) > MOST_SIDE:
        raise refusal(
            where,
            "images too large",
            expected=f"at most {MOST_SIDE} pixels a side",
            found=f"{images.shape[-2]} x {images.shape[-1]}",
            remedy="make them smaller",
        )
    return images


def _as_bytes(images: ndarray, where: str) -> tuple[ndarray, tuple[str, ...]]:
    """Return images as bytes, and a note if that changed them."""
    if images.dtype == np.uint8:
        return images, ()
    if images.dtype == np.bool_:
        return images * np.uint8(255), ()
    low, high = _range(images, where)
    is_float = images.dtype.kind == "f"
    if low < 0 or high > 255:
        remedy = "map -1 to 1 by (images + 1) / 2" if is_float and low >= -1 and high <= 1 else "divide or shift them"
        expected, found = "0 to 255, or floats from 0 to 1", f"{low:g} to {high:g}"
        raise refusal(where, "values out of range", expected=expected, found=found, remedy=remedy)
    done = np.empty(images.shape, np.uint8)
    scale = 255 if is_float and high <= 1 else 1
    inexact, tolerance = 0, max(EXACT, 255 * float(np.finfo(images.dtype).eps)) if is_float else 0.0
    for part in _blocks(images):
        values = images[part] if not is_float else images[part].astype(np.float64) * scale
        done[part] = np.rint(values) if is_float else values
        inexact += int((np.abs(values - done[part]) > tolerance).sum()) if is_float else 0
    if inexact and scale == 1:
        raise refusal(
            where,
            "fractions beyond 1",
            expected="floats from 0 to 1, or whole numbers from 0 to 255",
            found=f"up to {high:g}, {inexact:,} with a fraction",
            remedy="divide by 255, or round",
        )
    if not inexact:
        return done, ()
    share = f"{inexact:,} of {images.size:,} values are no multiples of 1/255"
    return done, (f"{shown(where)}: {share}: rounded to 8 bits",)


def _range(images: ndarray, where: str) -> tuple[float, float]:
    """Return the least and the largest value; DataError if one is NaN or infinite."""
    low, high = np.inf, -np.inf
    for part in _blocks(images):
        least, most = float(images[part].min()), float(images[part].max())
        if not (np.isfinite(least) and np.isfinite(most)):
            rows = ~np.isfinite(images[part]).reshape(len(images[part]), -1).all(1)
            raise refusal(
                where,
                "no numbers",
                expected="finite values",
                found=f"NaN or infinity in image {part.start + int(rows.argmax()):,}",
                remedy="drop or repair these images",
            )
        low, high = min(low, least), max(high, most)
    return low, high


def _blocks(images: ndarray) -> list[slice]:
    step = max(1, BLOCK_BYTES // (8 * int(np.prod(images.shape[1:]))))
    return [slice(start, start + step) for start in range(0, len(images), step)]


def _of_objects(values: list[Any], where: str) -> ndarray:
    """Return labels that are all text, or all whole numbers; DataError if they are neither."""
    values = [_text(value, at, where) if isinstance(value, bytes) else value for at, value in enumerate(values)]
    kinds = [_kind(value) for value in values]
    if set(kinds) == {"text"}:
        return np.array(values)
    if set(kinds) == {"number"}:
        try:
            return np.array(values, np.int64)
        except OverflowError:
            raise _too_large(where) from None
    strange = next((kind for kind in kinds if kind not in ("text", "number")), "")
    at = kinds.index(strange) if strange else next(n for n, kind in enumerate(kinds) if kind != kinds[0])
    raise refusal(
        where,
        "labels of several types, or none",
        expected="text alone, or whole numbers alone",
        found=f"{kinds[at]} at position {at:,}",
        remedy="convert them, or drop the rows",
    )


def _too_large(where: str) -> DataError:
    remedy = "number the classes from 0"
    return refusal(where, "labels too large", expected="64 bits with a sign", found="more", remedy=remedy)


def _text(label: bytes, position: int, where: str) -> str:
    """Return a label of bytes as text; DataError if it is not UTF-8: several labels could become the same."""
    try:
        return label.decode("utf-8")
    except UnicodeDecodeError:
        found, remedy = f"{label!r} at position {position:,}", "decode them: numpy.char.decode(labels, encoding)"
        raise refusal(where, "labels that are not text", expected="UTF-8", found=found, remedy=remedy) from None


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return "text" if value else '""'
    return "number" if isinstance(value, int | np.integer) else type(value).__name__


def decode_picture(data: bytes) -> UInt8[np.ndarray, "h w"] | UInt8[np.ndarray, "3 h w"]:
    """Return the pixels of a picture, one plane if it is grey; its size is not changed.

    Raises:
        MissingExtraError: Pillow is not installed.
        PhotoError: It cannot be read, or is larger than MOST_SIDE.
    """
    with extra_for(*EXTRA):
        from PIL import Image
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image: Any = Image.open(io.BytesIO(data), formats=PICTURE_FORMATS)
            if max(image.size) > MOST_SIDE:
                raise PhotoError(f"{image.width} x {image.height}, more than {MOST_SIDE} pixels a side")
            pixels = pixels_of(image)
            return pixels if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))
    except Image.DecompressionBombError:
        raise PhotoError(f"more than {MOST_SIDE} pixels a side") from None
    except DAMAGE as error:
        raise PhotoError(f"no readable picture ({str(error).partition(' <')[0]})") from None


def is_turned(data: bytes) -> bool:
    """Return whether a readable picture says that it is stored turned or mirrored; ``decode_picture`` leaves it so."""
    from PIL import Image

    if not any(start in data for start in METADATA):
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return orientation_of(Image.open(io.BytesIO(data), formats=PICTURE_FORMATS).info) != UPRIGHT


def pixels_of(image: Any) -> UInt8[np.ndarray, "h w"] | UInt8[np.ndarray, "h w 3"]:
    """Return the pixels of an image of PIL, one plane if it is grey without an alpha channel.

    As of a picture file in a folder, transparent parts are white, 16 bits are scaled to 8, and a palette gives its
    colours. Unlike there, orientation and colour profile are ignored: small pictures in tables rarely have them, and
    the pixels are those that other libraries give.
    """
    image.load()
    if image.mode in PLAIN_MODES and "transparency" not in image.info:
        return np.array(image.convert("L"))
    colours = as_rgb(image)
    return np.array(colours.convert("L") if image.mode in PLAIN_MODES + DEEP_MODES else colours)
