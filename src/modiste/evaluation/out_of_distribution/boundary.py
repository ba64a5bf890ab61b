"""The linear boundary of the novelty score, and the images that it is learned from.

The boundary separates images of the classes from images that show none of them. It is learned from examples of both
(outlier exposure: Hendrycks, Mazeika and Dietterich, 2019). The in-distribution examples include garments altered as in
a careless photo. The out-of-distribution examples are garments cut up and rearranged, and random shapes. One generator
draws them all, so that the same run always learns from the same images. The classifier is a logistic regression on
features that are scaled and clipped.
"""

from dataclasses import dataclass, replace
from math import log
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from modiste.compat import without_compiler
from modiste.data import augment
from modiste.data.batch import as_floats
from modiste.data.by_class import outlier_images, softened
from modiste.data.garment_changes import framed
from modiste.data.geometry import warp
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


@dataclass(frozen=True)
class Boundary:
    """A linear boundary in the space of the features.

    Attributes:
        centre: Mean of each feature.
        spread: Standard deviation of each feature.
        weights: Weights of the scaled features.
        bias: A vector of one number.
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


@dataclass(frozen=True)
class Energy:
    """The energy of the logits, minus their log-sum-exp (Liu, Wang, Owens and Li, 2020).

    It takes the place of a boundary where training itself taught the network images of no class: these get logits that
    are equal and low. Centred it is a constant less the divergence of the probabilities from equal ones, which is what
    training lowers for images of no class, so that it is best for images like those. Halfway between the two it is best
    for images of other kinds, and differs least from seed to seed.

    Attributes:
        mean: Over images of the classes, a vector of one number.
        deviation: Standard deviation over them, likewise.
        centring: Share of the mean of each image's logits that is subtracted from them, likewise.
    """

    NAMES: ClassVar = ("mean", "deviation", "centring")
    WEIGHT: ClassVar = 5.0
    mean: Float[Tensor, " 1"]
    deviation: Float[Tensor, " 1"]
    centring: Float[Tensor, " 1"]

    @classmethod
    def of(cls, logits: Float[Tensor, "n classes"], *, centring: float) -> "Energy":
        """Return the energy with mean and deviation over these images of the classes."""
        zero, one, share = torch.tensor([[0.0], [1.0], [centring]], dtype=torch.float64)
        raw = cls(zero, one, share).heights(logits) / cls.WEIGHT
        deviation, mean = torch.std_mean(raw, correction=0)
        return cls(mean[None], deviation.clamp(min=LEAST_DEVIATION)[None], share)

    def tensors(self) -> dict[str, Tensor]:
        """Return the attributes by name."""
        return {name: getattr(self, name) for name in self.NAMES}

    def heights(self, logits: Float[Tensor, "n classes"]) -> Float[Tensor, " n"]:
        """Return WEIGHT times each image's standardised energy."""
        mean, deviation, centring = (one.to(logits.device) for one in self.tensors().values())
        precise = logits.double()
        energy = centring * precise.mean(1) - precise.logsumexp(1)
        return self.WEIGHT * (energy - mean) / deviation


def separate(inside: Float[Tensor, "n d"], outside: Float[Tensor, "m d"]) -> Boundary:
    """Return the boundary with ``inside`` below it and ``outside`` above it.

    Both sets have the same total weight in the loss, whatever their sizes.
    """
    inside, outside = inside.double(), outside.double()
    centre, spread = inside.mean(0), inside.std(0) + 1e-3 * inside.std() + ROUNDING * inside.abs().mean() + 1e-12
    inside, outside = (_scaled(one, centre, spread) for one in (inside, outside))
    weights, bias = (torch.zeros(size, dtype=torch.float64, requires_grad=True) for size in (len(centre), 1))
    with without_compiler():
        optimizer = torch.optim.LBFGS([weights, bias], max_iter=ITERATIONS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        weights.grad = bias.grad = None
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
    """Return as many images of no class as ``images``; see ``outlier_images``."""
    return as_bytes(outlier_images(as_floats(images), generator))


def stretched(images: Images, generator: torch.Generator) -> Images:
    """Make each image narrower or wider, by a factor drawn from STRETCH, and shrink it as much as that needs."""
    narrowest, widest = STRETCH
    wider = narrowest * (widest / narrowest) ** torch.rand(len(images), generator=generator)
    shrunk = wider.clamp(min=1)
    maps = torch.diag_embed(torch.stack([shrunk / wider, shrunk], dim=1))
    return warp(images, F.pad(maps, (0, 1)))


def toned(images: Images, generator: torch.Generator) -> Images:
    """Change the brightness of each image, and the contrast between its light and dark parts."""
    contrast, brightness = torch.rand(2, len(images), 1, 1, 1, generator=generator)
    exponent = torch.exp((2 * contrast - 1) * log(MOST_CONTRAST))
    shown: Images = (1 - DARKEST * brightness) * images.clamp(min=0).pow(exponent)
    return shown


def as_bytes(images: Images) -> Bytes:
    """Return images in [0, 1] as bytes."""
    return (images * 255).round().to(torch.uint8)
