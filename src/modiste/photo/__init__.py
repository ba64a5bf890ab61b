"""A person's photo as the network saw images in training: upright, the garment alone, cropped tight, grey, on black.

After the steps by which the data set was made (Xiao, Rasul and Vollgraf, 2017, section 2), and two before them that a
photo needs: orientation, and the garment parted from what lies behind it.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from modiste.errors import PhotoError
from modiste.photo.background import find_garment
from modiste.photo.opening import open_photo
from modiste.photo.shaping import shape

Picture = UInt8[np.ndarray, "..."]


@dataclass(frozen=True)
class Prepared:
    """A photo on its way to the network.

    Attributes:
        image: bytes as the data set has them, (side, side); (side, side, 3) in colour.
        steps: what each step made of it, by name, in order: (H, W, 3) or (H, W) bytes.
        separated: whether the garment could be told from its background.
        inverted: whether light and dark were exchanged, as they are for a garment darker than its background.
    """

    image: UInt8[np.ndarray, "side side *colours"]
    steps: dict[str, Picture]
    separated: bool
    inverted: bool

    @property
    def planes(self) -> UInt8[np.ndarray, "c side side"]:
        """The image as the network takes it, its channels first."""
        return self.image[None] if self.image.ndim == 2 else np.moveaxis(self.image, 2, 0)


def prepare(content: bytes | Path, *, side: int = 28) -> Prepared:
    """Turn a photo into what the network sees.

    An image that is grey, of the network's size and dark around its edge is taken for one of the data set's, as it is.

    Args:
        content: a JPEG, PNG, WebP, BMP or GIF file, or its bytes.
        side: of the network's images, in pixels.

    Raises:
        PhotoError: no such image, damaged, too large, or with nothing to be seen on it.
    """
    photo = open_photo(content)
    if is_ready(photo, side):
        return as_it_is(photo[..., 0].copy(), side)
    garment = find_garment(photo)
    image, steps = shape(garment, side)
    return Prepared(image, {"photo": photo, **steps}, garment.separated, garment.darker)


def as_it_is(image: UInt8[np.ndarray, "h w"], side: int, channels: int = 1) -> Prepared:
    """Take a grey image for one of the data set's; PhotoError when it has not their size, or they have colours."""
    if image.shape != (side, side) or channels != 1:
        colours = "" if channels == 1 else " in colour"
        raise PhotoError(f"expected an image of {side} x {side}{colours}, found {image.shape[0]} x {image.shape[1]}")
    return Prepared(image, {"as it is": image}, separated=True, inverted=False)


def is_ready(photo: UInt8[np.ndarray, "h w 3"], side: int) -> bool:
    """Tell whether an image is as the data set has them: its size, grey, black in at least a corner."""
    grey = bool((photo == photo[..., :1]).all())
    corners = photo[[0, 0, -1, -1], [0, -1, 0, -1], 0]
    return photo.shape[:2] == (side, side) and grey and bool((corners == 0).any())


__all__ = ["Prepared", "as_it_is", "prepare"]
