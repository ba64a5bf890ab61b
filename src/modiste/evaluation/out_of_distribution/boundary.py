"""The linear boundary of the novelty score, and the images that it is learned from.

The boundary is learned from examples of both kinds (outlier exposure: Hendrycks, Mazeika and Dietterich, 2019). Some
are still garments, as a careless photo shows them. The others are garments cut up and put together wrongly, and plain
random shapes. A generator draws them, so that the same run always learns from the same images. The classifier is a
logistic regression on features that are scaled and clipped.
"""

from dataclasses import dataclass, replace
from math import pi
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from modiste.data import augment
from modiste.data.batch import as_floats

Images = Float[Tensor, "n c h w"]
Bytes = UInt8[Tensor, "n c h w"]

MOST_DEGREES = 15.0
MOST_SHAPES = 8
GROUND = 8 / 255
"""Up to this brightness a pixel is ground."""


def still_garments(images: Bytes, generator: torch.Generator) -> Bytes:
    """Turn images by up to MOST_DEGREES, soften them, and frame them anew."""
    turned = augment.rotate(as_floats(images), MOST_DEGREES, generator)
    return as_bytes(framed(softened(turned, 0.5, generator)))


def nothing(images: Bytes, generator: torch.Generator) -> Bytes:
    """Return so many images of nothing: a quarter cut in four, a quarter in sixteen, the others shapes."""
    quarter = len(images) // 4
    floats = as_floats(images)
    halves, quarters = cut_up(floats[:quarter], 2, generator), cut_up(floats[quarter : 2 * quarter], 4, generator)
    return as_bytes(torch.cat([halves, quarters, shapes(floats[2 * quarter :], generator)]))


def cut_up(images: Images, parts: int, generator: torch.Generator) -> Images:
    """Cut each image in ``parts`` times ``parts`` tiles and lay them in another order."""
    count, channels, height, width = images.shape
    tall, wide = height // parts, width // parts
    tiles = images[:, :, : parts * tall, : parts * wide].reshape(count, channels, parts, tall, parts, wide)
    tiles = tiles.permute(0, 2, 4, 1, 3, 5).reshape(count, parts**2, channels, tall, wide)
    order = torch.rand(count, parts**2, generator=generator).argsort(1)
    tiles = tiles[torch.arange(count)[:, None], order].reshape(count, parts, parts, channels, tall, wide)
    whole = tiles.permute(0, 3, 1, 4, 2, 5).reshape(count, channels, parts * tall, parts * wide)
    return F.pad(whole, (0, width - parts * wide, 0, height - parts * tall))


def shapes(like: Images, generator: torch.Generator) -> Images:
    """Draw up to MOST_SHAPES ellipses and boxes over each other, some rings or holes, framed as garments are."""
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


def softened(images: Images, most: float, generator: torch.Generator) -> Images:
    """Blend each image with its blurred self, by up to ``most``."""
    blurred = F.avg_pool2d(images, 3, stride=1, padding=1, count_include_pad=False)
    return images.lerp(blurred, most * torch.rand(len(images), 1, 1, 1, generator=generator))


def framed(images: Images) -> Images:
    """Enlarge what is not ground until it reaches two sides, centred, as the data set's images are."""
    is_seen = images.amax(1) > GROUND
    (top, bottom), (left, right) = (_extent(is_seen.any(axis)) for axis in (2, 1))
    scale = torch.maximum(bottom - top, right - left)
    middle = torch.stack([left + right - 1, top + bottom - 1], dim=1)
    maps = torch.cat([torch.diag_embed(scale[:, None].expand(-1, 2)), middle[:, :, None]], dim=2)
    grid = F.affine_grid(maps, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def as_bytes(images: Images) -> Bytes:
    """Return images in [0, 1] as bytes."""
    return (images * 255).round().to(torch.uint8)


def _extent(is_seen: Tensor) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Return where the first and the last True of each row begin and end, as shares of the row; 0 and 1 if none."""
    length, flags = is_seen.shape[1], is_seen.int()
    return flags.argmax(1) / length, 1 - flags.flip(1).argmax(1) / length


FARTHEST = 8.0
"""Deviations beyond which a feature counts no more, so that no single one outweighs all others."""
ROUNDING = 1e-5
"""Share of the mean magnitude of the features below which differences are rounding."""
LEAST_DEVIATION = 0.01
"""Of heights that are brought to a deviation of 1: images that do not differ have none."""
DECAY = 1e-4
ITERATIONS = 100


@dataclass(frozen=True)
class Boundary:
    """A plane, and how far above it features lie.

    Attributes:
        centre: mean of each feature.
        spread: deviation of each.
        weights: of the features after that.
        bias: what is added, a vector of one number.
    """

    NAMES: ClassVar = ("centre", "spread", "weights", "bias")
    centre: Float[Tensor, " d"]
    spread: Float[Tensor, " d"]
    weights: Float[Tensor, " d"]
    bias: Float[Tensor, " 1"]

    def tensors(self) -> dict[str, Tensor]:
        """Return what it consists of, by name."""
        return {name: getattr(self, name) for name in self.NAMES}

    def heights(self, features: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Return how far above the plane each vector lies, in the units of a logit, until ``standardised``."""
        centre, spread, weights, bias = (one.to(features.device) for one in self.tensors().values())
        return _scaled(features, centre, spread) @ weights + bias

    def standardised(self, features: Float[Tensor, "n d"]) -> "Boundary":
        """Return the same plane, the heights of these features 0 in the mean with a deviation of 1."""
        deviation, mean = torch.std_mean(self.heights(features), correction=0)
        scale = 1 / deviation.clamp(min=LEAST_DEVIATION)
        return replace(self, weights=self.weights * scale, bias=(self.bias - mean) * scale)


def separate(inside: Float[Tensor, "n d"], outside: Float[Tensor, "m d"]) -> Boundary:
    """Return the plane that has ``inside`` below it and ``outside`` above; both count alike, however many they are."""
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
