"""Intervals and tests against SciPy's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from modiste.evaluation.statistics import paired_difference, wilson_interval


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.999])
@pytest.mark.parametrize(
    ("successes", "trials"), [(0, 1), (1, 1), (0, 10), (10, 10), (1, 3), (9_132, 10_000), (9_999, 10_000), (1, 10**7)]
)
def test_equals_scipy(successes: int, trials: int, confidence: float) -> None:
    expected = binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    found = wilson_interval(successes, trials, confidence)
    assert found == pytest.approx((expected.low, expected.high), rel=1e-9, abs=1e-12)


@settings(max_examples=200, derandomize=True, deadline=None, database=None)
@given(st.integers(1, 10**9).flatmap(lambda trials: st.tuples(st.integers(0, trials), st.just(trials))))
def test_it_holds_the_share_within_the_unit_interval_and_is_symmetric(pair: tuple[int, int]) -> None:
    successes, trials = pair
    low, high = wilson_interval(successes, trials)
    assert 0 <= low <= successes / trials
    assert successes / trials <= high <= 1
    mirrored = wilson_interval(trials - successes, trials)
    assert (1 - mirrored[1], 1 - mirrored[0]) == pytest.approx((low, high), abs=1e-12)
    assert wilson_interval(successes, trials, 0.99)[0] <= low


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (-1, 3), (4, 3), (0, -1), (-2, -1)])
def test_what_is_no_share_is_refused(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match="0 <= successes <= trials"):
        wilson_interval(successes, trials)


@pytest.mark.parametrize(
    ("wins", "losses"), [(0, 0), (1, 0), (0, 1), (5, 5), (3, 12), (12, 3), (412, 350), (0, 60), (5_000, 4_700)]
)
def test_the_paired_test_equals_scipy(wins: int, losses: int) -> None:
    expected = binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    assert paired_difference(wins, losses, 10_000).p_value == pytest.approx(expected, rel=1e-9)


def test_turning_the_pair_round_turns_the_difference_round() -> None:
    one, other = paired_difference(30, 12, 500), paired_difference(12, 30, 500)
    assert one.difference == -other.difference == pytest.approx(18 / 500)
    assert one.interval == pytest.approx((-other.interval[1], -other.interval[0]))
    assert one.p_value == other.p_value


@pytest.mark.parametrize(
    ("alone_first", "alone_second", "both"), [(0.03, 0.02, 0.9), (0.2, 0.1, 0.5), (0.01, 0.01, 0.9)]
)
def test_the_interval_of_a_difference_holds_it_as_often_as_it_says(
    alone_first: float, alone_second: float, both: float
) -> None:
    draws = np.random.default_rng(0).multinomial(
        1000, [alone_first, alone_second, both, 1 - alone_first - alone_second - both], size=2000
    )
    intervals = [paired_difference(int(wins), int(losses), 1000).interval for wins, losses, *_ in draws]
    covered = np.mean([low <= alone_first - alone_second <= high for low, high in intervals])
    assert 0.935 < covered < 0.97


@pytest.mark.parametrize(("wins", "losses", "trials"), [(-1, 0, 3), (2, 2, 3), (0, 0, 0)])
def test_what_is_no_pair_is_refused(wins: int, losses: int, trials: int) -> None:
    with pytest.raises(ValueError, match="wins"):
        paired_difference(wins, losses, trials)
