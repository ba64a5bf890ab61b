"""Images of none of the classes: images of the classes cut into tiles, and random shapes."""

from math import pi

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from modiste.data.garment_changes import framed

Images = Float[Tensor, "n c h w"]

MOST_SHAPES = 8
"""Largest number of random shapes in an image."""


def outlier_images(images: Images, generator: torch.Generator) -> Images:
    """Return as many images of no class as ``images``.

    A quarter are images cut into 2 x 2 tiles, a quarter images cut into 4 x 4 tiles, and the rest random shapes.
    """
    quarter = len(images) // 4
    coarse = shuffled_tiles(images[:quarter], 2, generator)
    fine = shuffled_tiles(images[quarter : 2 * quarter], 4, generator)
    return torch.cat([coarse, fine, random_shapes(images[2 * quarter :], generator)])


def shuffled_tiles(images: Images, parts: int, generator: torch.Generator) -> Images:
    """Cut each image into ``parts`` x ``parts`` tiles and arrange them in random order, which is never their own."""
    count, channels, height, width = images.shape
    tall, wide = height // parts, width // parts
    tiles = images[:, :, : parts * tall, : parts * wide].reshape(count, channels, parts, tall, parts, wide)
    tiles = tiles.permute(0, 2, 4, 1, 3, 5).reshape(count, parts**2, channels, tall, wide)
    order = torch.rand(count, parts**2, generator=generator, device=images.device).argsort(1)
    own = torch.arange(parts**2, device=images.device)
    order = torch.where((order == own).all(1, keepdim=True), own.roll(1), order)
    tiles = tiles[torch.arange(count, device=images.device)[:, None], order].reshape(
        count, parts, parts, channels, tall, wide
    )
    whole = tiles.permute(0, 3, 1, 4, 2, 5).reshape(count, channels, parts * tall, parts * wide)
    return F.pad(whole, (0, width - parts * wide, 0, height - parts * tall))


def random_shapes(like: Images, generator: torch.Generator) -> Images:
    """Return images of the same shape with up to MOST_SHAPES overlapping ellipses and boxes, framed as garments are.

    Some shapes are rings, some are holes in the shapes below them.
    """
    (count, channels, height, width), device = like.shape, like.device
    sides = (torch.linspace(-1, 1, side, device=device) for side in (height, width))
    rows, columns = torch.meshgrid(*sides, indexing="ij")
    number = torch.randint(1, MOST_SHAPES + 1, (count, 1, 1, 1), generator=generator, device=device)
    drawn = torch.zeros(like.shape, device=device)

    def draw(*shape: int) -> Tensor:
        return torch.rand(count, *(shape or (1, 1, 1)), generator=generator, device=device)

    for layer in range(MOST_SHAPES):
        reach, size = (0.3, 1.0) if layer == 0 else (0.8, 0.6)
        right, down, angle = reach * (2 * draw() - 1), reach * (2 * draw() - 1), pi * draw()
        long, short = 0.05 + 0.9 * size * draw() ** 1.5, 0.05 + 0.9 * size * draw() ** 1.5
        along = ((columns - right) * angle.cos() + (rows - down) * angle.sin()) / long
        across = ((rows - down) * angle.cos() - (columns - right) * angle.sin()) / short
        away = torch.where(draw() < 0.5, (along**2 + across**2).sqrt(), torch.maximum(along.abs(), across.abs()))
        inside = (away < 1) & ((draw() > 0.25) | (away > 0.7)) & (layer < number)
        is_hole = (draw() < 0.25) & (layer > 0)
        brightness = (0.1 + 0.9 * draw(channels, 1, 1)) * ~is_hole
        drawn = torch.where(inside, brightness, drawn)
    grain = 0.05 * draw() * torch.randn(like.shape, generator=generator, device=device)
    return softened(framed((drawn + grain * (drawn > 0)).clamp(0, 1)), 1.0, generator)


def softened(images: Images, most: float, generator: torch.Generator, *, least: float = 0.0) -> Images:
    """Blend each image with a blurred copy of itself; the copy's share is drawn between ``least`` and ``most``.

    A negative share sharpens the image, as the photo pipeline does.
    """
    blurred = F.avg_pool2d(images, 3, stride=1, padding=1, count_include_pad=False)
    share = least + (most - least) * torch.rand(len(images), 1, 1, 1, generator=generator, device=images.device)
    return images.lerp(blurred, share).clamp(0, 1)
