"""Calibration: bins of confidence, the expected calibration error, and temperature scaling."""

from dataclasses import dataclass
from math import sqrt

import torch
from jaxtyping import Float, Int64
from torch import Tensor

BINS = 15
LARGEST_FACTOR = 100.0
"""A temperature lies between 1 / LARGEST_FACTOR and LARGEST_FACTOR."""
MOST_STEPS = 100
"""Limit of Newton's method, which usually needs about eight steps."""
PRECISION = 1e-12
"""Relative change of the temperature below which the search ends."""


@dataclass(frozen=True)
class Bin:
    """Images whose confidence lies in one interval: mean confidence, accuracy, and number of images."""

    confidence: float
    accuracy: float
    count: int


def reliability(logits: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"], bins: int = BINS) -> list[Bin]:
    """Return the bins of a reliability diagram: ``bins`` equal intervals of confidence, without the empty ones.

    The confidence of an image is its largest probability.
    """
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
    """Return the mean gap between confidence and accuracy, weighted by images (Naeini et al., 2015), 0 to 1.

    >>> expected_calibration_error([Bin(confidence=0.75, accuracy=0.5, count=4), Bin(1.0, 1.0, 4)])
    0.125
    """
    total = sum(item.count for item in bins)
    return sum(abs(item.confidence - item.accuracy) * item.count for item in bins) / total


def confidence_and_prediction(logits: Float[Tensor, "n classes"]) -> tuple[Tensor, Tensor]:
    """Return each image's largest probability and its class."""
    confidence, predicted = torch.max(logits.softmax(1), dim=1)
    return confidence, predicted


def fit_temperature(logits: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"]) -> float:
    """Return the temperature that minimises the cross-entropy of the logits divided by it (Guo et al., 2017).

    Temperature scaling never changes the predicted class. If every image is classified correctly, no finite
    temperature is optimal. The search then ends when the loss is 0 up to rounding, or at 1 / LARGEST_FACTOR.

    The method is Newton's on the inverse temperature, kept within bounds. We do not use torch's optimizers: they load
    torch's compiler, which takes longer than everything else that a prediction needs.
    """
    scores = logits.double()
    right = scores.gather(1, labels[:, None])
    low, inverse, high = 1 / LARGEST_FACTOR, 1.0, LARGEST_FACTOR
    for _ in range(MOST_STEPS):
        slope, curvature = derivatives(inverse, scores, right)
        low, high = (low, inverse) if slope > 0 else (inverse, high)
        ahead = inverse - slope / curvature if curvature else inverse
        is_saturated = slope > 0 and not curvature  # every probability is 0 or 1, and some are wrong
        following = ahead if low <= ahead <= high and not is_saturated else sqrt(low * high)
        if abs(following - inverse) <= PRECISION * inverse:
            break
        inverse = following
    return 1 / inverse


def derivatives(inverse: float, scores: Float[Tensor, "n classes"], right: Float[Tensor, "n 1"]) -> tuple[float, float]:
    """Return the first and second derivative of the mean cross-entropy with respect to the inverse temperature.

    The first is the mean of (expected score - score of the label). The second is the mean variance of the scores. It is
    never negative, so the loss is convex.

    Args:
        inverse: The inverse temperature.
        scores: The logits.
        right: The logit of each image's label.
    """
    probabilities = (inverse * scores).softmax(1)
    expected = (probabilities * scores).sum(1, keepdim=True)
    variance = (probabilities * (scores - expected).square()).sum(1)
    return (expected - right).mean().item(), variance.mean().item()
