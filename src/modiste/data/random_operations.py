"""Random operations on the images of a batch: TrivialAugment and RandAugment.

The operations and their ranges are those of Cubuk et al. (2020), with three differences. Brightness, contrast,
saturation and sharpness grow or fall with equal probability, so that strength 0 changes nothing. Zoom is added.
Images of one channel do without saturation. Every image has an operation of its own, yet none is computed image by
image: all affine ones are one warp of the batch, and all blends are one blend.
"""

from math import pi

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from modiste.data.geometry import Images, affine, of_pixels, uniform, warp_fast

OPERATIONS = (
    "identity",
    "shift_x",
    "shift_y",
    "rotate",
    "shear_x",
    "shear_y",
    "zoom",
    "brightness",
    "contrast",
    "sharpness",
    "posterise",
    "solarise",
    "equalise",
    "autocontrast",
    "saturation",
)
"""Images of one channel do without the last."""
MOST_SHIFT = 10 / 32
"""Largest shift, as a share of a side."""
MOST_DEGREES = 30.0
MOST_SHEAR = 0.3
"""Largest slope of a sheared side."""
MOST_ZOOM = 0.3
"""Largest change of the size of what an image shows, as a share of it."""
MOST_BLEND = 0.9
"""Largest change of brightness, contrast, saturation and sharpness, as a share of the image's own."""
MOST_BITS = 4
"""Largest number of bits of each byte that posterising clears."""
LEVELS = 256

Kinds = Int64[Tensor, " n"]


def trivial(images: Images, most: float, generator: torch.Generator) -> Images:
    """Apply one random operation to each image, with a random strength up to ``most`` (Mueller and Hutter, 2021).

    Strengths are continuous, where the published ones have 31 steps.

    Args:
        images: Pixels in [0, 1].
        most: Above 0 to 1; at 1 the ranges are those of RandAugment, which the paper calls TA (RA).
        generator: Seeded for the step, on the images' device.

    Example:
        >>> images = torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
        >>> trivial(images, 0.5, torch.Generator().manual_seed(1)).shape
        torch.Size([4, 1, 28, 28])
    """
    return operate(images, _draw_kinds(images, generator), most * (2 * uniform(images, generator) - 1))


def random_operations(images: Images, plan: tuple[int, float], generator: torch.Generator) -> Images:
    """Apply several random operations to each image, one after another, all at one strength (Cubuk et al., 2020).

    Args:
        images: Pixels in [0, 1].
        plan: Number of operations, from 1, and their strength, above 0 to 1; 1 is level 30 of 30 as published.
        generator: Seeded for the step, on the images' device.

    Example:
        >>> images = torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
        >>> random_operations(images, (2, 0.3), torch.Generator().manual_seed(1)).shape
        torch.Size([4, 1, 28, 28])
    """
    count, strength = plan
    for _ in range(count):
        kinds, is_negative = _draw_kinds(images, generator), uniform(images, generator) < 0.5
        images = operate(images, kinds, strength * (1 - 2 * is_negative.float()))
    return images


def operate(images: Images, kinds: Kinds, strengths: Float[Tensor, " n"]) -> Images:
    """Apply an operation to each image.

    Args:
        images: Pixels in [0, 1].
        kinds: Index of each image's operation in OPERATIONS. Saturation leaves images of one channel as they are.
        strengths: From -1 to 1; the sign is a direction, which posterise and solarise do not have. Equalise and
            autocontrast have no strength.

    Returns:
        Images of the same shape. Those with the identity keep every bit.
    """
    images = _moved(images, kinds, strengths)
    images = _blended(images, kinds, strengths)
    return _with_other_levels(images, kinds, strengths.abs())


def _draw_kinds(images: Images, generator: torch.Generator) -> Kinds:
    count = len(OPERATIONS) - (images.shape[1] == 1)
    return torch.randint(0, count, (len(images),), generator=generator, device=images.device)


def _moved(images: Images, kinds: Kinds, strengths: Float[Tensor, " n"]) -> Images:
    """Shift, rotate, shear and zoom; a positive zoom makes what the image shows smaller."""

    def amounts(name: str, most: float) -> Float[Tensor, " n"]:
        return most * strengths * (kinds == OPERATIONS.index(name))

    maps = affine(
        angle=amounts("rotate", MOST_DEGREES * pi / 180),
        scale=1 + amounts("zoom", MOST_ZOOM),
        offset=torch.stack([amounts("shift_x", 2 * MOST_SHIFT), amounts("shift_y", 2 * MOST_SHIFT)]),
    )
    maps[:, 0, 1] += amounts("shear_x", MOST_SHEAR)
    maps[:, 1, 0] += amounts("shear_y", MOST_SHEAR)
    first, last = OPERATIONS.index("shift_x"), OPERATIONS.index("zoom")
    return _where((first <= kinds) & (kinds <= last), warp_fast(images, of_pixels(maps, images)), images)


def _blended(images: Images, kinds: Kinds, strengths: Float[Tensor, " n"]) -> Images:
    """Move each pixel away from, or towards: black, the image's mean, its surroundings, or the pixel's own grey."""
    grey = images.mean(1, keepdim=True)
    towards = {
        "brightness": torch.zeros_like(grey),
        "contrast": grey.mean((2, 3), keepdim=True),
        "sharpness": _smoothed(images),
        "saturation": grey,
    }
    target, is_blend = images, torch.zeros_like(kinds, dtype=torch.bool)
    for name, limit in towards.items():
        is_kind = kinds == OPERATIONS.index(name)
        target, is_blend = _where(is_kind, limit, target), is_blend | is_kind
    factor = (1 + MOST_BLEND * strengths)[:, None, None, None]
    return _where(is_blend, (target + factor * (images - target)).clamp(0, 1), images)


def _smoothed(images: Images) -> Images:
    """Return what Pillow's smoothing does: a pixel counts five times, each neighbour once; the edge stays as it is."""
    rows = images[:, :, :-2] + images[:, :, 1:-1] + images[:, :, 2:]
    inner = slice(1, -1)
    smooth = images.clone()
    smooth[:, :, inner, inner] *= 4 / 13
    smooth[:, :, inner, inner] += (rows[..., :-2] + rows[..., inner] + rows[..., 2:]) / 13
    return smooth


def _with_other_levels(images: Images, kinds: Kinds, strengths: Float[Tensor, " n"]) -> Images:
    """Posterise, solarise, equalise and stretch the contrast; levels are bytes where their number counts."""
    levels = (images.clamp(0, 1) * (LEVELS - 1)).round().long()
    changed = {
        "posterise": _posterised(levels, strengths),
        "solarise": torch.where(levels < (LEVELS * (1 - strengths))[:, None, None, None], images, 1 - images),
        "equalise": _equalised(levels, images),
        "autocontrast": _stretched(images),
    }
    for name, result in changed.items():
        images = _where(kinds == OPERATIONS.index(name), result, images)
    return images


def _posterised(levels: Int64[Tensor, "n c h w"], strengths: Float[Tensor, " n"]) -> Images:
    cleared = (MOST_BITS * strengths).round().long()
    mask = torch.bitwise_left_shift(torch.full_like(cleared, LEVELS - 1), cleared)
    return (levels & mask[:, None, None, None]) / (LEVELS - 1)


def _equalised(levels: Int64[Tensor, "n c h w"], images: Images) -> Images:
    """Give each level of a channel the share of pixels below it, without the highest level, which becomes white.

    Pillow divides whole numbers here, which leaves few levels in images of few pixels; the limit for large images is
    the same. A channel of one level stays as it is.
    """
    flat = levels.flatten(2)
    counts = torch.zeros(*flat.shape[:2], LEVELS, dtype=flat.dtype, device=flat.device)
    counts = counts.scatter_add_(2, flat, torch.ones_like(flat))
    below = counts.cumsum(2) - counts
    others = below.gather(2, flat.amax(2, keepdim=True))
    shares = (below / others.clamp(min=1)).gather(2, flat).view(images.shape)
    return torch.where(others[..., None] > 0, shares, images)


def _stretched(images: Images) -> Images:
    """Stretch each channel to the range from black to white; a channel of one level stays as it is."""
    darkest, lightest = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    span = lightest - darkest
    return torch.where(span > 0, (images - darkest) / span, images)


def _where(chosen: Tensor, changed: Tensor, images: Images) -> Images:
    return torch.where(chosen[:, None, None, None], changed, images)
