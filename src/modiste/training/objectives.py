"""What training makes small: mean over a batch, from logits and target probabilities."""

from collections.abc import Callable

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Objective = Callable[[Float[Tensor, "n classes"], Float[Tensor, "n classes"]], Float[Tensor, ""]]


def cross_entropy(logits: Float[Tensor, "n classes"], targets: Float[Tensor, "n classes"]) -> Float[Tensor, ""]:
    """Return the mean cross-entropy between targets and softmax, in nats."""
    return F.cross_entropy(logits, targets)


def squared_error(logits: Float[Tensor, "n classes"], targets: Float[Tensor, "n classes"]) -> Float[Tensor, ""]:
    """Return the mean squared distance between targets and softmax, summed over classes (Brier, 1950)."""
    return (logits.softmax(1) - targets).square().sum(1).mean()


OBJECTIVES: dict[str, Objective] = {
    "cross-entropy": cross_entropy,
    "squared-error": squared_error,
}
