"""A small picture in a table, as the bytes of a PNG or JPEG file."""

import io
import warnings
from typing import Any

import numpy as np
from jaxtyping import UInt8

from modiste.data.tables.arrays import MOST_SIDE
from modiste.errors import PhotoError, extra_for
from modiste.photo.opening import EXTRA

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP")
GREY_MODES = ("1", "L")
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
            if image.mode in GREY_MODES:
                return np.array(image.convert("L"))
            return np.ascontiguousarray(np.array(image.convert("RGB")).transpose(2, 0, 1))
    except DAMAGE as error:
        raise PhotoError(f"no readable picture ({str(error).partition(' <')[0]})") from None
