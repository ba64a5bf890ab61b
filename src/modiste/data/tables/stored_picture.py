"""A small picture in a table: the bytes of a PNG or JPEG file, or an image of PIL."""

import io
import warnings
from typing import Any

import numpy as np
from jaxtyping import UInt8

from modiste.data.tables.arrays import MOST_SIDE
from modiste.errors import PhotoError, extra_for
from modiste.photo.opening import EXTRA, as_rgb

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP")
PLAIN_MODES, DEEP_MODES = ("1", "L"), ("I", "I;16", "I;16L", "I;16B", "I;16N")
"""Grey modes of Pillow: of at most a byte a pixel, and of more."""
DAMAGE = (OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, AttributeError, OverflowError)


def decode(data: bytes) -> UInt8[np.ndarray, "h w"] | UInt8[np.ndarray, "3 h w"]:
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
            image: Any = Image.open(io.BytesIO(data), formats=FORMATS)
            if max(image.size) > MOST_SIDE:
                raise PhotoError(f"{image.width} x {image.height}, more than {MOST_SIDE} pixels a side")
            pixels = pixels_of(image)
            return pixels if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))
    except DAMAGE as error:
        raise PhotoError(f"no readable picture ({str(error).partition(' <')[0]})") from None


def pixels_of(image: Any) -> UInt8[np.ndarray, "h w"] | UInt8[np.ndarray, "h w 3"]:
    """Return the pixels of an image of PIL, one plane if it is grey without an alpha channel.

    As of a picture file in a folder, transparent parts are white, 16 bits are scaled to 8, and a palette gives its
    colours. Unlike there, orientation and colour profile are ignored: small pictures in tables rarely have them.
    """
    image.load()
    if image.mode in PLAIN_MODES and "transparency" not in image.info:
        return np.array(image.convert("L"))
    colours = as_rgb(image)
    return np.array(colours.convert("L") if image.mode in PLAIN_MODES + DEEP_MODES else colours)
