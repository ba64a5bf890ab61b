"""Confidence intervals and significance tests for accuracies and their differences."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist, mean, stdev

from jaxtyping import Float
from torch import Tensor

from modiste.errors import MissingExtraError

NORMAL_95 = 1.959964
"""Half of the width of a 95 % interval, in standard deviations of a normal distribution."""
SMALLEST_P = 1e-12
"""Smallest p-value that ``crossed_difference`` reports; a smaller one is reported as this."""


def wilson_interval(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return Wilson's score interval (1927) of a proportion. It is more accurate than the normal one near 0 and 1.

    Args:
        successes: At most ``trials``.
        trials: At least 1.
        confidence: Coverage of the interval, between 0 and 1.

    Returns:
        The lower and upper end, each 0 to 1.

    Raises:
        ValueError: A number is out of range.

    >>> low, high = wilson_interval(93, 100)
    >>> round(low, 3), round(high, 3)
    (0.863, 0.966)
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
    """The difference in accuracy between two classifiers, or two ways of training one, on the same images.

    Attributes:
        difference: Accuracy of the first minus accuracy of the second.
        interval: 95 % confidence interval of the difference.
        p_value: Probability of a difference at least this large if both were equally good.
    """

    difference: float
    interval: tuple[float, float]
    p_value: float


@dataclass(frozen=True)
class PairedDifference(Difference):
    """The difference in accuracy between two classifiers on the same images.

    Attributes:
        wins: Number of images that only the first classifies correctly.
        losses: Number of images that only the second classifies correctly.
    """

    wins: int
    losses: int


@dataclass(frozen=True)
class CrossedDifference(Difference):
    """The difference in accuracy between two ways of training, over seeds and images.

    Attributes:
        seeds: Number of seeds, at least 2.
        seed_variance: Variance of the difference of a single seed; what images add to it is included.
        image_variance: Variance of the mean difference because these images are a sample. More seeds do not lower it.
        least_variance: Variance of the mean difference if only images were a sample. Few seeds can agree by chance, and
            the interval is never narrower than with this variance.
    """

    seeds: int
    seed_variance: float
    image_variance: float
    least_variance: float = 0.0

    def bounds(self, level: float = 0.05) -> tuple[float, float]:
        """Return the lower and the upper one-sided bound of the difference, each wrong with probability ``level``.

        An upper bound below a margin shows that the first is not better by the margin or more. It is one of the two
        one-sided tests of Schuirmann (1987). Both together are the interval of confidence 1 - 2 ``level``.

        Raises:
            MissingExtraError: SciPy is not installed.
        """
        half = _half_width(2 * level, self.seeds, self.seed_variance, self.image_variance, self.least_variance)
        return max(-1.0, self.difference - half), min(1.0, self.difference + half)


def paired_difference(wins: int, losses: int, trials: int) -> PairedDifference:
    """Compare two classifiers by the images that only one of them classifies correctly.

    The test is the exact, two-sided form of McNemar's (1947). The interval is Agresti and Min's (2005), which adds half
    an image to each cell of the table.

    Args:
        wins: Number of images that only the first classifies correctly.
        losses: Number of images that only the second classifies correctly.
        trials: Number of all images.

    Raises:
        ValueError: ``wins`` or ``losses`` is negative, their sum is above ``trials``, or ``trials`` is 0.

    >>> found = paired_difference(wins=12, losses=3, trials=1000)
    >>> found.difference, round(found.p_value, 4)
    (0.009, 0.0352)
    """
    if min(wins, losses) < 0 or wins + losses > trials or trials == 0:
        raise ValueError(f"expected wins + losses <= trials > 0, found {wins} and {losses} of {trials}")
    z, count = NormalDist().inv_cdf(0.975), trials + 2
    centre = (wins - losses) / count
    half = z * sqrt(wins + losses + 1 - count * centre**2) / count
    interval = max(-1.0, centre - half), min(1.0, centre + half)
    return PairedDifference((wins - losses) / trials, interval, _sign_test(wins, losses), wins, losses)


def crossed_difference(differences: Float[Tensor, "seeds images"]) -> CrossedDifference:
    """Compare two ways of training, each with several seeds, on the same images.

    Seeds and images are both samples, and both add uncertainty. A t-test over seeds would treat the images as the whole
    population. The variances of the mean due to seeds and to images come from the mean squares of a two-way crossed
    table (Cornfield and Tukey, 1956). The interval of Banerjee (1960) combines them: it allows for the fact that the
    variance over two or three seeds is poorly known. Where these seeds agree by chance, that variance is too small; so
    the interval is at least as wide as for images alone. For that width one more image counts as differing, since the
    normal distribution is too narrow where few differ; Agresti and Min (2005) do the same for a single seed.

    Args:
        differences: 1 where only the first is right with this seed on this image, -1 where only the second is, else 0.

    Returns:
        The difference, its 95 % interval and its p-value.

    Raises:
        ValueError: Fewer than two seeds or two images.
        MissingExtraError: SciPy is not installed.
    """
    return crossed_sum([differences])


def crossed_sum(tables: Sequence[Float[Tensor, "seeds _"]]) -> CrossedDifference:
    """Return the sum of the means of several tables, with an interval as ``crossed_difference`` has it.

    The tables have the same seeds, and each has images of its own. The gap between two sets of images, for example, is
    the sum of what is right on one, and of the negative of what is right on the other.

    Args:
        tables: A number for each seed and image.

    Raises:
        ValueError: Fewer than two seeds or two images, or tables with different numbers of seeds.
        MissingExtraError: SciPy is not installed.

    >>> import torch
    >>> right, other = torch.tensor([[1.0, 1, 1, 0], [1, 1, 0, 1]]), torch.tensor([[1.0, 0], [0, 1]])
    >>> crossed_sum([right, -other]).difference
    0.25
    """
    seeds = len(tables[0])
    if seeds < 2 or min(table.shape[1] for table in tables) < 2:
        shapes = " and ".join(f"{len(table)} and {table.shape[1]}" for table in tables)
        raise ValueError(f"expected at least 2 seeds and 2 images, found {shapes}")
    if any(len(table) != seeds for table in tables):
        raise ValueError(f"expected {seeds} seeds in every table, found {[len(table) for table in tables]}")
    by_seed = sum((table.double().mean(1) for table in tables[1:]), tables[0].double().mean(1))
    of_images, rest = (sum(parts) for parts in zip(*map(_variances, tables), strict=True))
    least = of_images + sum(1 / table.shape[1] ** 2 for table in tables)
    return combined_difference(float(by_seed.mean()), seeds, float(by_seed.var()), max(of_images - rest, 0.0), least)


def _variances(table: Float[Tensor, "seeds images"]) -> tuple[float, float]:
    """Return the variance of a table's mean over images, and the part of it that is luck of single images and seeds."""
    table = table.double()
    centre, by_seed, by_image = table.mean(), table.mean(1), table.mean(0)
    (seeds, images), away = table.shape, table - by_seed[:, None] - by_image + centre
    rest = float(away.square().sum()) / ((seeds - 1) * (images - 1))
    return float(by_image.var()) / images, rest / table.numel()


def combined_difference(
    difference: float, seeds: int, seed_variance: float, image_variance: float, least_variance: float = 0.0
) -> CrossedDifference:
    """Return a difference with its interval and p-value, from the variances of ``CrossedDifference``.

    Raises:
        MissingExtraError: SciPy is not installed.

    >>> found = combined_difference(0.004, 5, seed_variance=0.002**2, image_variance=0.001**2)
    >>> [round(100 * end, 2) for end in found.interval], round(found.p_value, 3)
    ([0.08, 0.72], 0.022)
    """

    def half_width(p_value: float) -> float:
        return _half_width(p_value, seeds, seed_variance, image_variance, least_variance)

    half = half_width(0.05)
    interval = max(-1.0, difference - half), min(1.0, difference + half)
    p_value = _p_value(abs(difference), half_width)
    return CrossedDifference(difference, interval, p_value, seeds, seed_variance, image_variance, least_variance)


def _p_value(distance: float, half_width: Callable[[float], float]) -> float:
    """Return the p-value at which an interval around a difference just reaches 0."""
    from scipy.optimize import brentq

    if half_width(0.05) == 0 or half_width(SMALLEST_P) <= distance:
        return SMALLEST_P if distance else 1.0
    return float(brentq(lambda p_value: half_width(p_value) - distance, SMALLEST_P, 1))


def _half_width(p_value: float, seeds: int, of_seeds: float, of_images: float, least: float) -> float:
    """Return half of the width of the interval of a mean difference with confidence 1 - p.

    Args:
        p_value: Above 0, at most 1.
        seeds: Number of seeds.
        of_seeds: Variance of one seed, an estimate with ``seeds`` - 1 degrees of freedom.
        of_images: Variance of the mean due to images, known well enough for the normal distribution.
        least: Variance of the mean that the interval covers in any case, known as well.
    """
    of_t, of_normal = quantiles(p_value / 2, seeds - 1)
    return max(sqrt(of_t**2 * of_seeds / seeds + of_normal**2 * of_images), of_normal * sqrt(least))


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float] | None:
    """Return Student's interval (1908) of the mean of a sample; None for a single value.

    Raises:
        MissingExtraError: SciPy is not installed.

    >>> low, high = mean_interval([0.91, 0.92, 0.93])
    >>> round(low, 4), round(high, 4)
    (0.8952, 0.9448)
    >>> mean_interval([0.91]) is None
    True
    """
    if len(values) < 2:
        return None
    half = quantiles((1 - confidence) / 2, len(values) - 1)[0] * stdev(values) / sqrt(len(values))
    return mean(values) - half, mean(values) + half


@dataclass(frozen=True)
class Spread:
    """The mean of several accuracies, and how certain it is.

    Attributes:
        mean: Mean of the accuracies, 0 to 1.
        deviation: Their standard deviation; None for a single one.
        interval: 95 % interval of the mean, 0 to 1; None for a single accuracy.
    """

    mean: float
    deviation: float | None
    interval: tuple[float, float] | None

    def __str__(self) -> str:
        doubt = "" if self.deviation is None else f" ± {self.deviation:.2%}"
        if self.interval is not None:
            doubt += f" (95 % interval {self.interval[0]:.2%} to {self.interval[1]:.2%})"
        return f"{self.mean:.2%}{doubt}"


def spread(accuracies: Sequence[float]) -> Spread:
    """Return the mean of accuracies over seeds, with its deviation and Student's interval.

    Raises:
        MissingExtraError: There are several, and SciPy is not installed.

    >>> print(spread([0.91, 0.92, 0.93]))
    92.00% ± 1.00% (95 % interval 89.52% to 94.48%)
    >>> print(spread([0.91]))
    91.00%
    """
    interval = mean_interval(accuracies)
    deviation = stdev(accuracies) if len(accuracies) > 1 else None
    return Spread(mean(accuracies), deviation, None if interval is None else _clipped(interval))


def fold_spread(accuracies: Sequence[float], held_out_share: float) -> Spread:
    """Return the mean accuracy of a cross-validation, with its deviation and interval.

    The folds share training images, so that their accuracies are not independent, and Student's interval is too narrow.
    No estimate of the variance is without bias (Bengio and Grandvalet, 2004). The interval here uses the variance as
    Nadeau and Bengio (2003) corrected it, times 1 / k + held out / trained in place of 1 / k.

    Args:
        accuracies: Accuracies of the k folds.
        held_out_share: Images held out divided by images trained on, in a fold.

    Raises:
        ValueError: Fewer than two folds, or the share is not positive.
        MissingExtraError: SciPy is not installed.

    >>> print(fold_spread([0.91, 0.92, 0.93], 1 / 2))
    92.00% ± 1.00% (95 % interval 88.07% to 95.93%)
    """
    if len(accuracies) < 2 or held_out_share <= 0:
        raise ValueError(f"expected at least 2 folds and a share above 0, found {len(accuracies)} and {held_out_share}")
    centre, deviation, folds = mean(accuracies), stdev(accuracies), len(accuracies)
    half = quantiles(0.025, folds - 1)[0] * deviation * sqrt(1 / folds + held_out_share)
    return Spread(centre, deviation, _clipped((centre - half, centre + half)))


def _clipped(interval: tuple[float, float]) -> tuple[float, float]:
    """Return the interval within 0 and 1."""
    return max(0.0, interval[0]), min(1.0, interval[1])


def quantiles(tail: float, freedom: int) -> tuple[float, float]:
    """Return what Student's t, with these degrees of freedom, and a normal variable exceed with probability ``tail``.

    Raises:
        MissingExtraError: SciPy is not installed.

    >>> [round(one, 3) for one in quantiles(0.025, 4)]
    [2.776, 1.96]
    """
    try:
        from scipy.special import ndtri, stdtrit
    except ImportError as error:
        raise MissingExtraError("comparing over seeds needs SciPy: pip install 'modiste[evaluation]'") from error
    return -float(stdtrit(freedom, tail)), -float(ndtri(tail))


def _sign_test(wins: int, losses: int) -> float:
    """Return the exact two-sided p-value of the sign test, computed in whole numbers up to the last division."""
    number = wins + losses
    term = total = 1
    for index in range(min(wins, losses)):
        term = term * (number - index) // (index + 1)
        total += term
    return float(min(1.0, 2 * total / 2**number))
