"""Whether a stated probability is met, bins of confidence and their error; and the temperature that mends it."""

from dataclasses import dataclass
from math import log

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

BINS = 15
LARGEST_FACTOR = 100.0
"""Temperatures are between its inverse and itself."""


@dataclass(frozen=True)
class Bin:
    """Images whose confidence lies in one interval: mean confidence, accuracy, and how many there are."""

    confidence: float
    accuracy: float
    count: int


def reliability(logits: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"], bins: int = BINS) -> list[Bin]:
    """Divide images into equal intervals of confidence, the largest probability; empty bins are left out."""
    confidence, predicted = logits.double().softmax(1).max(1)
    correct = (predicted == labels).double()
    index = (confidence * bins).ceil().long().clamp(1, bins) - 1  # intervals are open below and closed above
    result = []
    for members in (index == number for number in range(bins)):
        count = int(members.sum())
        if count:
            result.append(Bin(confidence[members].mean().item(), correct[members].mean().item(), count))
    return result


def expected_calibration_error(bins: list[Bin]) -> float:
    """Return the mean gap between confidence and accuracy, weighted by images (Naeini et al., 2015), 0 to 1."""
    total = sum(item.count for item in bins)
    return sum(abs(item.confidence - item.accuracy) * item.count for item in bins) / total


def confidence_and_prediction(logits: Float[Tensor, "n classes"]) -> tuple[Tensor, Tensor]:
    """Return each image's largest probability and its class."""
    confidence, predicted = torch.max(logits.softmax(1), dim=1)
    return confidence, predicted


def fit_temperature(logits: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"]) -> float:
    """Return the number that logits are divided by so that their cross-entropy is least (Guo et al., 2017).

    Never a favoured class changes by it. Where every image is classified right no finite one is best; the search then
    ends at LARGEST_FACTOR below or above 1.
    """
    scores, bound = logits.double(), log(LARGEST_FACTOR)
    logarithm = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([logarithm], max_iter=50, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(scores / logarithm.clamp(-bound, bound).exp(), labels)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return float(logarithm.detach().clamp(-bound, bound).exp())
