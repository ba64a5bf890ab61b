"""A picture as it is: all of it, in colour or grey, as a square: on black, or stretched."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from modiste.photo import Prepared
from modiste.photo.background import LUMINANCE
from modiste.photo.opening import open_photo
from modiste.photo.shaping import as_bytes, centred, resized


def prepare_whole(content: bytes | Path, *, side: int, channels: int) -> Prepared:
    """Turn a picture file into what the network sees, leaving nothing of it out.

    One that has the network's size already keeps every pixel.

    Args:
        content: a JPEG, PNG, WebP, BMP or GIF file, or its bytes.
        side: of the network's images, in pixels.
        channels: 3 for red, green and blue, 1 for their luminance.

    Raises:
        PhotoError: no such image, damaged or too large.
    """
    return _as_image(open_photo(content), side, channels, keep_aspect=True)


def prepare_stretched(content: bytes | Path, *, side: int, channels: int) -> Prepared:
    """Turn a picture file into what the network sees, its shorter side stretched; otherwise as ``prepare_whole``."""
    return _as_image(open_photo(content), side, channels, keep_aspect=False)


def _as_image(photo: UInt8[np.ndarray, "h w 3"], side: int, channels: int, *, keep_aspect: bool) -> Prepared:
    values = photo.astype(np.float64)
    planes = [values @ LUMINANCE] if channels == 1 else list(np.moveaxis(values, 2, 0))
    small = [as_bytes(resized(plane, side, keep_aspect=keep_aspect)) for plane in planes]
    image = centred(small[0] if channels == 1 else np.stack(small, axis=2), side)
    return Prepared(image, {"photo": photo, "network's view": image}, separated=True, inverted=False)
