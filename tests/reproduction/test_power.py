"""The power of a comparison over seeds and images."""

from math import sqrt

import numpy as np
import pytest
import torch
from scipy.stats import nct, norm, t

from modiste.evaluation.statistics import combined_difference, crossed_difference
from modiste.reproduction.verdicts import MOST_SEEDS, POWER, fewest_seeds, power


@pytest.mark.parametrize("seeds", [2, 3, 5, 10, 40])
@pytest.mark.parametrize("effect", [-0.001, 0.0, 0.002, 0.005])
def test_where_only_seeds_vary_it_is_the_power_of_students_test(seeds: int, effect: float) -> None:
    expected = nct.sf(t.isf(0.05, seeds - 1), seeds - 1, effect / 0.003 * sqrt(seeds))
    assert power(effect, seeds, 0.003**2, 0.0, 0.05) == pytest.approx(expected, abs=1e-3)


def test_where_only_images_vary_it_is_the_power_of_the_normal_test() -> None:
    expected = norm.sf(norm.isf(0.05) - 2)
    assert power(0.002, 3, 0.0, 0.001**2, 0.05) == pytest.approx(expected)
    assert [power(effect, 3, 0.0, 0.0, 0.05) for effect in (0.001, -0.001)] == [1.0, 0.0]


@pytest.mark.parametrize("fewest", [2, 3, 4, 5, 17, 1_000, MOST_SEEDS])
def test_the_fewest_seeds_that_suffice_are_found(fewest: int) -> None:
    assert fewest_seeds(lambda seeds: seeds >= fewest) == fewest


def test_no_number_of_seeds_makes_up_for_images() -> None:
    few, enough = (
        fewest_seeds(lambda seeds, effect=effect: power(effect, seeds, 0.003**2, 0.001**2, 0.05) >= POWER)
        for effect in (0.002, 0.0026)  # 2.0 and 2.6 deviations of the images; 2.49 are needed
    )
    assert few is None
    assert enough is not None


@pytest.mark.slow
def test_the_stated_power_is_that_of_the_test() -> None:
    """Draws differences as the two variances say, and counts how often the lower bound is above 0."""
    random, seeds, effect = np.random.default_rng(0), 4, 0.004
    centres = effect + random.normal(0, sqrt(0.003**2 / seeds + 0.001**2), 2000)
    variances = 0.003**2 * random.chisquare(seeds - 1, 2000) / (seeds - 1)
    found = [
        combined_difference(centre, seeds, variance, 0.001**2)
        for centre, variance in zip(centres, variances, strict=True)
    ]
    shown = np.mean([one.bounds(0.05)[0] > 0 for one in found])
    assert shown == pytest.approx(power(effect, seeds, 0.003**2, 0.001**2, 0.05), abs=0.04)  # 3.6 standard errors


def test_seeds_that_agreed_by_chance_are_not_enough() -> None:
    table = torch.zeros(2, 100, dtype=torch.float64)
    table[0, 3] = table[1, 8] = 1
    found = crossed_difference(table)
    alone = power(0.01, 2, found.seed_variance, found.image_variance, 0.05)
    assert (alone, found.bounds(0.05)[0] < 0) == (1.0, True)
    assert power(0.01, 2, found.seed_variance, found.image_variance, 0.05, found.least_variance) < 0.5
