"""The impact of a setting in sentences: at the best epoch, at the last, over the epochs, and on overfitting."""

from collections.abc import Sequence
from statistics import mean

from modiste.reproduction.study import EpochDifference, Interval, Point, Study
from modiste.reproduction.verdicts import points, signed

EARLY = 10
"""The trend begins after the first tenth of the epochs: their number is divided by this."""
LEAST_GAP = 0.01
"""Difference between the gaps of two variants from which they are reported: one point."""


def sentences(study: Study) -> list[str]:
    """Return what the setting changes, in sentences for a student; numbers are points of validation accuracy."""
    chosen, named = study.chosen, _named(study)
    if chosen is None or not named:
        return ["Nothing can be compared with the paper's choice yet."]
    return [
        _at_best_epoch(study, named),
        _highest(study, chosen),
        _over_epochs(study, named),
        *_overfitting(study, chosen, named),
    ]


def _named(study: Study) -> Sequence[Point]:
    """Return the variants that the sentences name: the ends of a range of numbers, or all."""
    if not study.is_ordered:
        return study.others
    return [point for point in (study.points[0], study.points[-1]) if point in study.others] if study.points else []


def _at_best_epoch(study: Study, named: Sequence[Point]) -> str:
    parts = [_effect(study, point, "it" if place else "the accuracy") for place, point in enumerate(named)]
    return f"With the weights of the best epoch: {'; '.join(parts)}."


def _effect(study: Study, point: Point, subject: str) -> str:
    """Return the effect of going from one variant to the other: in the order of the numbers, or from the choice."""
    against, chosen = point.against_chosen, study.experiment.chosen
    assert against is not None
    (low, high), change = against.interval, against.difference
    step = f"with {study.name(point.label)} in place of {study.name(chosen)}"
    if study.is_ordered:
        ends, is_smaller = (chosen, point.label), float(point.label) < float(chosen)
        if is_smaller:
            ends, change, low, high = ends[::-1], -change, -high, -low
        step = "from {} to {}".format(*ends)
    if point.over_seeds is None:
        return f"{step} {subject} changes by {signed(change)} points (one seed, so the scatter is unknown)"
    if not point.differs:
        return f"{step} {subject} changes by {signed(change)} points{_doubt((low, high))}, which may be chance"
    verb = "rises" if change > 0 else "falls"
    size = sorted((abs(low), abs(high)))
    return f"{step} {subject} {verb} by {points(abs(change))} points (95 % interval {' to '.join(map(points, size))})"


def _highest(study: Study, chosen: Point) -> str:
    best = max(study.points, key=lambda point: point.accuracy)
    above = best.accuracy - chosen.accuracy
    if above <= 0:
        return "No variant has a higher accuracy than the paper's choice."
    return f"The highest accuracy is that of {study.name(best.label)}, {points(above)} points above the paper's choice."


def _over_epochs(study: Study, named: Sequence[Point]) -> str:
    epochs = len(named[0].trend)
    early = max(1, epochs // EARLY)
    when = f"from epoch {early} to epoch {epochs}" if early < epochs else f"after epoch {epochs}"
    parts = [f"with {study.name(point.label)} it {_trend(point.trend, early)}" for point in named]
    return f"Difference to the paper's choice, {when}, the last: {'; '.join(parts)}."


def _trend(trend: Sequence[EpochDifference], early: int) -> str:
    before, last = trend[early - 1], trend[-1]
    end = f"{signed(last.difference)} points{_doubt(last.interval)}"
    if early == len(trend):
        return f"is {end}"
    verb = "shrinks" if abs(last.difference) < abs(before.difference) else "grows"
    if before.difference * last.difference <= 0:
        verb = "changes"
    return f"{verb} from {signed(before.difference)} to {end}"


def _overfitting(study: Study, chosen: Point, named: Sequence[Point]) -> list[str]:
    """Return a sentence on overfitting; none if the gaps hardly differ."""
    gaps = {study.name(point.label): mean(point.gaps) for point in (chosen, *named) if point.gaps}
    if not gaps or max(gaps.values()) - min(gaps.values()) < LEAST_GAP:
        return []
    parts = ", ".join(f"{signed(gap)} with {name}" for name, gap in gaps.items())
    return [f"After the last epoch, training accuracy minus validation accuracy, in points, is {parts}."]


def _doubt(interval: Interval) -> str:
    return "" if interval is None else f" ({signed(interval[0])} to {signed(interval[1])})"
