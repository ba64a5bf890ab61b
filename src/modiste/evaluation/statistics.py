"""The doubt that belongs to a number."""

from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist


def wilson_interval(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return Wilson's score interval (1927) of a share: better than the normal one near 0 and 1.

    Raises ValueError unless 0 <= successes <= trials and trials > 0.
    """
    if not 0 <= successes <= trials or trials == 0:
        raise ValueError(f"expected 0 <= successes <= trials > 0, found {successes} of {trials}")
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = successes / trials
    centre = share + z * z / (2 * trials)
    half = z * sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return max(0.0, min(share, (centre - half) / scale)), min(1.0, max(share, (centre + half) / scale))


@dataclass(frozen=True)
class PairedDifference:
    """How two classifiers differ on the same images.

    Attributes:
        difference: accuracy of the first minus that of the second.
        interval: its 95 % interval.
        p_value: probability of a difference as large or larger, if both were equally good.
        wins: images that the first alone gets right.
        losses: images that the second alone gets right.
    """

    difference: float
    interval: tuple[float, float]
    p_value: float
    wins: int
    losses: int


def paired_difference(wins: int, losses: int, trials: int) -> PairedDifference:
    """Compare two classifiers by the images that one alone gets right.

    The test is McNemar's (1947) in its exact, two-sided form; the interval is Agresti and Min's (2005), which adds half
    an image to each cell of the table.

    Raises ValueError unless wins and losses are at least 0 and together at most trials, and trials > 0.
    """
    if min(wins, losses) < 0 or wins + losses > trials or trials == 0:
        raise ValueError(f"expected wins + losses <= trials > 0, found {wins} and {losses} of {trials}")
    z, count = NormalDist().inv_cdf(0.975), trials + 2
    centre = (wins - losses) / count
    half = z * sqrt(wins + losses + 1 - count * centre**2) / count
    interval = max(-1.0, centre - half), min(1.0, centre + half)
    return PairedDifference((wins - losses) / trials, interval, _sign_test(wins, losses), wins, losses)


def _sign_test(wins: int, losses: int) -> float:
    """Return the exact two-sided probability of a split as uneven as this, in whole numbers until the last division."""
    number = wins + losses
    term = total = 1
    for index in range(min(wins, losses)):
        term = term * (number - index) // (index + 1)
        total += term
    return float(min(1.0, 2 * total / 2**number))
