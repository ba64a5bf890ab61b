"""Distances of two samples and their p-values against SciPy's, and by simulation."""

import numpy as np
import pytest
from scipy import stats

from modiste.evaluation.two_samples import (
    chi_squared_p,
    effective_count,
    kolmogorov_distance,
    kolmogorov_p,
    population_stability_index,
    significant_count,
    significant_distance,
)


@pytest.mark.parametrize(("count", "other"), [(30, 3000), (500, 700), (2000, 500)])
@pytest.mark.parametrize("moved", [0.0, 0.1, 0.3])
def test_kolmogorov_equals_scipy(count: int, other: int, moved: float) -> None:
    random = np.random.default_rng(count)
    values, others = random.normal(moved, 1, count).round(2), random.normal(0, 1, other).round(2)
    expected = stats.ks_2samp(values, others, method="exact")
    distance = kolmogorov_distance(values, others)
    assert distance == pytest.approx(expected.statistic, abs=1e-12)
    assert kolmogorov_p(distance, count, other) == pytest.approx(expected.pvalue, rel=0.1, abs=1e-6)


def test_kolmogorov_p_at_its_ends() -> None:
    assert kolmogorov_p(0.0, 10, 10) == 1.0
    assert kolmogorov_p(1.0, 500, 500) == pytest.approx(0, abs=1e-200)
    assert kolmogorov_p(significant_distance(0.003, 400, 3000), 400, 3000) == pytest.approx(0.003, rel=1e-3)
    assert significant_distance(0.01, 10**8, 10**8) == pytest.approx(
        (significant_count(1.0, 0.01) / effective_count(10**8, 10**8)) ** 0.5, rel=1e-3
    )


def test_of_equal_samples_one_in_a_hundred_has_a_p_value_below_it() -> None:
    random = np.random.default_rng(0)
    found = [
        kolmogorov_p(kolmogorov_distance(random.normal(size=300), random.normal(size=900)), 300, 900)
        for _ in range(1000)
    ]
    assert 2 <= sum(one < 0.01 for one in found) <= 22


def test_chi_squared_equals_scipy() -> None:
    counts, others = np.array([30, 0, 12, 5]), np.array([200, 0, 130, 20])
    kept = np.stack([counts, others])[:, [0, 2, 3]]
    assert chi_squared_p(counts, others) == pytest.approx(stats.chi2_contingency(kept, correction=False).pvalue)
    assert chi_squared_p(np.array([5, 0]), np.array([9, 0])) == 1.0
    with pytest.raises(ValueError, match="found an empty one"):
        chi_squared_p(np.array([0, 0]), np.array([9, 1]))


@pytest.mark.parametrize("count", [30, 100, 1000])
@pytest.mark.parametrize("rare", [[0.0005] * 3, [0.01] * 5, [0.5**place for place in range(2, 12)]], ids=len)
def test_rare_bins_of_equal_samples_are_no_alarm(count: int, rare: list[float]) -> None:
    """With the law of each single bin, one sample in 40 had a p-value below 1 in 300."""
    rest = (1 - sum(rare)) / 4
    numbers = np.random.RandomState(0)
    samples, others = (numbers.multinomial(size, [*rare, *[rest] * 4], 500) for size in (count, 3000))
    alarms = sum(chi_squared_p(one, other) < 1 / 300 for one, other in zip(samples, others, strict=True))
    assert alarms <= 8  # 1.7 are expected; eight by the law of one in 80


def test_a_difference_in_rare_bins_together_is_found() -> None:
    often = np.array([10] * 20 + [800])
    seldom = np.array([1] * 20 + [2980])
    assert chi_squared_p(often, seldom) < 1e-6


def test_common_bins_stand_alone() -> None:
    """One bin of the smaller sample should have 1.8, and takes the next with it; the others stay as they are."""
    counts, others = np.array([1, 20, 30, 49]), np.array([21, 200, 300, 679])
    together = stats.chi2_contingency(np.array([[21, 30, 49], [221, 300, 679]]), correction=False).pvalue
    assert chi_squared_p(counts, others) == pytest.approx(together)


def test_stability_index_is_symmetric_and_by_chance_as_the_formula_says() -> None:
    random, shares = np.random.default_rng(0), np.full(10, 0.1)
    pairs = [(random.multinomial(500, shares), random.multinomial(2000, shares)) for _ in range(400)]
    found = [population_stability_index(one, other) for one, other in pairs]
    assert found == pytest.approx([population_stability_index(other, one) for one, other in pairs])
    assert min(found) > 0
    assert np.mean(found) == pytest.approx(9 * (1 / 500 + 1 / 2000), rel=0.1)
