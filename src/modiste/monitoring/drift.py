"""Whether a model's answers have drifted: a test of classes, confidence and novelty against those on validation."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int64

from modiste.display import Displayed, Table, percent
from modiste.errors import RecipeError, extra_for
from modiste.evaluation.two_samples import (
    EXTRA,
    chi_squared_p,
    holm,
    kolmogorov_distance,
    kolmogorov_p,
    population_stability_index,
    significant_count,
    significant_distance,
)
from modiste.inference.onnx_model import OnnxModel
from modiste.monitoring.answer_log import LoggedAnswers, read_log
from modiste.monitoring.reference import Reference, of_model
from modiste.runs import manifest

LEVEL = 0.01
"""Chance of a wrong alarm for all tests of one call together."""
LEAST_INDEX, LEAST_DISTANCE = 0.1, 0.05
"""Differences below these are no drift, however certain: population stability index of classes, and distance."""
SEEN = 0.1
"""A difference that is worth a look. The test needs enough answers to find one of this size significant."""
LEAST_ANSWERS = 30
"""With fewer answers nothing is tested. Without as many in the reference, no result says that nothing has drifted."""
BINS = 10
"""Bins of confidence and novelty, with equal shares of the reference, for the population stability index."""
DECIMALS = 4
"""Digits after the point of confidence and novelty; so that the rounding of a log is no difference."""
Name = Literal["classes", "confidence", "novelty"]
Day = date | str | None
State = Literal["drift", "no drift", "too few answers"]


@dataclass(frozen=True)
class Share:
    """The share of the reference and of the answers that fall in one bin, each 0 to 1."""

    bin: str
    before: float
    now: float


@dataclass(frozen=True, kw_only=True)
class Shift:
    """The difference of one quantity between answers and reference.

    Attributes:
        name: Name of the quantity.
        stability_index: Population stability index, 0 or more; of confidence and novelty in BINS bins.
        distance: Largest difference of the cumulative shares (Kolmogorov and Smirnov), 0 to 1; None for classes.
        p_value: Chance of such a difference without drift; of classes by Pearson's test.
        adjusted_p_value: The same, adjusted for all quantities (Holm, 1979).
        before: Mean of the quantity in the reference; None for classes.
        now: Mean over the answers.
        shares: By class, or by bin of confidence or novelty, ascending; a bin has about a tenth of the reference.
    """

    name: Name
    stability_index: float
    distance: float | None
    p_value: float
    adjusted_p_value: float
    before: float | None
    now: float | None
    shares: tuple[Share, ...]

    @property
    def is_significant(self) -> bool:
        """Whether chance is an unlikely cause of the difference."""
        return self.adjusted_p_value < LEVEL

    @property
    def is_large(self) -> bool:
        """Whether the difference is large enough to matter."""
        if self.distance is None:
            return self.stability_index >= LEAST_INDEX
        return self.distance >= LEAST_DISTANCE

    @property
    def is_drift(self) -> bool:
        """Whether the quantity has drifted: by a difference that is neither chance nor small."""
        return self.is_significant and self.is_large

    @property
    def words(self) -> str:
        """The difference as part of a sentence."""
        if self.before is None or self.now is None:
            return f"the mix of classes (stability index {self.stability_index:.2f})"
        before, now = (percent(one) if self.name == "confidence" else f"{one:.2f}" for one in (self.before, self.now))
        return f"{self.name} (mean {before} before, {now} now)"


@dataclass(frozen=True, kw_only=True, repr=False)
class Drift(Displayed):
    """The result of comparing answers with a reference.

    Attributes:
        baseline: What the answers were compared with: ``validation``, or the days of earlier answers.
        answers: Number of answers.
        reference_images: Number of images, or of answers, in the reference.
        days: First and last day with an answer.
        shifts: Shifts of classes, confidence and, if the model has a detector, novelty. Empty if nothing was tested.
        none_of_the_classes: Share of the reference and of the answers that are out of distribution; None without a
            detector.
        answers_needed: So many answers show a difference of SEEN; None if the reference is too small for any number.
        smallest_distance: Smallest distance that would be significant with these answers.
        other_models: Number of answers in the log that other models gave.
        damaged_lines: Number of lines of the log that are no answers.
    """

    baseline: str
    answers: int
    reference_images: int
    days: tuple[str, str]
    shifts: tuple[Shift, ...]
    none_of_the_classes: tuple[float, float] | None
    answers_needed: int | None
    smallest_distance: float
    other_models: int
    damaged_lines: int

    @property
    def drifted(self) -> tuple[Shift, ...]:
        """The quantities that have drifted."""
        return tuple(one for one in self.shifts if one.is_drift)

    @property
    def state(self) -> State:
        """The result in two or three words."""
        if self.drifted:
            return "drift"
        return "too few answers" if self.shortages else "no drift"

    @property
    def shortages(self) -> list[str]:
        """What is too few to say that nothing has drifted, as parts of a sentence; empty if there is enough."""
        enough = min(self.answers_needed or self.reference_images, self.reference_images)
        needed, missing = max(enough, LEAST_ANSWERS), []
        if self.answers < needed:
            missing.append(f"too few answers to tell: {self.answers:,} so far, about {needed:,} are needed")
        if self.reference_images < LEAST_ANSWERS:
            found = f"{self.reference_images:,} of {self.baseline}"
            missing.append(f"too small a baseline to tell: {found}, at least {LEAST_ANSWERS} are needed")
        return missing

    @property
    def verdict(self) -> str:
        """The result as a sentence: what has drifted, and how sure that is."""
        if self.state == "drift":
            largest = max(one.adjusted_p_value for one in self.drifted)
            what = "; ".join(one.words for one in self.drifted)
            return f"drift of {what}; without drift, {_chance(largest)} would differ as much"
        if self.state == "too few answers":
            return "; ".join(self.shortages)
        slight = [one.name for one in self.shifts if one.is_significant]
        rest = f"; {' and '.join(slight)} differ, but too little to matter" if slight else ""
        found = max(self.smallest_distance, LEAST_DISTANCE)  # a smaller one is no drift, however certain
        return f"no drift found; a difference of {100 * found:.1f} points would have been{rest}"

    @property
    def advice(self) -> str:
        """What to do now."""
        if self.state == "too few answers" and self.reference_images < LEAST_ANSWERS:
            return "compare with more answers: name more days of the log by --baseline-since and --baseline-until"
        if self.state == "too few answers":
            return "wait for more answers, or read more days"
        if self.state == "no drift":
            return "nothing to do; compare again in a week"
        return " ".join(dict.fromkeys(_advice(self)))

    def as_plain(self) -> dict[str, Any]:
        """Return the same, with verdict and advice, as dictionaries, lists, numbers and strings."""
        plain = asdict(self)
        for row, shift in zip(plain["shifts"], self.shifts, strict=True):
            row["drift"] = shift.is_drift
        return {"state": self.state, "verdict": self.verdict, "advice": self.advice, **plain}

    def table(self) -> Table:
        """Return a row for each quantity, verdict and advice."""
        header = ("quantity", "before", "now", "distance", "stability index", "adjusted p", "drift")
        rows = [
            [
                one.name,
                *("" if value is None else f"{value:.4f}" for value in (one.before, one.now, one.distance)),
                f"{one.stability_index:.3f}",
                f"{one.adjusted_p_value:.2g}",
                "yes" if one.is_drift else "no",
            ]
            for one in self.shifts
        ]
        first, last = self.days
        title = f"{self.answers:,} answers, {first} to {last}, beside {self.reference_images:,} of {self.baseline}"
        return Table(title, rows, header if rows else (), [self.verdict, self.advice, *self.notes])

    @property
    def notes(self) -> list[str]:
        """Sentences on lines of the log that were left out; empty without any."""
        counts = {"answers of other models": self.other_models, "damaged lines": self.damaged_lines}
        return [f"left out: {count:,} {what}" for what, count in counts.items() if count]


def find_drift(
    source: Path,
    log: Path,
    *,
    since: Day = None,
    until: Day = None,
    baseline_since: Day = None,
    baseline_until: Day = None,
) -> Drift:
    """Compare the answers in a log with those on validation images, or with earlier answers.

    Args:
        source: The ONNX file that was served, or the folder of its run.
        log: Folder of ``modiste serve --log``.
        since: First day (UTC) of the answers, a date or ``2026-11-28``; None for the earliest.
        until: Last day; None for the latest.
        baseline_since: First day of earlier answers to compare with, in place of validation images.
        baseline_until: Their last day.

    Raises:
        RunError: The model is missing, damaged, or an earlier version exported it.
        DataError: The log holds no answers of the model in these days.
        RecipeError: A day is no date, a first day is after the last, or the days of the answers and of the earlier ones
            overlap.
        StorageError: A file cannot be read.
        MissingExtraError: A package is not installed.
    """
    days, earlier_days = (as_day(since), as_day(until)), (as_day(baseline_since), as_day(baseline_until))
    _check_order("since", "until", days)
    _check_order("baseline-since", "baseline-until", earlier_days)
    with extra_for(*EXTRA):
        import scipy.special  # noqa: F401 - before the log is read
    path = manifest.onnx_file(source)
    model = OnnxModel.load(path)
    if earlier_days == (None, None):
        reference, baseline = of_model(model, str(path)), "validation"
    else:
        _check_days(days, earlier_days)
        earlier = read_log(log, model, *earlier_days)
        reference = Reference.of_log(earlier, len(model.class_names))
        baseline = f"{earlier.days[0]} to {earlier.days[1]}"
    return compare(reference, read_log(log, model, *days), model.class_names, baseline)


def as_day(day: Day) -> date | None:
    """Return a day as a date, of a moment its date; RecipeError if it is none.

    >>> as_day("2026-11-28"), as_day(datetime(2026, 11, 28, 15, 30))
    (datetime.date(2026, 11, 28), datetime.date(2026, 11, 28))
    """
    if isinstance(day, datetime):
        return day.date()
    if not isinstance(day, str):
        return day
    try:
        return date.fromisoformat(day)
    except ValueError as error:
        raise RecipeError(f"drift: expected a day such as 2026-11-28, found {day!r}") from error


def _check_order(first: str, last: str, days: tuple[date | None, date | None]) -> None:
    """Raise RecipeError if the first day is after the last, so that there are none."""
    low, high = days
    if low and high and low > high:
        raise RecipeError(f"drift: expected --{first} on or before --{last}, found {low} after {high}; exchange them")


def _check_days(days: tuple[date | None, date | None], earlier: tuple[date | None, date | None]) -> None:
    """Raise RecipeError if an answer could count on both sides."""
    (low, high), (first, last) = (((one or date.min), (other or date.max)) for one, other in (days, earlier))
    if low <= last and first <= high:
        raise RecipeError(
            "drift: the days of the answers and of the baseline overlap; expected --baseline-until before --since, "
            f"found answers from {low} to {high}, and a baseline from {first} to {last}"
        )


def compare(
    reference: Reference, answers: LoggedAnswers, class_names: Sequence[str], baseline: str = "validation"
) -> Drift:
    """Compare answers with a reference of the same model.

    The tests assume that answers are independent: a picture that is sent a thousand times counts a thousand times.

    Args:
        reference: What the model answers where nothing has drifted.
        answers: Answers of the model.
        class_names: Class names of the model.
        baseline: What the reference is of, for messages.

    Raises:
        MissingExtraError: SciPy is not installed.
    """
    number = len(answers.classes)
    tested = list(_shifts(reference, answers, class_names)) if number >= LEAST_ANSWERS else []
    adjusted = holm([one.p_value for one in tested])
    novel = None
    if reference.novelty is not None and answers.novelty is not None:
        novel = float((np.array(reference.novelty) > 1).mean()), float((answers.novelty > 1).mean())
    tests = 2 if novel is None else 3
    return Drift(
        baseline=baseline,
        answers=number,
        reference_images=reference.images,
        days=answers.days,
        shifts=tuple(replace(one, adjusted_p_value=p_value) for one, p_value in zip(tested, adjusted, strict=True)),
        none_of_the_classes=novel,
        answers_needed=answers_needed(reference.images, len(class_names), tests),
        smallest_distance=min(1.0, significant_distance(LEVEL / tests, number, reference.images)),
        other_models=answers.others,
        damaged_lines=answers.damaged,
    )


def answers_needed(images: int, classes: int, tests: int) -> int | None:
    """Return how many answers show a distance, and a stability index, of SEEN; None if no number does.

    Args:
        images: Number of images in the reference.
        classes: Number of classes.
        tests: Number of tests.

    >>> answers_needed(3000, 10, 3)
    359
    >>> answers_needed(200, 10, 3) is None
    True
    """
    from scipy.special import chdtri

    level = LEVEL / tests
    needed = max(significant_count(SEEN, level), float(chdtri(classes - 1, level)) / SEEN)
    return None if images <= needed else ceil(needed * images / (images - needed))


def _shifts(reference: Reference, answers: LoggedAnswers, class_names: Sequence[str]) -> Iterator[Shift]:
    """Yield the difference of each quantity, its p-value not yet adjusted."""
    before, now = np.array(reference.classes), np.bincount(answers.classes, minlength=len(class_names))
    p_value = chi_squared_p(now, before)
    yield Shift(
        name="classes",
        stability_index=population_stability_index(now, before),
        distance=None,
        p_value=p_value,
        adjusted_p_value=p_value,
        before=None,
        now=None,
        shares=_shares(class_names, before, now),
    )
    yield _shift("confidence", answers.confidence, np.array(reference.confidence), reference.images)
    if answers.novelty is not None and reference.novelty is not None:
        yield _shift("novelty", answers.novelty, np.array(reference.novelty), reference.images)


def _shift(name: Name, values: Float[np.ndarray, " n"], known: Float[np.ndarray, " q"], images: int) -> Shift:
    """Return the difference of a quantity between answers and the quantiles of a reference of ``images``."""
    values, known = values.round(DECIMALS), known.round(DECIMALS)
    distance = kolmogorov_distance(values, known)
    p_value = kolmogorov_p(distance, len(values), images)
    ends = np.unique(np.quantile(known, np.arange(1, BINS) / BINS, method="inverted_cdf"))
    before, now = (np.bincount(np.searchsorted(ends, one), minlength=len(ends) + 1) for one in (known, values))
    return Shift(
        name=name,
        stability_index=population_stability_index(now, before),
        distance=distance,
        p_value=p_value,
        adjusted_p_value=p_value,
        before=float(known.mean()),
        now=float(values.mean()),
        shares=_shares(_bin_names(ends.tolist()), before, now),
    )


def _shares(names: Sequence[str], before: Int64[np.ndarray, " k"], now: Int64[np.ndarray, " k"]) -> tuple[Share, ...]:
    columns = ((one / one.sum()).tolist() for one in (before, now))
    return tuple(map(Share, names, *columns))


def _bin_names(ends: Sequence[float]) -> list[str]:
    """Return names of the bins up to each end, and of the last one."""
    between = [f"{low:g} to {high:g}" for low, high in pairwise(ends)]
    return [f"up to {ends[0]:g}", *between, f"above {ends[-1]:g}"]


def _advice(found: Drift) -> Iterator[str]:
    """Yield sentences on what to do about a drift."""
    drifted = {one.name: one for one in found.drifted}
    rises = {name: (one.now or 0) > (one.before or 0) for name, one in drifted.items()}
    if rises.get("novelty") or rises.get("confidence") is False:
        yield (
            "Look at recent pictures: camera, light, background or products may have changed. Label some hundred of "
            "them and measure: modiste evaluate RUN --data FOLDER. Accuracy has probably fallen; train with them too."
        )
    if rises.get("novelty") is False or rises.get("confidence"):
        yield "The pictures are easier than the reference's, or the same few are sent again and again: look at some."
    if "classes" in drifted:
        yield (
            "Another mix of classes than the reference's is no fault by itself, and changes confidence too. If this "
            "mix is usual, compare with a good week: --baseline-since, --baseline-until."
        )


def _chance(p_value: float) -> str:
    """Return a small chance in words."""
    return "less than one log in 1,000" if p_value < 0.001 else f"one log in {round(1 / p_value):,}"
