"""Power: how many seeds a comparison needs, from the scatter that a first one measured."""

from collections.abc import Callable
from math import sqrt

import numpy as np
from jaxtyping import Float

from modiste.errors import extra_for
from modiste.evaluation.statistics import quantiles

EXTRA = ("the power of a comparison", "SciPy", "evaluation")
POWER = 0.8
"""Usual probability with which a comparison should show what is true (Cohen, 1988)."""
MOST_SEEDS = 100_000
"""No larger number of seeds is considered."""
GRID = 200
"""Quantiles of the estimated variance over which the power is averaged."""


def power(
    effect: float, seeds: int, seed_variance: float, image_variance: float, level: float, least_variance: float = 0.0
) -> float:
    """Return the probability that a one-sided test over seeds and images shows an effect.

    The test is that of ``CrossedDifference.bounds``. Its estimate of the variance over seeds varies itself; the power
    is the mean over that. Where images add no variance, it is the power of Student's test.

    Args:
        effect: Distance of the true difference from the bound that the test should exclude; negative on the wrong side.
        seeds: Number of seeds, at least 2.
        seed_variance: Variance of the difference of a single seed.
        image_variance: Variance of the mean difference that images add.
        level: Level of the one-sided test.
        least_variance: Variance of the mean difference that the bound covers in any case; see ``CrossedDifference``.

    Raises:
        MissingExtraError: SciPy is not installed.

    >>> round(power(0.005, 5, seed_variance=0.003**2, image_variance=0.001**2, level=0.05), 2)
    0.83
    """
    with extra_for(*EXTRA):
        from scipy.special import ndtr
    of_t, of_normal = quantiles(level, seeds - 1)
    estimates = seed_variance * _chi_squared_ratios(seeds - 1)
    halves = np.sqrt(of_t**2 * estimates / seeds + of_normal**2 * image_variance)
    halves = np.maximum(halves, of_normal * sqrt(least_variance))
    deviation = sqrt(max(seed_variance / seeds + image_variance, least_variance))
    if deviation == 0:
        return float(effect > 0)
    return float(ndtr((effect - halves) / deviation).mean())


def fewest_seeds(suffice: Callable[[int], bool]) -> int | None:
    """Return the smallest number of seeds, at least 2, that suffices; None if ``MOST_SEEDS`` do not.

    Args:
        suffice: Whether a number of seeds suffices; a larger number than one that does must suffice too.

    >>> fewest_seeds(lambda seeds: power(0.005, seeds, 0.003**2, 0.001**2, level=0.05) >= POWER)
    5
    >>> fewest_seeds(lambda seeds: power(0.001, seeds, 0.003**2, 0.001**2, level=0.05) >= POWER) is None
    True
    """
    if not suffice(MOST_SEEDS):
        return None
    few, enough = 1, 2
    while not suffice(enough):
        few, enough = enough, min(2 * enough, MOST_SEEDS)
    while enough - few > 1:
        middle = (few + enough) // 2
        few, enough = (few, middle) if suffice(middle) else (middle, enough)
    return enough


def _chi_squared_ratios(freedom: int) -> Float[np.ndarray, " quantiles"]:
    """Return equally likely values of an estimated variance divided by the true one."""
    from scipy.special import chdtri

    return np.asarray(chdtri(freedom, (np.arange(GRID) + 0.5) / GRID)) / freedom
