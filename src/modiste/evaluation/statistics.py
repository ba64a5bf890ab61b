"""The doubt that belongs to a number."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist, mean, stdev
from typing import Any

from jaxtyping import Float
from torch import Tensor

from modiste.errors import MissingExtraError

SMALLEST_P = 1e-12
"""What is more certain than this is not told apart."""


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
class Difference:
    """How two classifiers, or two ways of training one, differ on the same images.

    Attributes:
        difference: accuracy of the first minus that of the second.
        interval: its 95 % interval.
        p_value: probability of a difference as large or larger, if both were equally good.
    """

    difference: float
    interval: tuple[float, float]
    p_value: float


@dataclass(frozen=True)
class PairedDifference(Difference):
    """How two classifiers differ on the same images.

    Attributes:
        wins: images that the first alone gets right.
        losses: images that the second alone gets right.
    """

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


def crossed_difference(differences: Float[Tensor, "seeds images"]) -> Difference:
    """Compare two ways of training by several seeds of each, all measured on the same images.

    Seeds and images are both samples, and each brings its doubt: a t-test over seeds alone would take these images for
    all there are. The two variances of the mean come from the mean squares of a table crossed in two ways (Cornfield
    and Tukey, 1956), and are joined as Cochran and Cox (1950) join variances that are not equally well known, so that
    two or three seeds do not promise too much.

    Args:
        differences: 1 where with this seed the first alone is right on this image, -1 where the second alone is.

    Raises:
        ValueError: fewer than two seeds or two images.
        MissingExtraError: SciPy is not installed.
    """
    seeds, images = differences.shape
    if min(seeds, images) < 2:
        raise ValueError(f"expected at least 2 seeds and 2 images, found {seeds} and {images}")
    table = differences.double()
    centre, by_seed, by_image = table.mean(), table.mean(1), table.mean(0)
    rest = float((table - by_seed[:, None] - by_image + centre).square().sum()) / ((seeds - 1) * (images - 1))
    of_seeds = float(by_seed.var()) / seeds
    of_images = max(float(by_image.var()) / images - rest / table.numel(), 0.0)
    return _joined_difference(float(centre), of_seeds, seeds - 1, of_images)


def _joined_difference(centre: float, variance: float, freedom: int, known: float) -> Difference:
    """Return interval and p of a mean whose variance is ``variance``, estimated with ``freedom``, and ``known``."""
    norm, t = _distributions()
    from scipy.optimize import brentq

    def half_width(p_value: float) -> float:
        return sqrt(float(t.isf(p_value / 2, freedom)) ** 2 * variance + float(norm.isf(p_value / 2)) ** 2 * known)

    half = half_width(0.05)
    interval = max(-1.0, centre - half), min(1.0, centre + half)
    if half == 0 or half_width(SMALLEST_P) <= abs(centre):
        return Difference(centre, interval, SMALLEST_P if centre else 1.0)
    p_value = brentq(lambda p_value: half_width(p_value) - abs(centre), SMALLEST_P, 1)
    return Difference(centre, interval, float(p_value))


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float] | None:
    """Return Student's interval (1908) of the mean of a sample, None of a single value.

    Raises MissingExtraError when SciPy is not installed.
    """
    if len(values) < 2:
        return None
    _, t = _distributions()
    half = float(t.isf((1 - confidence) / 2, len(values) - 1)) * stdev(values) / sqrt(len(values))
    return mean(values) - half, mean(values) + half


def _distributions() -> tuple[Any, Any]:
    """Return SciPy's normal distribution and Student's t."""
    try:
        from scipy.stats import norm, t
    except ImportError as error:
        raise MissingExtraError("comparing over seeds needs SciPy: pip install 'modiste[evaluation]'") from error
    return norm, t


def holm(p_values: Sequence[float]) -> list[float]:
    """Return what p-values become when as many questions were asked at once (Holm, 1979), in the order given.

    To call those below 0.05 different is then wrong, anywhere among them, at most once in twenty times.
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def _sign_test(wins: int, losses: int) -> float:
    """Return the exact two-sided probability of a split as uneven as this, in whole numbers until the last division."""
    number = wins + losses
    term = total = 1
    for index in range(min(wins, losses)):
        term = term * (number - index) // (index + 1)
        total += term
    return float(min(1.0, 2 * total / 2**number))
