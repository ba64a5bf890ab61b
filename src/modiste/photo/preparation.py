"""How picture files become a network's images: as a garment, or whole (padded with black, or stretched).

Training chooses the preparation once; every later use takes the same.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from modiste.errors import RecipeError
from modiste.photo.background import LUMINANCE
from modiste.photo.garment import Prepared, as_bytes, as_it_is, centred, prepare, resized
from modiste.photo.opening import open_photo
from modiste.recipes.plain import nearest


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


VERSION = 2
"""To be raised when a preparation gives other pixels than before; what was kept of earlier ones is then made anew."""
CHANNELS = (1, 3)


@dataclass(frozen=True)
class Preparation:
    """The way from a picture file to the network's image; RecipeError for one that does not exist.

    Attributes:
        way: a key of WAYS: "garment" parts it from its background; "whole" and "stretched" leave nothing out.
        side: of the square image, in pixels.
        channels: 1 for grey, 3 for red, green and blue.
    """

    way: str = "garment"
    side: int = 28
    channels: int = 1

    def __post_init__(self) -> None:
        if self.way not in WAYS:
            raise RecipeError(f"pictures: {self.way!r} is unknown; {nearest(self.way, WAYS)}")
        if self.channels not in CHANNELS or (self.channels != 1 and self.way == "garment"):
            raise RecipeError(
                f"pictures: {self.way} gives images of {'1' if self.way == 'garment' else '1 or 3'} channels, this "
                f"network takes {self.channels}; choose whole for colour"
            )

    def __call__(self, picture: "PictureInput") -> Prepared:
        """Prepare a file, its bytes, or an image as a data set has them; PhotoError when that cannot be."""
        if isinstance(picture, np.ndarray):
            return as_it_is(picture, self.side, self.channels)
        return WAYS[self.way](picture, self)


def _garment(content: bytes | Path, preparation: Preparation) -> Prepared:
    return prepare(content, side=preparation.side)


def _whole(content: bytes | Path, preparation: Preparation) -> Prepared:
    return prepare_whole(content, side=preparation.side, channels=preparation.channels)


def _stretched(content: bytes | Path, preparation: Preparation) -> Prepared:
    return prepare_stretched(content, side=preparation.side, channels=preparation.channels)


WAYS: dict[str, Callable[[bytes | Path, Preparation], Prepared]] = {
    "garment": _garment,
    "whole": _whole,
    "stretched": _stretched,
}
PictureInput = bytes | Path | UInt8[np.ndarray, "h w"]
"""A file or its bytes; or an image as a data set has them, which needs no preparation."""
