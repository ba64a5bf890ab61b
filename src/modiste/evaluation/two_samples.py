"""Differences between two samples: how large they are, how likely by chance, and Holm's correction for several.

This module needs no torch, because drift is tested where models are served.
"""

from collections.abc import Sequence
from math import exp, log, sqrt

import numpy as np
from jaxtyping import Float, Int64

from modiste.errors import extra_for

EXTRA = ("tests of drift", "SciPy", "evaluation")
LEAST_COUNT = 0.5
"""Added to every count for the stability index, whose logarithms know no 0."""
LEAST_EXPECTED = 2.0
"""Least number of values that the smaller sample should have of each bin in Pearson's test."""
TERMS = 100
"""Most terms of Kolmogorov's series."""


def population_stability_index(counts: Int64[np.ndarray, " k"], others: Int64[np.ndarray, " k"]) -> float:
    """Return the population stability index of two samples that were counted in the same bins, 0 or more.

    It is the sum of (p - q) log(p / q) over the bins: the symmetric divergence of Kullback and Leibler (1951). By the
    usual rule of thumb, below 0.1 little has changed, and above 0.25 much. By chance alone it is about
    (k - 1) (1 / n + 1 / m).

    >>> population_stability_index(np.array([500, 500]), np.array([500, 500]))
    0.0
    >>> round(population_stability_index(np.array([700, 300]), np.array([500, 500])), 3)
    0.169
    """
    shares, other_shares = ((one + LEAST_COUNT) / (one + LEAST_COUNT).sum() for one in (counts, others))
    return float(((shares - other_shares) * np.log(shares / other_shares)).sum())


def chi_squared_p(counts: Int64[np.ndarray, " k"], others: Int64[np.ndarray, " k"]) -> float:
    """Return the p-value of Pearson's test (1900) that two samples, counted in the same bins, have one distribution.

    Bins that are empty in both samples are left out. Those of which the smaller sample should have fewer than
    LEAST_EXPECTED are counted together: a single value in a rare bin would otherwise be all but impossible by the law,
    and is not.

    Raises:
        ValueError: A sample is empty.
        MissingExtraError: SciPy is not installed.

    >>> round(chi_squared_p(np.array([60, 40]), np.array([50, 50])), 3)
    0.155
    """
    with extra_for(*EXTRA):
        from scipy.special import chdtrc
    table = np.stack([counts, others])[:, counts + others > 0].astype(np.float64)
    if not table.sum(1).all():
        raise ValueError("expected two samples, found an empty one")
    table = _rare_together(table)
    expected = table.sum(1, keepdims=True) * table.sum(0) / table.sum()
    freedom = table.shape[1] - 1
    return float(chdtrc(freedom, ((table - expected) ** 2 / expected).sum())) if freedom else 1.0


def _rare_together(table: Float[np.ndarray, "2 k"]) -> Float[np.ndarray, "2 m"]:
    """Return the counts of two samples with the rare bins as one, and as many more as give it LEAST_EXPECTED."""
    expected = table.sum(0) * table.sum(1).min() / table.sum()
    rare = int((expected < LEAST_EXPECTED).sum())
    if not rare:
        return table
    order = expected.argsort(kind="stable")
    together = max(rare, int(np.searchsorted(expected[order].cumsum(), LEAST_EXPECTED)) + 1)
    return np.column_stack([table[:, order[:together]].sum(1), table[:, order[together:]]])


def kolmogorov_distance(values: Float[np.ndarray, " n"], others: Float[np.ndarray, " m"]) -> float:
    """Return the largest difference between the shares of two samples that lie at or below a number, 0 to 1.

    >>> kolmogorov_distance(np.array([1.0, 2.0, 3.0, 4.0]), np.array([3.0, 4.0]))
    0.5
    """
    places = np.concatenate([values, others])
    below = np.searchsorted(np.sort(values), places, side="right") / len(values)
    return float(np.abs(below - np.searchsorted(np.sort(others), places, side="right") / len(others)).max())


def kolmogorov_p(distance: float, count: int, other_count: int) -> float:
    """Return the p-value of the test of Kolmogorov and Smirnov (1939) for a distance between two samples.

    The distribution is that of large samples with the correction of Stephens (1970), good from about ten values each.
    If values repeat, the p-value is too large, never too small.

    Args:
        distance: 0 to 1.
        count: Count of values in the first sample, 1 or more.
        other_count: In the second.

    >>> round(kolmogorov_p(0.1, 500, 500), 3)
    0.012
    """
    root = sqrt(effective_count(count, other_count))
    x = (root + 0.12 + 0.11 / root) * distance
    if x < 0.2:  # where the series converges slowly, and is 1 to twelve digits
        return 1.0
    total = sum((-1.0) ** (term - 1) * exp(-2 * (term * x) ** 2) for term in range(1, TERMS + 1))
    return min(1.0, max(0.0, 2 * total))


def significant_distance(level: float, count: int, other_count: int) -> float:
    """Return the distance between two samples whose p-value is ``level``, a small number.

    >>> round(kolmogorov_p(significant_distance(0.01, 900, 300), 900, 300), 4)
    0.01
    """
    root = sqrt(effective_count(count, other_count))
    return sqrt(-log(level / 2) / 2) / (root + 0.12 + 0.11 / root)


def significant_count(distance: float, level: float) -> float:
    """Return the effective size of two samples at which a distance has the p-value ``level``, in large samples.

    >>> round(significant_count(0.1, 0.01))
    265
    """
    return -log(level / 2) / 2 / distance**2


def effective_count(count: int, other_count: int) -> float:
    """Return the size of one sample that is as certain as the difference between two of these sizes."""
    return count * other_count / (count + other_count)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values adjusted for multiple comparisons by Holm's method (1979), in the order given.

    If every adjusted p-value below 0.05 is called significant, the probability of any error is at most 5 %.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted
