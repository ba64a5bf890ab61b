"""The preparation of picture files for a network: the garment alone, or the whole picture, padded or stretched.

Training chooses the preparation once; every later use of the network takes the same.
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
from modiste.photo.segmentation import U2NET, choose_network, load_network
from modiste.photo.separation import BACKGROUNDS
from modiste.recipes.plain import demand_known, nearest
from modiste.recipes.recipe import DECODERS

VERSION = 5
"""Raise this when a preparation gives other pixels than before; cached pictures are then decoded again."""
CHANNELS = (1, 3)
PictureInput = bytes | Path | UInt8[np.ndarray, "h w"]
"""A picture file, its bytes, or an image that looks like the data set's and needs no preparation."""


@dataclass(frozen=True)
class Preparation:
    """The way from a picture file to the network's image; RecipeError if there is no such preparation.

    Attributes:
        way: A key of WAYS: "garment" separates it from its background; "whole" and "stretched" keep all of the picture.
        side: Side of the square image, in pixels.
        channels: 1 for grey, 3 for red, green and blue.
        decoder: One of DECODERS.
        background: How a garment is found, a key of ``separation.BACKGROUNDS``; whole pictures need none but "plain".
    """

    way: str = "garment"
    side: int = 28
    channels: int = 1
    decoder: int = DECODERS[-1]
    background: str = "plain"

    def __post_init__(self) -> None:
        if self.way not in WAYS:
            raise RecipeError(f"pictures: {self.way!r} is unknown; {nearest(self.way, WAYS)}")
        if self.decoder not in DECODERS:
            raise RecipeError(f"decoder: expected one of {', '.join(map(str, DECODERS))}, found {self.decoder}")
        if self.channels not in CHANNELS or (self.channels != 1 and self.way == "garment"):
            raise RecipeError(
                f"pictures: {self.way} gives images of {'1' if self.way == 'garment' else '1 or 3'} channels, this "
                f"network takes {self.channels}; choose whole for colour"
            )
        demand_known(self.background, "background", BACKGROUNDS)
        if self.background != "plain" and self.way != "garment":
            raise RecipeError(
                f"background: {self.background} finds garments, this network takes {self.way} pictures; leave it out"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the image."""
        return self.channels, self.side, self.side

    def __call__(self, picture: PictureInput) -> Prepared:
        """Prepare a picture; PhotoError if it cannot be read or shows nothing."""
        if isinstance(picture, np.ndarray):
            return as_it_is(picture, self.side, self.channels)
        return WAYS[self.way](picture, self)

    @property
    def network(self) -> str:
        """Name of the segmentation network that finds the garment on this machine; empty if none is used."""
        return "" if self.background == "plain" else choose_network().name

    @property
    def finder(self) -> tuple[str, ...]:
        """What finds the garment, for keys of stored pictures; empty for a plain background and whole pictures.

        The built-in network is named, for it gives other pictures than U2-Net.
        """
        name = self.network
        if not name:
            return ()
        return (self.background,) if name == U2NET.name else (self.background, name)

    def check_network(self) -> None:
        """Load the segmentation network if it is needed; MissingExtraError or DataError if that is impossible."""
        if self.background != "plain":
            load_network()


def prepare_whole(content: bytes | Path, *, side: int, channels: int, decoder: int = DECODERS[-1]) -> Prepared:
    """Turn a picture file into the network's image: all of the picture, padded with black to a square.

    A picture that already has the network's size keeps every pixel.

    Args:
        content: A file of one of ``opening.FORMATS``, or its bytes.
        side: Side of the network's images, in pixels.
        channels: 3 for red, green and blue, 1 for their luminance.
        decoder: One of DECODERS.

    Raises:
        PhotoError: The file is no such image, damaged or too large.
    """
    return _as_image(open_photo(content, decoder=decoder, side=side), side, channels, keep_aspect=True)


def prepare_stretched(content: bytes | Path, *, side: int, channels: int, decoder: int = DECODERS[-1]) -> Prepared:
    """Turn a picture file into the network's image as ``prepare_whole`` does, but stretched to a square."""
    return _as_image(open_photo(content, decoder=decoder, side=side), side, channels, keep_aspect=False)


def _as_image(photo: UInt8[np.ndarray, "h w 3"], side: int, channels: int, *, keep_aspect: bool) -> Prepared:
    planes = [photo.astype(np.float64) @ LUMINANCE] if channels == 1 else list(np.moveaxis(photo, 2, 0))
    small = [as_bytes(resized(plane, side, keep_aspect=keep_aspect)) for plane in planes]
    image = centred(small[0] if channels == 1 else np.stack(small, axis=2), side)
    return Prepared(image, {"photo": photo, "network's view": image}, separated=True, inverted=False)


def _garment(content: bytes | Path, preparation: Preparation) -> Prepared:
    return prepare(content, side=preparation.side, decoder=preparation.decoder, background=preparation.background)


def _whole(content: bytes | Path, preparation: Preparation) -> Prepared:
    return prepare_whole(content, side=preparation.side, channels=preparation.channels, decoder=preparation.decoder)


def _stretched(content: bytes | Path, preparation: Preparation) -> Prepared:
    return prepare_stretched(content, side=preparation.side, channels=preparation.channels, decoder=preparation.decoder)


WAYS: dict[str, Callable[[bytes | Path, Preparation], Prepared]] = {
    "garment": _garment,
    "whole": _whole,
    "stretched": _stretched,
}
