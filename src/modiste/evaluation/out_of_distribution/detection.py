"""How well a score tells out-of-distribution images from images of the classes; the score of the former is higher.

All are pure functions of the scores of both kinds of image. Equal scores count as half, as in scikit-learn.
"""

from math import sqrt

import torch
from jaxtyping import Float
from torch import Tensor

from modiste.evaluation.statistics import NORMAL_95

ACCEPTED = 0.95
"""Share of the images of the classes that ``false_positive_rate`` accepts."""


def auroc(inside: Float[Tensor, " n"], outside: Float[Tensor, " m"]) -> float:
    """Return the probability that an image of ``outside`` has a higher score than one of ``inside``, 0 to 1.

    That is the area under the receiver operating characteristic.

    Example:
        >>> auroc(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 2.0]))
        0.875
    """
    return _higher_than(outside, inside).mean().item()


def auroc_interval(inside: Float[Tensor, " n"], outside: Float[Tensor, " m"]) -> tuple[float, float]:
    """Return the 95 % interval of the AUROC by the variance of DeLong, DeLong and Clarke-Pearson (1988), 0 to 1.

    Both sets need at least two images.
    """
    by_outside, by_inside = _higher_than(outside, inside), 1 - _higher_than(inside, outside)
    deviation = sqrt(by_outside.var().item() / len(outside) + by_inside.var().item() / len(inside))
    centre, half = by_outside.mean().item(), NORMAL_95 * deviation
    return max(0.0, centre - half), min(1.0, centre + half)


def false_positive_rate(inside: Float[Tensor, " n"], outside: Float[Tensor, " m"]) -> float:
    """Return the share of ``outside`` that is accepted by the lowest threshold that accepts ACCEPTED of ``inside``.

    Example:
        >>> false_positive_rate(torch.arange(100.0), torch.tensor([94.0, 95.0]))
        0.5
    """
    ordered = inside.sort().values
    threshold = ordered[max(0, -int(-ACCEPTED * len(inside) // 1) - 1)]  # the ceiling of the count, less one
    return (outside <= threshold).double().mean().item()


def average_precision(inside: Float[Tensor, " n"], outside: Float[Tensor, " m"]) -> float:
    """Return the area under the precision-recall curve, with ``outside`` as the class that is sought, 0 to 1.

    The area is a sum of steps, not interpolated: precision at each threshold, weighted by the gain in recall.

    Example:
        >>> average_precision(torch.tensor([0.0, 1.0]), torch.tensor([2.0, 0.5]))
        0.8333333333333333
    """
    scores, order = torch.cat([inside, outside]).sort(descending=True)
    is_sought = (order >= len(inside)).double()
    ends = torch.cat([scores[1:] != scores[:-1], torch.tensor([True])])  # equal scores are one threshold
    found = is_sought.cumsum(0)[ends]
    precision = found / torch.arange(1, len(scores) + 1)[ends]
    gain = found.diff(prepend=torch.zeros(1, dtype=torch.float64)) / len(outside)
    return (precision * gain).sum().item()


def _higher_than(some: Float[Tensor, " n"], others: Float[Tensor, " m"]) -> Float[Tensor, " n"]:
    """Return the share of ``others`` below each of ``some``; equal ones count as half."""
    ordered = others.sort().values
    below, up_to = (torch.searchsorted(ordered, some, right=right).double() for right in (False, True))
    return (below + up_to) / (2 * len(others))
