"""A photo as the network saw images in training: upright, the garment alone, cropped tight, grey, on black.

Follows the steps by which the data set was made (Xiao, Rasul and Vollgraf, 2017, section 2). Two steps come before them
that a photo needs: orientation, and separating the garment from its background.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from modiste.errors import PhotoError
from modiste.photo.background import Garment, find_garment
from modiste.photo.opening import open_photo

SHARPNESS = 0.75
"""How much of what a Gaussian of deviation 1 takes away is added again."""


def shape(garment: Garment, side: int) -> tuple[UInt8[np.ndarray, "side side"], dict[str, UInt8[np.ndarray, "..."]]]:
    """Return the network's image and the steps on the way."""
    light = 255 - garment.grey if garment.darker else garment.grey
    alone = np.where(garment.mask, light, 0.0)
    rows, columns = (np.flatnonzero(garment.mask.any(axis=axis)) for axis in (1, 0))
    tight = alone[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    small = resized(tight, side)
    sharp = sharpened(small)
    image = centred(as_bytes(sharp), side)
    steps = {"garment alone": as_bytes(alone), "cropped": as_bytes(tight), "network's view": image}
    return image, steps


def resized(image: Float[np.ndarray, "h w"], side: int, *, keep_aspect: bool = True) -> Float[np.ndarray, "a b"]:
    """Bring the longer side, or both, to ``side`` pixels, by averaging where there are more."""
    from PIL import Image

    height, width = image.shape
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale))) if keep_aspect else (side, side)
    way = Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC
    small: Float[np.ndarray, "a b"] = np.asarray(
        Image.fromarray(image.astype(np.float32)).resize(size, way), dtype=np.float64
    )
    return small


def sharpened(image: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Add to each pixel what sets it apart from its surroundings."""
    from scipy import ndimage

    blurred: Float[np.ndarray, "h w"] = ndimage.gaussian_filter(image, 1.0, mode="nearest", radius=1)
    sharp: Float[np.ndarray, "h w"] = image + SHARPNESS * (image - blurred)
    return sharp


def centred(image: UInt8[np.ndarray, "h w *colours"], side: int) -> UInt8[np.ndarray, "side side *colours"]:
    """Put the image in the middle of a black square."""
    square = np.zeros((side, side, *image.shape[2:]), np.uint8)
    top, left = (side - image.shape[0]) // 2, (side - image.shape[1]) // 2
    square[top : top + image.shape[0], left : left + image.shape[1]] = image
    return square


def as_bytes(image: Float[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """Round to bytes."""
    rounded: UInt8[np.ndarray, "h w"] = image.round().clip(0, 255).astype(np.uint8)
    return rounded


Pixels = UInt8[np.ndarray, "..."]


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
    steps: dict[str, Pixels]
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
