"""Whether a stated probability is met, bins of confidence and their error; and the temperature that mends it."""

from dataclasses import dataclass
from math import sqrt

import torch
from jaxtyping import Float, Int64
from torch import Tensor

BINS = 15
LARGEST_FACTOR = 100.0
"""Temperatures are between its inverse and itself."""
MOST_STEPS, PRECISION = 100, 1e-12
"""Of Newton's method, which takes about eight."""


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
    ends where the loss is 0 but for rounding, or at LARGEST_FACTOR below or above 1. It is Newton's, on the inverse and
    between bounds; any of torch's would load torch's compiler, which takes longer than all else that predicting needs.
    """
    scores = logits.double()
    right = scores.gather(1, labels[:, None])
    low, inverse, high = 1 / LARGEST_FACTOR, 1.0, LARGEST_FACTOR
    for _ in range(MOST_STEPS):
        slope, curvature = derivatives(inverse, scores, right)
        low, high = (low, inverse) if slope > 0 else (inverse, high)
        ahead = inverse - slope / curvature if curvature else inverse
        following = ahead if low <= ahead <= high else sqrt(low * high)
        if abs(following - inverse) <= PRECISION * inverse:
            break
        inverse = following
    return 1 / inverse


def derivatives(inverse: float, scores: Float[Tensor, "n classes"], right: Float[Tensor, "n 1"]) -> tuple[float, float]:
    """Return the first and second derivative of the mean cross-entropy by the inverse temperature.

    They are how far the expected score lies above the right one, and the variance of the score, never below 0: the loss
    has one valley.
    """
    probabilities = (inverse * scores).softmax(1)
    expected = (probabilities * scores).sum(1, keepdim=True)
    variance = (probabilities * (scores - expected).square()).sum(1)
    return (expected - right).mean().item(), variance.mean().item()
