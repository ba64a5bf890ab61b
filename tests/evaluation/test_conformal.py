"""Prediction sets hold the label as often as they promise."""

from math import ceil, inf

import numpy as np
import pytest
import torch
from scipy.stats import betabinom

from modiste import machine
from modiste.benchmarks import conformal as yardstick
from modiste.errors import RecipeError
from modiste.evaluation.conformal import (
    METHODS,
    adaptive_scores,
    expected_interval,
    least_probability,
    prediction_sets,
    threshold,
)

every_method = pytest.mark.parametrize("method", METHODS)


def images(seed: int, count: int = 600) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of an overconfident network for ten classes, right on about four images in five."""
    numbers = np.random.RandomState(seed)
    labels = numbers.randint(0, 10, count)
    logits = numbers.standard_normal((count, 10))
    logits[np.arange(count), labels] += 2.5
    return torch.from_numpy(2 * logits).float(), torch.from_numpy(labels)


@every_method
@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
def test_coverage_is_as_stated_over_divisions_of_one_set(method: str, coverage: float) -> None:
    """Divisions of one set are independent of each other: their share within the interval is that of the law."""
    low, high = (round(500 * one) for one in expected_interval(500, 500, coverage))
    rank = ceil(round(501 * coverage, 9))
    law = betabinom(500, rank, 501 - rank)
    chance = law.cdf(high) - law.cdf(low - 1)
    assert 0.95 <= chance < 0.96
    found = yardstick.over_divisions(images(0, 1000), coverage, method)
    assert found["mean_coverage_of_divisions"] == pytest.approx(coverage, abs=0.003)
    spread = (chance * (1 - chance) / yardstick.DIVISIONS) ** 0.5
    assert found["divisions_within_interval"] == pytest.approx(chance, abs=2.5 * spread)


@pytest.mark.parametrize(
    ("calibration", "count", "coverage"),
    [(5000, 5000, 0.95), (10_000, 10_000, 0.9), (19, 50, 0.95), (7, 3, 0.8), (20, 1, 0.5), (300, 2000, 0.99)],
)
def test_the_interval_is_that_of_the_beta_binomial_law(calibration: int, count: int, coverage: float) -> None:
    rank = ceil(round((calibration + 1) * coverage, 9))
    law = betabinom(count, rank, calibration + 1 - rank)
    assert expected_interval(calibration, count, coverage) == (law.ppf(0.025) / count, law.ppf(0.975) / count)


def test_the_smallest_coverage_makes_the_smallest_sets() -> None:
    assert threshold(torch.arange(1.0, 10.0), 1e-15) == 1.0
    low, high = expected_interval(9, 50, 1e-15)
    assert 0 <= low <= high < 1


def test_the_size_of_a_single_set_has_no_interval() -> None:
    (known, labels), one = images(0), images(1, 1)
    found = yardstick.describe((known, labels), one, 0.9, "adaptive", tuple("abcdefghij"))
    assert found["mean_size_interval"] is None
    low, high = yardstick.describe(images(0, 9), images(1, 2), 0.01, "adaptive", tuple("abcdefghij"))[
        "mean_size_interval"
    ]
    assert 0 <= low <= high


def test_images_too_few_for_a_threshold_are_all_covered() -> None:
    assert expected_interval(18, 50, 0.95) == (1, 1)


@every_method
def test_coverage_over_independent_images(method: str) -> None:
    """Calibration and measurement anew each time, so that all draws are independent."""
    low, high = expected_interval(300, 300, 0.9)
    hits, total = 0, 0.0
    for seed in range(100):
        calibration, (logits, labels) = images(2 * seed, 300), images(2 * seed + 1, 300)
        sets = prediction_sets(calibration, logits, 0.9, method, seed=seed)
        share = sets.gather(1, labels[:, None]).double().mean().item()
        hits, total = hits + (low <= share <= high), total + share
    assert 88 <= hits <= 100  # 95 expected, with a standard deviation of 2
    assert total / 100 == pytest.approx(0.9, abs=0.008)


def test_least_ambiguous_sets_are_the_smaller_ones() -> None:
    calibration, (logits, _) = images(1), images(2)
    sizes = {method: prediction_sets(calibration, logits, 0.95, method).sum(1).double().mean() for method in METHODS}
    assert sizes["least ambiguous"] < sizes["adaptive"]


def test_adaptive_scores_by_hand() -> None:
    found = adaptive_scores(torch.tensor([[0.2, 0.5, 0.3]], dtype=torch.float64), machine.generator(0, "x"))[0]
    [part] = (found[1:2] / 0.5).tolist()
    assert 0 <= part <= 1
    assert found.tolist() == pytest.approx([0.8 + part * 0.2, part * 0.5, 0.5 + part * 0.3])


def test_the_least_probability_gives_the_same_sets() -> None:
    calibration, (logits, _) = images(3), images(4)
    least = least_probability(*calibration, 0.9)
    from modiste.evaluation.calibration import fit_temperature

    probabilities = (logits.double() / fit_temperature(*calibration)).softmax(1)
    assert (probabilities >= least).equal(prediction_sets(calibration, logits, 0.9, "least ambiguous"))


def test_too_few_images_promise_nothing() -> None:
    assert threshold(torch.arange(18.0), 0.95) == inf
    assert threshold(torch.arange(19.0), 0.95) == 18
    assert prediction_sets(images(5, 18), images(6, 4)[0], 0.95, "least ambiguous").all()


@pytest.mark.parametrize("coverage", [0.0, 1.0, 95.0, -0.1])
def test_a_coverage_out_of_range(coverage: float) -> None:
    with pytest.raises(RecipeError, match=r"^coverage: expected a number between 0 and 1"):
        threshold(torch.arange(9.0), coverage)
