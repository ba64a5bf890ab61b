"""Losses: the mean over a batch, from logits and target probabilities.

If images have weights, each image's loss is multiplied by its weight before the mean is taken.
"""

from collections.abc import Callable

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

# The capsule of a present class should be longer than PRESENT, that of an absent class shorter than ABSENT.
PRESENT, ABSENT, ABSENT_WEIGHT = 0.9, 0.1, 0.5
Logits = Float[Tensor, "n classes"]
Targets = Float[Tensor, "n classes"]
Weights = Float[Tensor, " n"] | None
Objective = Callable[[Logits, Targets, Weights], Float[Tensor, ""]]


def cross_entropy(logits: Logits, targets: Targets, weights: Weights = None) -> Float[Tensor, ""]:
    """Return the mean cross-entropy between targets and softmax, in nats."""
    return F.cross_entropy(logits, targets if weights is None else targets * weights[:, None])


def squared_error(logits: Logits, targets: Targets, weights: Weights = None) -> Float[Tensor, ""]:
    """Return the mean squared distance between targets and softmax, summed over classes (Brier, 1950)."""
    return _mean((logits.softmax(1) - targets).square().sum(1), weights)


def margin(lengths: Logits, targets: Targets, weights: Weights = None) -> Float[Tensor, ""]:
    """Return the margin loss of capsule lengths (Sabour, Frosst and Hinton, 2017, equation 4), summed over classes."""
    present = targets * (PRESENT - lengths).clamp(min=0).square()
    absent = (1 - targets) * (lengths - ABSENT).clamp(min=0).square()
    return _mean((present + ABSENT_WEIGHT * absent).sum(1), weights)


def _mean(losses: Float[Tensor, " n"], weights: Weights) -> Float[Tensor, ""]:
    return losses.mean() if weights is None else (losses * weights).mean()


OBJECTIVES: dict[str, Objective] = {
    "cross-entropy": cross_entropy,
    "squared-error": squared_error,
    "margin": margin,
}
