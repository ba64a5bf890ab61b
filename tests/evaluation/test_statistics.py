"""Intervals and tests against SciPy's and statsmodels', and by simulation."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, norm, t, ttest_1samp

from fault_counter import slow_case
from modiste.evaluation.statistics import (
    crossed_difference,
    crossed_sum,
    mean_interval,
    paired_difference,
    wilson_interval,
)
from modiste.evaluation.two_samples import holm


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


@pytest.mark.slow  # the first import of statsmodels takes half a minute
def test_holm_equals_statsmodels() -> None:
    """Of any number of p-values, in any order, with some at the ends of their range, and with equal ones."""
    from statsmodels.stats.multitest import multipletests

    random = np.random.RandomState(3)
    ends = np.array([0, 1, 1, 0.01, 0.01, 1e-300])
    for count in range(1, 51):
        values = np.where(random.rand(count) < 0.3, random.choice(ends, count), random.rand(count) ** 3).tolist()
        assert holm(values) == pytest.approx(multipletests(values, method="holm")[1].tolist())


def right_and_wrong(seeds: int, images: int, spread: float, random: np.random.Generator) -> torch.Tensor:
    """Two ways of training that are equally good: images are hard for both, each has its taste, seeds their luck."""
    hard, taste = random.normal(2, 1.4, images), random.normal(0, 0.5, (2, 1, images))
    luck = random.normal(0, spread, (2, seeds, 1))
    chance = 1 / (1 + np.exp(-1.5 * (hard + taste + luck)))
    right = random.random((2, seeds, images)) < chance
    return torch.from_numpy(right[0].astype(float) - right[1])


@pytest.mark.parametrize(("seeds", "images"), [(2, 100), slow_case(2, 500), slow_case(3, 500), slow_case(10, 500)])
@pytest.mark.parametrize("spread", [0.0, 0.2])
def test_two_equals_are_called_different_no_more_often_than_stated(seeds: int, images: int, spread: float) -> None:
    random = np.random.default_rng(1)
    found = [crossed_difference(right_and_wrong(seeds, images, spread, random)) for _ in range(200)]
    alarms = sum(one.p_value < 0.05 for one in found)
    assert alarms <= 17  # 10 are due; more than 17 come by chance once in a hundred times
    assert alarms == sum(not one.interval[0] <= 0 <= one.interval[1] for one in found)


def test_seeds_that_agree_by_chance_leave_the_doubt_of_the_images() -> None:
    table = torch.zeros(2, 100, dtype=torch.float64)
    table[0, 3] = table[1, 8] = 1  # one more is right with each seed, but not the same one
    found = crossed_difference(table)
    alone = float(table.mean(0).var() / 100 + 1 / 100**2) ** 0.5
    assert found.interval == pytest.approx((0.01 - 1.96 * alone, 0.01 + 1.96 * alone), rel=1e-4)
    assert found.p_value == pytest.approx(2 * norm.sf(0.01 / alone), rel=1e-6)
    assert found.bounds(0.025) == pytest.approx(found.interval)


def test_where_only_seeds_differ_it_is_students_test_over_seeds() -> None:
    by_seed = torch.tensor([0.25, 0.5, 0.0, 0.75], dtype=torch.float64)
    found = crossed_difference(by_seed[:, None].expand(4, 60))
    expected = ttest_1samp(by_seed.numpy(), 0)
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-6)
    assert found.interval == pytest.approx(expected.confidence_interval(), rel=1e-6)


def test_where_only_images_differ_it_is_the_test_over_images() -> None:
    by_image = torch.tensor([1, 0, 0, -1, 1, 0, 1, 0], dtype=torch.float64)
    found = crossed_difference(by_image.expand(3, 8))
    error = float(by_image.var() / 8 + 1 / 8**2) ** 0.5
    assert found.p_value == pytest.approx(2 * norm.sf(float(by_image.mean()) / error), rel=1e-6)


def test_the_two_doubts_are_joined_as_by_hand() -> None:
    table = torch.tensor([[1, 0, 1, 0, 0, 1], [1, 1, 0, 0, 1, 1], [0, 0, 1, 0, -1, 1]], dtype=torch.float64)
    seeds, images = table.numpy().mean(1), table.numpy().mean(0)
    rest = (
        sum((float(table[s, i]) - seeds[s] - images[i] + float(table.mean())) ** 2 for s in range(3) for i in range(6))
        / 10
    )
    of_seeds, of_images = seeds.var(ddof=1) / 3, images.var(ddof=1) / 6 - rest / 18
    half = (t.isf(0.025, 2) ** 2 * of_seeds + norm.isf(0.025) ** 2 * of_images) ** 0.5
    found = crossed_difference(table)
    mean = float(table.mean())
    assert found.interval == pytest.approx((mean - half, min(1, mean + half)))


@pytest.mark.parametrize("spread", [0.0, 0.2])
def test_a_gap_between_two_sets_of_images_is_found_no_more_often_than_stated(spread: float) -> None:
    random, alarms = np.random.default_rng(2), 0
    for _ in range(200):
        luck, hard = random.normal(0, spread, (3, 1)), random.normal(2, 1.4, (2, 1, 300))
        right = random.random((2, 3, 300)) < 1 / (1 + np.exp(-1.5 * (hard + luck)))
        low, high = crossed_sum([torch.from_numpy(1.0 * right[0]), -torch.from_numpy(1.0 * right[1])]).interval
        alarms += not low <= 0 <= high
    assert 1 <= alarms <= 17  # at most 10 are due


def test_tables_of_other_seeds_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected 3 seeds in every table, found \[3, 2\]"):
        crossed_sum([torch.zeros(3, 5), torch.zeros(2, 5)])


def test_one_sided_bounds_are_those_of_students_test_and_frame_the_interval() -> None:
    by_seed = torch.tensor([0.25, 0.5, 0.0, 0.75], dtype=torch.float64)
    found = crossed_difference(by_seed[:, None].expand(4, 60))
    low, high = ttest_1samp(by_seed.numpy(), 0).confidence_interval(0.9)
    assert found.bounds(0.05) == pytest.approx((low, high))
    assert found.bounds(0.025) == pytest.approx(found.interval)
    assert (found.seeds, found.seed_variance) == (4, pytest.approx(by_seed.var().item()))
    assert found.image_variance == pytest.approx(0, abs=1e-9)
    shown = ttest_1samp(by_seed.numpy(), 0.9, alternative="less").pvalue
    assert (found.bounds(shown * 1.01)[1] < 0.9) is True
    assert (found.bounds(shown * 0.99)[1] < 0.9) is False


def test_the_upper_bound_is_below_the_true_difference_in_one_case_of_twenty() -> None:
    random = np.random.default_rng(5)
    found = [crossed_difference(right_and_wrong(4, 500, 0.3, random)) for _ in range(300)]
    assert sum(one.bounds(0.05)[1] < 0 for one in found) <= 26  # 15 are due; more come by chance in 0.3 %


def test_four_images_show_no_difference_though_all_seeds_agree_on_them() -> None:
    """A linear layer on fixed features is the same with every seed. The exact test over images gives 0.125 here."""
    table = torch.zeros(3, 570, dtype=torch.float64)
    table[:, :4] = 1
    found = crossed_difference(table)
    assert paired_difference(4, 0, 570).p_value == 0.125
    assert found.p_value > 0.05
    assert found.interval[0] < 0


def test_what_never_varies_has_hardly_any_doubt() -> None:
    assert crossed_difference(torch.zeros(3, 5)).p_value == 1
    assert crossed_difference(torch.ones(3, 5)).p_value < 1e-6
    with pytest.raises(ValueError, match="2 seeds"):
        crossed_difference(torch.zeros(1, 5))


def test_the_interval_of_a_mean_is_students() -> None:
    values = (0.91, 0.93, 0.925)
    assert mean_interval(values) == pytest.approx(ttest_1samp(values, 0).confidence_interval())
    assert mean_interval((0.91,)) is None
