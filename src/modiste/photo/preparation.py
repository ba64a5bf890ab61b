"""How picture files become a network's images: chosen once, in training, and the same ever after."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from modiste.errors import RecipeError
from modiste.photo import Prepared, as_it_is, prepare
from modiste.photo.whole import prepare_stretched, prepare_whole
from modiste.plain import nearest

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

    def __call__(self, picture: "Picture") -> Prepared:
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
Picture = bytes | Path | UInt8[np.ndarray, "h w"]
"""A file or its bytes; or an image as a data set has them, which needs no preparation."""
