"""The linear boundary of the novelty score, and the images that it is learned from.

The boundary separates images of the classes from images that show none of them. It is learned from examples of both
(outlier exposure: Hendrycks, Mazeika and Dietterich, 2019). The in-distribution examples include garments altered as in
a careless photo. The out-of-distribution examples are garments cut up and rearranged, and random shapes. One generator
draws them all, so that the same run always learns from the same images. The classifier is a logistic regression on
features that are scaled and clipped.
"""

from dataclasses import dataclass, replace
from math import log, pi
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from modiste.data import augment
from modiste.data.batch import as_floats
from modiste.recipes.recipe import AugmentationRecipe

Images = Float[Tensor, "n c h w"]
Bytes = UInt8[Tensor, "n c h w"]

FARTHEST = 8.0
"""Features are clipped at this many standard deviations, so that no single one outweighs all others."""
ROUNDING = 1e-5
"""Differences between features below this share of their mean magnitude are rounding errors."""
LEAST_DEVIATION = 0.01
"""Lower bound of the standard deviation that heights are divided by; it would be 0 if all images were equal."""
DECAY = 1e-4
"""Weight of the squared weights in the loss of the logistic regression."""
ITERATIONS = 100
"""Limit of the logistic regression's optimizer."""

MOST_DEGREES = 15.0
"""Largest rotation of an in-distribution example."""
STRETCH = 0.85, 1.5
"""Least and largest width of an in-distribution example, as a multiple of its own: people lay garments wider."""
MOST_CONTRAST = 1.65
"""Largest exponent of the brightness of an in-distribution example, and the inverse of the smallest."""
DARKEST = 0.4
"""Largest loss of brightness of an in-distribution example, as a share of its own."""
SOFTEST, SHARPEST = 0.7, 0.75
"""Largest shares of blur and of sharpening in an in-distribution example; the photo pipeline sharpens by 0.75."""
MOST_SHAPES = 8
"""Largest number of random shapes in an image."""
BACKGROUND = 8 / 255
"""Pixels up to this brightness are background."""


@dataclass(frozen=True)
class Boundary:
    """A linear boundary in the space of the features.

    Attributes:
        centre: mean of each feature.
        spread: standard deviation of each feature.
        weights: of the scaled features.
        bias: a vector of one number.
    """

    NAMES: ClassVar = ("centre", "spread", "weights", "bias")
    centre: Float[Tensor, " d"]
    spread: Float[Tensor, " d"]
    weights: Float[Tensor, " d"]
    bias: Float[Tensor, " 1"]

    def tensors(self) -> dict[str, Tensor]:
        """Return the attributes by name."""
        return {name: getattr(self, name) for name in self.NAMES}

    def heights(self, features: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Return each image's height above the boundary: a logit, or its standardised value after ``standardised``."""
        centre, spread, weights, bias = (one.to(features.device) for one in self.tensors().values())
        return _scaled(features, centre, spread) @ weights + bias

    def standardised(self, features: Float[Tensor, "n d"]) -> "Boundary":
        """Return the same boundary, rescaled so that these features' heights have mean 0 and standard deviation 1."""
        deviation, mean = torch.std_mean(self.heights(features), correction=0)
        scale = 1 / deviation.clamp(min=LEAST_DEVIATION)
        return replace(self, weights=self.weights * scale, bias=(self.bias - mean) * scale)


def separate(inside: Float[Tensor, "n d"], outside: Float[Tensor, "m d"]) -> Boundary:
    """Return the boundary with ``inside`` below it and ``outside`` above it.

    Both sets have the same total weight in the loss, whatever their sizes.
    """
    inside, outside = inside.double(), outside.double()
    centre, spread = inside.mean(0), inside.std(0) + 1e-3 * inside.std() + ROUNDING * inside.abs().mean() + 1e-12
    inside, outside = (_scaled(one, centre, spread) for one in (inside, outside))
    weights, bias = (torch.zeros(size, dtype=torch.float64, requires_grad=True) for size in (len(centre), 1))
    optimizer = torch.optim.LBFGS([weights, bias], max_iter=ITERATIONS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        below, above = F.softplus(inside @ weights + bias).mean(), F.softplus(-outside @ weights - bias).mean()
        total = below + above + DECAY * weights.square().sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return Boundary(centre, spread, weights.detach(), bias.detach())


def _scaled(features: Tensor, centre: Tensor, spread: Tensor) -> Float[Tensor, "n d"]:
    return ((features.double() - centre) / spread).clamp(-FARTHEST, FARTHEST)


def in_distribution_images(images: Bytes, changes: AugmentationRecipe, generator: torch.Generator) -> Bytes:
    """Return the images as training may show them, and as the photo pipeline makes them of a careless photo.

    Each image gets the changes of training, except mirroring. Then it is rotated by up to MOST_DEGREES, made wider or
    narrower, framed again, given another brightness and contrast, and made softer or sharper.
    """
    changed = as_floats(images)
    for name, change in augment.CHANGES.items():
        if name != "flip" and (strength := getattr(changes, name)):
            changed = change(changed, strength, generator)
    laid = stretched(augment.rotate(changed, MOST_DEGREES, generator), generator)
    return as_bytes(softened(toned(framed(laid), generator), SOFTEST, generator, least=-SHARPEST))


def out_of_distribution_images(images: Bytes, generator: torch.Generator) -> Bytes:
    """Return as many images of no class as ``images``.

    A quarter are images cut into 2 x 2 tiles, a quarter images cut into 4 x 4 tiles, and the rest random shapes.
    """
    quarter = len(images) // 4
    floats = as_floats(images)
    coarse = shuffled_tiles(floats[:quarter], 2, generator)
    fine = shuffled_tiles(floats[quarter : 2 * quarter], 4, generator)
    return as_bytes(torch.cat([coarse, fine, random_shapes(floats[2 * quarter :], generator)]))


def shuffled_tiles(images: Images, parts: int, generator: torch.Generator) -> Images:
    """Cut each image into ``parts`` x ``parts`` tiles and arrange them in random order."""
    count, channels, height, width = images.shape
    tall, wide = height // parts, width // parts
    tiles = images[:, :, : parts * tall, : parts * wide].reshape(count, channels, parts, tall, parts, wide)
    tiles = tiles.permute(0, 2, 4, 1, 3, 5).reshape(count, parts**2, channels, tall, wide)
    order = torch.rand(count, parts**2, generator=generator).argsort(1)
    tiles = tiles[torch.arange(count)[:, None], order].reshape(count, parts, parts, channels, tall, wide)
    whole = tiles.permute(0, 3, 1, 4, 2, 5).reshape(count, channels, parts * tall, parts * wide)
    return F.pad(whole, (0, width - parts * wide, 0, height - parts * tall))


def random_shapes(like: Images, generator: torch.Generator) -> Images:
    """Return images of the same shape with up to MOST_SHAPES overlapping ellipses and boxes, framed as garments are.

    Some shapes are rings, some are holes in the shapes below them.
    """
    count, channels, height, width = like.shape
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    number = torch.randint(1, MOST_SHAPES + 1, (count, 1, 1, 1), generator=generator)
    drawn = torch.zeros(like.shape)

    def draw(*shape: int) -> Tensor:
        return torch.rand(count, *(shape or (1, 1, 1)), generator=generator)

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
    grain = 0.05 * torch.rand(count, 1, 1, 1, generator=generator) * torch.randn(like.shape, generator=generator)
    return softened(framed((drawn + grain * (drawn > 0)).clamp(0, 1)), 1.0, generator)


def softened(images: Images, most: float, generator: torch.Generator, *, least: float = 0.0) -> Images:
    """Blend each image with a blurred copy of itself; the copy's share is drawn between ``least`` and ``most``.

    A negative share sharpens the image, as the photo pipeline does.
    """
    blurred = F.avg_pool2d(images, 3, stride=1, padding=1, count_include_pad=False)
    share = least + (most - least) * torch.rand(len(images), 1, 1, 1, generator=generator)
    return images.lerp(blurred, share).clamp(0, 1)


def stretched(images: Images, generator: torch.Generator) -> Images:
    """Make each image narrower or wider, by a factor drawn from STRETCH, and shrink it as much as that needs."""
    narrowest, widest = STRETCH
    wider = narrowest * (widest / narrowest) ** torch.rand(len(images), generator=generator)
    shrunk = wider.clamp(min=1)
    maps = torch.diag_embed(torch.stack([shrunk / wider, shrunk], dim=1))
    grid = F.affine_grid(F.pad(maps, (0, 1)), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def toned(images: Images, generator: torch.Generator) -> Images:
    """Change the brightness of each image, and the contrast between its light and dark parts."""
    contrast, brightness = torch.rand(2, len(images), 1, 1, 1, generator=generator)
    exponent = torch.exp((2 * contrast - 1) * log(MOST_CONTRAST))
    shown: Images = (1 - DARKEST * brightness) * images.clamp(min=0).pow(exponent)
    return shown


def framed(images: Images) -> Images:
    """Enlarge the foreground until it touches two opposite sides, centred as in the data set's images."""
    is_seen = images.amax(1) > BACKGROUND
    (top, bottom), (left, right) = (_extent(is_seen.any(axis)) for axis in (2, 1))
    scale = torch.maximum(bottom - top, right - left)
    middle = torch.stack([left + right - 1, top + bottom - 1], dim=1)
    maps = torch.cat([torch.diag_embed(scale[:, None].expand(-1, 2)), middle[:, :, None]], dim=2)
    grid = F.affine_grid(maps, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _extent(is_seen: Tensor) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Return the start of the first True and the end of the last in each row, as shares of its length; 0, 1 if none."""
    length, flags = is_seen.shape[1], is_seen.int()
    return flags.argmax(1) / length, 1 - flags.flip(1).argmax(1) / length


def as_bytes(images: Images) -> Bytes:
    """Return images in [0, 1] as bytes."""
    return (images * 255).round().to(torch.uint8)
