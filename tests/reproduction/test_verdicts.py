"""Verdicts and sentences on made-up experiments, whose differences are known."""

from collections.abc import Sequence
from typing import get_args

import numpy as np
import pytest

from modiste.evaluation.statistics import CrossedDifference, PairedDifference, combined_difference
from modiste.evaluation.two_samples import holm
from modiste.reproduction import verdicts
from modiste.reproduction.experiments import EXPERIMENTS, Experiment
from modiste.reproduction.impact import sentences
from modiste.reproduction.page import impact, last_rows, rows, study_curves_figure, study_figure
from modiste.reproduction.paper import Verdict
from modiste.reproduction.study import EpochDifference, Point, Study
from modiste.reproduction.verdicts import MARGIN, finding, seeds_to_decide, verdict

DROPOUT = next(one for one in EXPERIMENTS if one.name == "dropout")
NORMALISATION = next(one for one in EXPERIMENTS if one.name == "batch normalisation")
NETWORK = EXPERIMENTS[-1]
SURE, UNSURE = 0.0005, 0.006
"""Standard deviations over seeds with which five seeds decide everything, and nothing."""


def over_seeds(difference: float, deviation: float = SURE) -> CrossedDifference:
    return combined_difference(difference, 5, deviation**2, 0.0001**2)


def made_up(
    experiment: Experiment,
    differences: dict[str, CrossedDifference],
    trend: Sequence[float] = (0.01, 0.002),
    gaps: Sequence[float] = (0.05, 0.05, 0.05, 0.05),
) -> Study:
    """Return a study with these differences to the choice, whose accuracy is 92 %."""
    adjusted = dict(zip(differences, holm([one.p_value for one in differences.values()]), strict=True))
    points = []
    for variant, gap in zip(experiment.variants, gaps, strict=False):
        label, against = variant.label, differences.get(variant.label)
        if against is None and label != experiment.chosen:
            continue
        accuracy = 0.92 + (against.difference if against else 0)
        epochs = [EpochDifference(value, (value - 0.001, value + 0.001)) for value in trend] if against else []
        points.append(
            Point(
                label=label,
                accuracies=(accuracy - 0.001, accuracy + 0.001),
                losses=(0.3, 0.2),
                interval=(accuracy - 0.01, accuracy + 0.01),
                loss_interval=None,
                curve=(0.9,) * len(trend),
                against_chosen=against,
                adjusted_p_value=adjusted.get(label),
                trend=tuple(epochs),
                gaps=(gap,),
            )
        )
    return Study(experiment, tuple(points), 10_000)


def dropout(*differences: CrossedDifference) -> Study:
    return made_up(DROPOUT, dict(zip(("0", "0.25", "0.75"), differences, strict=False)))


def network(difference: float, deviation: float = SURE) -> Study:
    others = {"the prose's": over_seeds(-0.01), "Inception": over_seeds(difference, deviation)}
    return made_up(NETWORK, others)


def test_a_choice_does_not_hold_where_a_variant_is_better() -> None:
    found = finding(dropout(over_seeds(0.01), over_seeds(0.002, UNSURE), over_seeds(-0.01)))
    assert found.verdict == "does not hold"
    assert found.reason == "0 is better by 1.00 points (p < 0.001)"
    assert "0: 93.00% ± 0.14% (+1.00); 0.25: 92.20% ± 0.14% (+0.20, no difference shown)" in found.text


def test_a_small_gain_is_called_small() -> None:
    found = finding(dropout(over_seeds(0.003), over_seeds(0.0), over_seeds(0.0)))
    assert found.verdict == "does not hold"
    assert found.reason.endswith(", though by less than 0.50 points")


def test_a_choice_holds_where_no_variant_is_better_by_the_margin() -> None:
    found = finding(dropout(over_seeds(0.0002), over_seeds(-0.02, UNSURE), over_seeds(-0.01)))
    assert found.verdict == "holds"
    assert found.reason == "no variant is better by 0.50 points or more; the highest upper bound is +0.07, of 0"


def test_absence_of_evidence_is_undecided() -> None:
    found = finding(dropout(over_seeds(0.002, UNSURE), over_seeds(-0.01), over_seeds(-0.01)))
    assert found.verdict == "undecided"
    assert found.reason.startswith("0 may be better by up to 0.77 points; if the differences are as measured, ")
    assert found.reason.endswith(" seeds decide with a probability of 80%")


def test_the_margin_itself_is_not_excluded() -> None:
    exact = CrossedDifference(0.0, (-0.01, 0.01), 1.0, 5, 0.0, 0.0)
    at_margin = CrossedDifference(MARGIN, (MARGIN, MARGIN), 1.0, 5, 0.0, 0.0)
    assert verdict(dropout(exact, exact, exact)) == "holds"
    assert verdict(dropout(exact, exact, at_margin)) == "undecided"


def test_a_variant_without_two_seeds_cannot_be_excluded() -> None:
    found = finding(dropout(over_seeds(-0.01), over_seeds(-0.01)))
    assert (found.verdict, found.reason) == ("undecided", "no comparison over two seeds or more is at hand for 0.75")
    assert verdict(dropout(over_seeds(0.01), over_seeds(-0.01))) == "does not hold"
    assert finding(Study(DROPOUT, ())).measured == "no run is finished"
    single = PairedDifference(0.02, (0.01, 0.03), 1e-9, 300, 100)
    lone = Point("0", (0.94,), (0.2,), None, None, (0.94,), single, 1e-9, (), (EpochDifference(0.02, None),), (0.01,))
    chosen = Point("0.5", (0.92,), (0.2,), None, None, (0.92,), gaps=(0.03,))
    one_seed = Study(DROPOUT, (lone, chosen), 10_000)
    assert verdict(one_seed) == "undecided"
    assert "0: 94.00% (+2.00, one seed)" in finding(one_seed).measured
    assert rows(one_seed)[0][4:] == ("<\N{NO-BREAK SPACE}0.001", "")
    assert (
        "from 0 to 0.5 the accuracy changes by -2.00 points (one seed, so the scatter is unknown)"
        in sentences(one_seed)[0]
    )


@pytest.mark.parametrize(
    ("difference", "deviation", "expected", "words"),
    [
        (-0.01, SURE, "holds", "“Inception” is worse by 1.00 points (p < 0.001)"),
        (-0.003, SURE, "holds", "is worse by 0.30 points"),
        (0.0, SURE, "does not hold", "not worse by 0.50 points or more; its lower bound is -0.05"),
        (0.01, SURE, "does not hold", "its lower bound is +0.95"),
        (-0.004, UNSURE, "undecided", "may be worse by up to 0.97 points, which is not shown; if the differences are"),
    ],
)
def test_what_is_said_to_be_worse(difference: float, deviation: float, expected: Verdict, words: str) -> None:
    found = finding(network(difference, deviation))
    assert found.verdict == expected
    assert words in found.reason


def test_a_shortage_takes_verdict_and_reason() -> None:
    found = dropout(over_seeds(0.01), over_seeds(0.0), over_seeds(0.0))
    for shortage in ("quick", "shortened", "unfinished"):
        short = finding(found, shortage)
        assert (short.verdict, short.reason) == (f"not judged: {shortage}", "")
        assert short.verdict in get_args(Verdict)
        assert short.text == finding(found).measured


def test_the_seeds_to_decide_follow_the_effect_and_the_scatter() -> None:
    few, more = (seeds_to_decide([over_seeds(0.0, deviation)]) for deviation in (0.003, 0.006))
    assert few is not None
    assert more is not None
    assert few < more
    hard = combined_difference(0.002, 5, 0.003**2, 0.0015**2)
    assert seeds_to_decide([hard]) is None
    others = [over_seeds(-0.01)] * 2
    assert (
        seeds_to_decide([combined_difference(0.02, 5, 0.003**2, 0.0015**2), hard]) is not None
    )  # one better is enough
    assert "10,000 validation images are too few" in finding(dropout(hard, *others)).reason


def test_sentences_follow_the_numbers_upwards() -> None:
    found = sentences(dropout(over_seeds(0.01), over_seeds(0.0), over_seeds(-0.002, UNSURE)))
    assert found[0].startswith(
        "With the weights of the best epoch: from 0 to 0.5 the accuracy falls by 1.00 points (95 % interval 0.9"
    )
    assert "; from 0.5 to 0.75 it changes by -0.20 points (-0.9" in found[0]
    assert found[0].endswith("which may be chance.")
    assert found[1] == "The highest accuracy is that of 0, 1.00 points above the paper's choice."
    up = sentences(dropout(over_seeds(-0.01), over_seeds(0.0), over_seeds(-0.01)))
    assert "from 0 to 0.5 the accuracy rises by 1.00 points" in up[0]
    assert "from 0.5 to 0.75 it falls by 1.00 points" in up[0]
    assert up[1] == "No variant has a higher accuracy than the paper's choice."


def test_sentences_about_words_start_from_the_choice() -> None:
    found = sentences(made_up(NORMALISATION, {"with": over_seeds(0.01)}))
    assert "with “with” in place of “without” the accuracy rises by 1.00 points" in found[0]


@pytest.mark.parametrize(
    ("trend", "words"),
    [
        ([0.02] + [0.01] * 19, "from epoch 2 to epoch 20, the last: with 0 it grows from"),
        ([0.02] * 19 + [0.001], "with 0 it shrinks from +2.00 to +0.10 points (+0.00 to +0.20)"),
        ([-0.02] * 19 + [0.03], "with 0 it changes from -2.00 to +3.00 points (+2.90 to +3.10)"),
        ([0.01], "after epoch 1, the last: with 0 it is +1.00 points (+0.90 to +1.10); with 0.75 it is"),
    ],
)
def test_the_sentence_on_the_epochs(trend: list[float], words: str) -> None:
    if "grows" in words:
        trend = [0.02, 0.001, *trend[2:]]
    differences = {label: over_seeds(0.001) for label in ("0", "0.25", "0.75")}
    assert words in sentences(made_up(DROPOUT, differences, trend))[2]


def test_overfitting_is_told_where_it_differs() -> None:
    differences = {label: over_seeds(0.001) for label in ("0", "0.25", "0.75")}
    assert len(sentences(made_up(DROPOUT, differences))) == 3
    told = sentences(made_up(DROPOUT, differences, gaps=(0.08, 0.07, 0.06, -0.01)))[3]
    assert told == (
        "After the last epoch, training accuracy minus validation accuracy, in points, is +6.00 with 0.5, +8.00 with "
        "0, -1.00 with 0.75."
    )


def test_without_the_choice_nothing_is_compared() -> None:
    lone = Point("0", (0.94,), (0.2,), None, None, (0.94,))
    assert sentences(Study(DROPOUT, (lone,))) == ["Nothing can be compared with the paper's choice yet."]


def test_the_page_shows_bounds_verdict_and_every_epoch() -> None:
    found = dropout(over_seeds(0.01), over_seeds(0.0), over_seeds(0.0))
    assert impact(found, finding(found))[-1] == "Does not hold: 0 is better by 1.00 points (p < 0.001)."
    assert impact(found, finding(found, "quick"))[-1] == "Not judged: quick."
    table = rows(found)
    assert [row[5] for row in table[:3]] == ["+0.95 and +1.05", "-0.05 and +0.05", ""]
    assert last_rows(found)[0] == ("0", "90.00%", "+0.20 (+0.10 to +0.30)", "+5.00")
    assert last_rows(found)[2] == ("0.5 (the paper's)", "90.00%", "", "+5.00")


@pytest.mark.parametrize(("trend", "marker"), [((0.01,), "o"), ((0.01, 0.02), "")])
def test_a_single_epoch_is_drawn_as_a_marker(trend: tuple[float, ...], marker: str) -> None:
    differences = {label: over_seeds(0.001) for label in ("0", "0.25", "0.75")}
    accuracies, against = study_curves_figure(made_up(DROPOUT, differences, trend)).axes
    assert {line.get_marker() for line in accuracies.lines} == {marker}
    assert len(against.collections) == (3 if len(trend) > 1 else 0)  # the areas of the intervals
    low, high = against.get_ylim()
    assert low < 0 < high


def test_the_margin_is_about_the_doubt_of_the_papers_accuracy() -> None:
    from modiste.evaluation.statistics import wilson_interval

    low, high = wilson_interval(9_132, 10_000)
    assert (high - low) / 2 == pytest.approx(verdicts.MARGIN, abs=0.001)


@pytest.mark.parametrize(("truth", "wrong"), [(0.0, "does not hold"), (MARGIN, "holds")])
def test_verdicts_are_wrong_no_more_often_than_stated(truth: float, wrong: Verdict) -> None:
    """Draws measured differences of three variants around the true ones, of which two are clearly worse."""
    random, seeds, trials, others = np.random.default_rng(7), 4, 150, len(DROPOUT.variants) - 1
    count = 0
    for _ in range(trials):
        by_seed = random.normal((truth, -0.03, -0.03), 0.004, (seeds, others))
        centres = by_seed.mean(0) + random.normal(0, 0.001, others)
        found = [
            combined_difference(float(centre), seeds, float(variance), 0.001**2)
            for centre, variance in zip(centres, by_seed.var(0, ddof=1), strict=True)
        ]
        count += verdict(dropout(*found)) == wrong
    assert count <= 16  # 7.5 are due at most; 8 more are three standard errors


def test_every_accuracy_at_the_axis_is_the_one_it_says() -> None:
    """Of accuracies half a point apart; in tenths of a percent, neighbouring lines had unequal steps."""
    study = made_up(NORMALISATION, {"with": over_seeds(-0.00165)})
    for figure in (study_figure(study), study_curves_figure(study)):
        axis = figure.axes[0].yaxis
        said = [float(label.get_text().replace("\u2212", "-").removesuffix(" %")) for label in axis.get_ticklabels()]
        assert said == pytest.approx([100 * place for place in axis.get_majorticklocs()], abs=1e-6)
