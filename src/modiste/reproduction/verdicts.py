"""The verdict on an experiment of the paper: its choice holds, does not hold, or too few seeds leave it undecided.

The power of a comparison tells how many seeds would decide, from the scatter that the first ones measured.
"""

from collections.abc import Callable, Sequence
from math import sqrt
from statistics import stdev

import numpy as np
from jaxtyping import Float

from modiste.errors import extra_for
from modiste.evaluation.comparison import LEVEL
from modiste.evaluation.statistics import CrossedDifference, quantiles
from modiste.reproduction.paper import Finding, Shortage, Verdict
from modiste.reproduction.study import Point, Study

MARGIN = 0.005
"""Differences in accuracy below this count as none: half a point.

The paper could see no smaller ones. It reports an accuracy of 91.32 % on 10,000 images, whose 95 % interval is half a
point wide on each side. The margin was fixed before the experiments were trained for 50 epochs.
"""
EXTRA = ("the power of a comparison", "SciPy", "evaluation")
POWER = 0.8
"""Usual probability with which a comparison should show what is true (Cohen, 1988)."""
MOST_SEEDS = 100_000
"""No larger number of seeds is considered."""
GRID = 200
"""Quantiles of the estimated variance over which the power is averaged."""


def finding(study: Study, shortage: Shortage = "") -> Finding:
    """Return the finding on the paper's statement; it has no verdict if the runs have a shortage."""
    measured = "; ".join(map(_words, study.points)) or "no run is finished"
    return Finding(measured, verdict(study), reason(study)).with_shortage(shortage)


def verdict(study: Study) -> Verdict:
    """Return the verdict on an experiment, from the differences to the paper's choice over seeds and images.

    The choice *does not hold* if a variant is significantly better, with Holm's correction over the variants. It
    *holds* if every variant is shown not to be better by ``MARGIN`` or more: all upper one-sided bounds are below it.
    All tests must agree for that, so they need no correction (Berger, 1982). Otherwise it is *undecided*.

    Where the paper calls a variant worse, that *holds* if the variant is significantly worse. It *does not hold* if
    the variant is shown not to be worse by ``MARGIN`` or more: its lower bound is above ``-MARGIN``.
    """
    found = _measured(study)
    if worse := study.experiment.expected_worse:
        return _verdict_on_worse(study, worse, found[worse]) if worse in found else "undecided"
    if _better(study):
        return "does not hold"
    holds = not _lacking(study) and all(_upper(over) < MARGIN for over in found.values())
    return "holds" if holds else "undecided"


def _verdict_on_worse(study: Study, label: str, over: CrossedDifference) -> Verdict:
    point = study.point(label)
    if point and point.differs and over.difference < 0:
        return "holds"
    return "does not hold" if _lower(over) > -MARGIN else "undecided"


def reason(study: Study) -> str:
    """Return the reason of the verdict; of *undecided* with the number of seeds that would decide."""
    given, found, lacking = verdict(study), _measured(study), _lacking(study)
    if given == "undecided" and lacking:
        return f"no comparison over two seeds or more is at hand for {', '.join(map(study.name, lacking))}"
    if worse := study.experiment.expected_worse:
        return _reason_on_worse(study, worse, given)
    if given == "does not hold":
        best = max(_better(study), key=lambda point: point.accuracy)
        over = found[best.label]
        small = f", though by less than {points(MARGIN)} points" if _upper(over) < MARGIN else ""
        return f"{study.name(best.label)} is better by {points(over.difference)} points (p {p_value(best)}){small}"
    highest = max(found, key=lambda label: _upper(found[label]))
    upper = _upper(found[highest])
    if given == "holds":
        return (
            f"no variant is better by {points(MARGIN)} points or more; the highest upper bound is {signed(upper)}, of "
            f"{study.name(highest)}"
        )
    needed = seeds_to_decide(list(found.values()))
    return f"{study.name(highest)} may be better by up to {points(upper)} points; {_advice(needed, study.images)}"


def _reason_on_worse(study: Study, label: str, given: Verdict) -> str:
    over, point = _measured(study)[label], study.point(label)
    assert point is not None
    name, low = study.name(label), _lower(over)
    if given == "holds":
        return f"{name} is worse by {points(-over.difference)} points (p {p_value(point)})"
    if given == "does not hold":
        return f"{name} is not worse by {points(MARGIN)} points or more; its lower bound is {signed(low)}"
    count = len(study.others)

    def suffice(seeds: int) -> bool:
        shown = _power(over, seeds, -over.difference, LEVEL / 2 / count)
        return max(shown, _power(over, seeds, MARGIN + over.difference, LEVEL)) >= POWER

    needed = fewest_seeds(suffice)
    return f"{name} may be worse by up to {points(-low)} points, which is not shown; {_advice(needed, study.images)}"


def _measured(study: Study) -> dict[str, CrossedDifference]:
    """Return the differences over several seeds by label."""
    return {point.label: over for point in study.points if (over := point.over_seeds) is not None}


def _lacking(study: Study) -> list[str]:
    """Return the variants that the verdict is about and that have no difference over several seeds."""
    experiment, found = study.experiment, _measured(study)
    wanted = [experiment.expected_worse] if experiment.expected_worse else [v.label for v in experiment.variants]
    return [label for label in wanted if label not in found and label != experiment.chosen]


def _better(study: Study) -> list[Point]:
    """Return the variants that are significantly better than the paper's choice."""
    return [point for point in study.points if point.differs and point.over_seeds and point.over_seeds.difference > 0]


def _lower(over: CrossedDifference) -> float:
    return over.bounds(LEVEL)[0]


def _upper(over: CrossedDifference) -> float:
    return over.bounds(LEVEL)[1]


def seeds_to_decide(found: Sequence[CrossedDifference]) -> int | None:
    """Return the number of seeds that would decide whether the paper's choice holds, with the probability ``POWER``.

    It is stated for the case that differences and variances are as measured. Either one variant is shown to be better,
    or all are shown not to be better by ``MARGIN``; the probability of the latter is at least 1 minus the sum of those
    that one is not.

    Args:
        found: The difference to the choice of every variant.

    Returns:
        The number; None if no number of seeds would be enough on these images.
    """

    def suffice(seeds: int) -> bool:
        shown = (_power(over, seeds, over.difference, LEVEL / 2 / len(found)) for over in found)
        missed = sum(1 - _power(over, seeds, MARGIN - over.difference, LEVEL) for over in found)
        return max(*shown, 1 - missed) >= POWER

    return fewest_seeds(suffice)


def _power(over: CrossedDifference, seeds: int, effect: float, level: float) -> float:
    """Return the power with another number of seeds; the luck of single images shrinks with it."""
    luck = max(over.least_variance - over.image_variance, 0.0) * over.seeds / seeds
    return power(effect, seeds, over.seed_variance, over.image_variance, level, over.image_variance + luck)


def _advice(seeds: int | None, images: int) -> str:
    if seeds is None:
        return f"more seeds alone would hardly decide, because {images:,} validation images are too few"
    return f"if the differences are as measured, {seeds:,} seeds decide with a probability of {POWER:.0%}"


def _words(point: Point) -> str:
    spread = f" ± {stdev(point.accuracies):.2%}" if len(point.accuracies) > 1 else ""
    against = point.against_chosen
    if against is None:
        return f"{point.label}: {point.accuracy:.2%}{spread}"
    unsure = ", no difference shown" if point.over_seeds else ", one seed"
    shown = "" if point.differs else unsure
    return f"{point.label}: {point.accuracy:.2%}{spread} ({signed(against.difference)}{shown})"


def points(share: float) -> str:
    """Return a share in points: ``0.50``."""
    return f"{100 * share:.2f}"


def signed(share: float) -> str:
    """Return a share in points, with its sign: ``+0.50``."""
    return f"{100 * share:+.2f}"


def p_value(point: Point) -> str:
    """Return the corrected p-value of a variant: ``0.012`` or ``< 0.001``; nothing for the choice itself."""
    value = point.adjusted_p_value
    if value is None:
        return ""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


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
