"""From a garment to the network's image: on black, cropped tight, brought down, sharpened, centred."""

import numpy as np
from jaxtyping import Float, UInt8

from modiste.photo.background import Garment

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
