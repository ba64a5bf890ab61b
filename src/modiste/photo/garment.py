"""Prepares a photo of a garment as the data set's images were: the garment alone, cropped tight, grey, on black.

The steps are those of Xiao, Rasul and Vollgraf (2017), section 2. Two more come before them: turning the photo upright,
and separating the garment from its background.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Real, UInt8

from modiste.errors import PhotoError
from modiste.photo.background import Garment
from modiste.photo.opening import open_photo
from modiste.photo.regions import bounding_box, gaussian_blur
from modiste.photo.separation import separate
from modiste.recipes.recipe import DECODERS

SHARPNESS = 0.75
"""Weight of the detail that sharpening adds: the image minus its Gaussian blur of deviation 1."""
Pixels = UInt8[np.ndarray, "..."]


@dataclass(frozen=True)
class Prepared:
    """A photo prepared for the network.

    Attributes:
        image: The network's image, (side, side) bytes; (side, side, 3) in colour.
        steps: Result of each step by its name, in order: (H, W, 3) or (H, W) bytes.
        separated: Whether the garment could be separated from its background.
        inverted: Whether light and dark were exchanged, as for a garment that is darker than its background.
        background: How the garment was separated, "plain" or "network"; empty if it could not be, or need not be.
        doubt: Why the garment could not be separated, or may be another; empty if nothing speaks against it.
        network: Name of the segmentation network that found the garment; empty if none did.
    """

    image: UInt8[np.ndarray, "side side *colours"]
    steps: dict[str, Pixels]
    separated: bool
    inverted: bool
    background: str = ""
    doubt: str = ""
    network: str = ""

    @property
    def planes(self) -> UInt8[np.ndarray, "c side side"]:
        """The image with its channels first, as the network takes it."""
        return self.image[None] if self.image.ndim == 2 else np.moveaxis(self.image, 2, 0)


def prepare(
    content: bytes | Path, *, side: int = 28, decoder: int = DECODERS[-1], background: str = "plain"
) -> Prepared:
    """Turn a photo of a garment into the image that the network sees.

    An image of the network's size that is grey and black in a corner is used unchanged.

    Args:
        content: A file of one of ``opening.FORMATS``, or its bytes.
        side: Side of the network's images, in pixels.
        decoder: One of DECODERS.
        background: How the garment is found, a key of ``photo.separation.BACKGROUNDS``.

    Raises:
        PhotoError: The file is no such image, damaged, too large, or shows nothing.
        MissingExtraError: Pillow or the segmentation network is not installed.
        DataError: The segmentation network's file is another one.

    Example:
        >>> import io
        >>> from PIL import Image
        >>> photo = Image.new("RGB", (90, 120), "white")
        >>> photo.paste("navy", (30, 20, 60, 100))
        >>> file = io.BytesIO()
        >>> photo.save(file, "PNG")
        >>> prepared = prepare(file.getvalue())
        >>> prepared.image.shape, prepared.inverted
        ((28, 28), True)
        >>> list(prepared.steps)
        ['photo', 'garment alone', 'cropped', "network's view"]
    """
    photo = open_photo(content, decoder=decoder, side=side)
    if _is_ready(photo, side):
        return as_it_is(photo[..., 0].copy(), side)
    garment = separate(photo, background)
    image, steps = _shape(garment, side)
    steps = {"photo": photo, **steps}
    facts = (garment.separated, garment.darker, garment.background, garment.doubt, garment.network)
    return Prepared(image, steps, *facts)


def as_it_is(image: UInt8[np.ndarray, "h w"], side: int, channels: int = 1) -> Prepared:
    """Take a grey image unchanged; PhotoError unless the network's images have its size and one channel."""
    if image.shape != (side, side) or channels != 1:
        colours = "" if channels == 1 else " in colour"
        raise PhotoError(f"expected an image of {side} x {side}{colours}, found {image.shape[0]} x {image.shape[1]}")
    return Prepared(image, {"as it is": image}, separated=True, inverted=False)


def resized(image: Real[np.ndarray, "h w"], side: int, *, keep_aspect: bool = True) -> Float[np.ndarray, "a b"]:
    """Resize the longer side, or both sides, to ``side`` pixels.

    Both sides are averaged if the longer one shrinks, else they are interpolated by cubics. So a shorter side that is
    stretched while the longer one shrinks is enlarged by repeating pixels.
    """
    from PIL import Image

    height, width = image.shape
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale))) if keep_aspect else (side, side)
    way = Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC
    small: Float[np.ndarray, "a b"] = np.asarray(
        Image.fromarray(image.astype(np.float32, copy=False)).resize(size, way), dtype=np.float64
    )
    return small


def centred(image: UInt8[np.ndarray, "h w *colours"], side: int) -> UInt8[np.ndarray, "side side *colours"]:
    """Put the image in the middle of a black square."""
    square = np.zeros((side, side, *image.shape[2:]), np.uint8)
    top, left = (side - image.shape[0]) // 2, (side - image.shape[1]) // 2
    square[top : top + image.shape[0], left : left + image.shape[1]] = image
    return square


def as_bytes(image: Float[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """Round to bytes, clipping to 0 to 255."""
    rounded: Float[np.ndarray, "h w"] = np.rint(image)
    clipped: UInt8[np.ndarray, "h w"] = rounded.clip(0, 255, out=rounded).astype(np.uint8)
    return clipped


def _is_ready(photo: UInt8[np.ndarray, "h w 3"], side: int) -> bool:
    """Return whether an image looks like the data set's: its size, grey, black in at least one corner."""
    if photo.shape[:2] != (side, side):  # most photos: their pixels need not be compared
        return False
    corners = photo[[0, 0, -1, -1], [0, -1, 0, -1], 0]
    return bool((photo == photo[..., :1]).all()) and bool((corners == 0).any())


def _shape(garment: Garment, side: int) -> tuple[UInt8[np.ndarray, "side side"], dict[str, Pixels]]:
    """Return the network's image and the steps on the way to it."""
    light = 255 - garment.grey if garment.darker else garment.grey
    alone = np.where(garment.mask, light, 0.0)
    tight = alone[bounding_box(garment.mask)]
    image = centred(as_bytes(_sharpened(resized(tight, side))), side)
    steps = {"garment alone": as_bytes(alone), "cropped": as_bytes(tight), "network's view": image}
    return image, steps


def _sharpened(image: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Add to each pixel SHARPNESS times its difference from a Gaussian blur (an unsharp mask)."""
    blurred = gaussian_blur(image, 1.0, radius=1, edge="edge")
    sharp: Float[np.ndarray, "h w"] = image + SHARPNESS * (image - blurred)
    return sharp
