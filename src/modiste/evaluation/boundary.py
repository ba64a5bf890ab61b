"""A plane between two kinds of features: logistic regression, on features brought to one scale and cut off far out."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

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
