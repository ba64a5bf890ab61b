"""Simulate the verdict on an experiment, and count how often it is wrong; write ``records/reproduction/verdicts``.

    python benchmarks/verdict_simulation.py [--trials 2000] [--out records/reproduction]

In each trial, the measured differences and their variances are drawn as the two variances say, and judged as the
reproduction judges. Holm's correction sees variants that are compared with one choice, so their differences share its
deviation. The seeds that would decide are checked too: with that number of seeds, how often is the verdict decided?
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import sqrt
from typing import Any

import numpy as np
from jaxtyping import Float

from modiste.evaluation.statistics import CrossedDifference, combined_difference
from modiste.evaluation.two_samples import holm
from modiste.reproduction.experiments import EXPERIMENTS, Experiment
from modiste.reproduction.study import Point, Study
from modiste.reproduction.verdicts import MARGIN, seeds_to_decide, verdict
from record import Record, describe_machine, parser, provenance, rows

SEEDS = (3, 5, 10)
SEED_DEVIATIONS = (0.0015, 0.003, 0.006)
"""Standard deviations of the difference of one seed. Measured: 0.13 points between ``sprint`` and ``sprint-93`` (three
seeds), 0.31 between two runs of ``paper`` after 50 epochs (0.22 for each of three seeds, ``records/paper``), and a
median of 0.59 between variants after 4 epochs (three seeds, ``records/reproduction/four-epochs``)."""
IMAGE_DEVIATION = 0.001
"""What 10,000 validation images add to the mean difference: 0.10 points between ``sprint`` and ``sprint-93``."""
VERDICTS = ("does not hold", "holds", "undecided")
FAR = -0.03
"""True difference of variants that are clearly worse."""
SHARED = 0.5
"""Part of a difference's variance over seeds that comes from the choice, which all variants share."""


@dataclass(frozen=True)
class Case:
    """What is simulated: an experiment, and the true difference of every variant to the choice."""

    name: str
    experiment: Experiment
    differences: dict[str, float]


def main() -> None:
    arguments = parser(__doc__, "records/reproduction")
    arguments.add_argument("--trials", type=int, default=2000)
    options = arguments.parse_args()
    found = [
        rates(case, seeds, deviation, options.trials)
        for case, deviation, seeds in product(cases(), SEED_DEVIATIONS, SEEDS)
    ]
    powers = [check_power(difference, deviation, options.trials) for difference, deviation in powered()]
    record = provenance() | {
        "trials": options.trials,
        "margin": MARGIN,
        "image_deviation": IMAGE_DEVIATION,
        "rates": found,
        "powers": powers,
    }
    Record(options.out, "verdicts.json", "verdicts.md").save(record, as_markdown(record))
    print(options.out / "verdicts.md")


def cases() -> Iterator[Case]:
    """Return the cases: one variant or four, one of which differs, and the variant that the paper calls worse."""
    by_name = {one.name: one for one in EXPERIMENTS}
    one, four, worse = by_name["batch normalisation"], by_name["learning rate"], by_name["network"]
    for steps in (0, 1, 2):
        difference = steps * MARGIN
        yield Case("one variant", one, {"with": difference})
        yield Case("four variants, all alike", four, dict.fromkeys(labels(four), difference))
        yield Case("four variants, three of them worse", four, dict.fromkeys(labels(four), FAR) | {"0.003": difference})
        yield Case("a variant called worse", worse, {"the prose's": FAR, "Inception": -difference or 0.0})


def labels(experiment: Experiment) -> list[str]:
    """Return the variants that are compared with the choice."""
    return [variant.label for variant in experiment.variants if variant.label != experiment.chosen]


def rates(case: Case, seeds: int, deviation: float, trials: int) -> dict[str, Any]:
    """Return how often each verdict is given."""
    counts = Counter(verdict(one) for one in simulated(case, seeds, deviation, trials))
    named = "0.003" if "0.003" in case.differences else labels(case.experiment)[-1]
    return {
        "case": case.name,
        "difference": case.differences[named],
        "seeds": seeds,
        "seed_deviation": deviation,
        **{word: counts[word] / trials for word in VERDICTS},
    }


def simulated(case: Case, seeds: int, deviation: float, trials: int) -> Iterator[Study]:
    """Return studies whose measured differences scatter around the true ones."""
    random = np.random.default_rng([seeds, round(1e6 * deviation), trials])
    truth = np.array(list(case.differences.values()))
    for _ in range(trials):
        by_seed = deviation * shared_normal(random, (seeds, len(truth)))
        centres = truth + by_seed.mean(0) + IMAGE_DEVIATION * shared_normal(random, (1, len(truth)))[0]
        found = [
            combined_difference(float(centre), seeds, float(variance), IMAGE_DEVIATION**2)
            for centre, variance in zip(centres, by_seed.var(0, ddof=1), strict=True)
        ]
        yield as_study(case.experiment, dict(zip(case.differences, found, strict=True)))


def shared_normal(random: np.random.Generator, shape: tuple[int, int]) -> Float[np.ndarray, "n variants"]:
    """Return standard normal values; those of a row share the part that the choice adds."""
    own, choice = random.normal(size=shape), random.normal(size=(shape[0], 1))
    return sqrt(1 - SHARED) * own + sqrt(SHARED) * choice


def as_study(experiment: Experiment, found: dict[str, CrossedDifference]) -> Study:
    """Return the study with these differences; its other numbers do not matter for the verdict."""
    adjusted = holm([one.p_value for one in found.values()])
    points = [
        Point(label, (0.9 + one.difference,), (0.3,), None, None, (), one, p_value)
        for (label, one), p_value in zip(found.items(), adjusted, strict=True)
    ]
    chosen = Point(experiment.chosen, (0.9,), (0.3,), None, None, ())
    return Study(experiment, (chosen, *points), 10_000)


def powered() -> Iterator[tuple[float, float]]:
    """Return true differences and deviations for which the seeds that decide are checked."""
    yield from product((-0.001, 0.0, 0.001, 0.004, 0.0075), SEED_DEVIATIONS)


def check_power(difference: float, deviation: float, trials: int) -> dict[str, Any]:
    """Return the seeds that should decide on four variants, and how often the verdict is decided with them."""
    experiment = next(one for one in EXPERIMENTS if one.name == "learning rate")
    case = Case("", experiment, dict.fromkeys(labels(experiment), FAR) | {"0.003": difference})
    truth = [combined_difference(one, 5, deviation**2, IMAGE_DEVIATION**2) for one in case.differences.values()]
    needed = seeds_to_decide(truth)
    decided = None
    if needed is not None:
        decided = sum(verdict(one) != "undecided" for one in simulated(case, needed, deviation, trials)) / trials
    return {"difference": difference, "seed_deviation": deviation, "seeds": needed, "decided": decided}


def as_markdown(record: dict[str, Any]) -> str:
    """Return the page about the simulation."""
    return f"""# How often the verdicts on the experiments are wrong

Made by `{record["command"]}`: {record["trials"]:,} trials each, margin {100 * MARGIN:.2f} points.
Differences and deviations are in points. The deviation is that of the difference of one seed;
{100 * IMAGE_DEVIATION:.2f} points come from the images. How the verdict is made:
[docs/reproduce.md](../../docs/reproduce.md#verdicts).

At a true difference of 0, *does not hold* is wrong; at the margin or above it, *holds* is. Where the paper calls a
variant worse, it is the other way round: at 0 *holds* is wrong, and at the margin or below *does not hold* is. At most
5 % of the verdicts should be wrong. **Highest rate: {worst(record["rates"], 0):.1%} at a difference of 0, and
{worst(record["rates"], 1):.1%} at the margin or beyond.** With {record["trials"]:,} trials, a rate of 5 % scatters
between {scatter(record["trials"], -1):.1%} and {scatter(record["trials"], 1):.1%} (two standard errors).

The columns of seeds give *does not hold* / *holds* / *undecided* in per cent.

| case | difference | deviation | {" | ".join(f"{seeds} seeds" for seeds in SEEDS)} |
|---|---|---|{"---|" * len(SEEDS)}
{rows(rate_rows(record["rates"]))}

## Seeds that decide

Four variants, three of them clearly worse; the difference is that of the fourth. *Seeds* is the number that the page
states for 80 %.

| difference | deviation | seeds | decided |
|---|---|---|---|
{rows(map(power_row, record["powers"]))}

## Machine

{describe_machine(record["machine"])}
"""


def rate_rows(found: Sequence[dict[str, Any]]) -> Iterator[Sequence[object]]:
    """Return a row for each case, difference and deviation, with the rates for each number of seeds."""
    for start in range(0, len(found), len(SEEDS)):
        group = found[start : start + len(SEEDS)]
        numbers = (f"{100 * group[0][name]:.2f}" for name in ("difference", "seed_deviation"))
        cells = (" / ".join(f"{100 * one[word]:.1f}" for word in VERDICTS) for one in group)
        yield group[0]["case"], *numbers, *cells


def power_row(one: dict[str, Any]) -> Sequence[object]:
    decided = "the images are too few" if one["decided"] is None else f"{one['decided']:.0%}"
    return f"{100 * one['difference']:+.2f}", f"{100 * one['seed_deviation']:.2f}", one["seeds"] or "none", decided


def worst(found: Sequence[dict[str, Any]], steps: int) -> float:
    """Return the highest rate of wrong verdicts at a difference of 0 (``steps`` 0), or at the margin and beyond (1)."""
    wrong = ("does not hold", "holds")
    return max(
        one[wrong[steps] if "called worse" not in one["case"] else wrong[1 - steps]]
        for one in found
        if (one["difference"] != 0) == bool(steps)
    )


def scatter(trials: int, side: int) -> float:
    """Return an end of the range in which a rate of 5 % lies by chance."""
    return 0.05 + side * 2 * sqrt(0.05 * 0.95 / trials)


if __name__ == "__main__":
    main()
