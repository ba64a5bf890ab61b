"""What training makes small: mean over a batch, from logits and target probabilities."""

from collections.abc import Callable

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

# A present class's capsule should be longer than the first, an absent one's shorter than the second.
PRESENT, ABSENT, ABSENT_WEIGHT = 0.9, 0.1, 0.5
Objective = Callable[[Float[Tensor, "n classes"], Float[Tensor, "n classes"]], Float[Tensor, ""]]


def cross_entropy(logits: Float[Tensor, "n classes"], targets: Float[Tensor, "n classes"]) -> Float[Tensor, ""]:
    """Return the mean cross-entropy between targets and softmax, in nats."""
    return F.cross_entropy(logits, targets)


def squared_error(logits: Float[Tensor, "n classes"], targets: Float[Tensor, "n classes"]) -> Float[Tensor, ""]:
    """Return the mean squared distance between targets and softmax, summed over classes (Brier, 1950)."""
    return (logits.softmax(1) - targets).square().sum(1).mean()


def margin(lengths: Float[Tensor, "n classes"], targets: Float[Tensor, "n classes"]) -> Float[Tensor, ""]:
    """Return the margin loss of capsule lengths (Sabour, Frosst and Hinton, 2017, equation 4), summed over classes."""
    present = targets * (PRESENT - lengths).clamp(min=0).square()
    absent = (1 - targets) * (lengths - ABSENT).clamp(min=0).square()
    return (present + ABSENT_WEIGHT * absent).sum(1).mean()


OBJECTIVES: dict[str, Objective] = {
    "cross-entropy": cross_entropy,
    "squared-error": squared_error,
    "margin": margin,
}
