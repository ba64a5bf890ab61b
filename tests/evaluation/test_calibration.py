"""Calibration against a slow reference that goes image by image."""

import math

import numpy as np
import pytest
import scipy.optimize
import torch

from modiste.evaluation.calibration import (
    BINS,
    confidence_and_prediction,
    expected_calibration_error,
    fit_temperature,
    reliability,
)


def slow_bins(logits: torch.Tensor, labels: torch.Tensor, bins: int) -> list[tuple[float, float, int]]:
    members: list[list[tuple[float, bool]]] = [[] for _ in range(bins)]
    for row, label in zip(logits.double().tolist(), labels.tolist(), strict=True):
        powers = [math.exp(value - max(row)) for value in row]
        confidence, predicted = max(powers) / sum(powers), powers.index(max(powers))
        for number in range(bins):
            if number / bins < confidence <= (number + 1) / bins:
                members[number].append((confidence, predicted == label))
    return [
        (float(np.mean([item[0] for item in part])), float(np.mean([item[1] for item in part])), len(part))
        for part in members
        if part
    ]


def sample(scale: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    random = np.random.RandomState(seed)
    logits = torch.from_numpy(random.normal(size=(500, 6)) * scale).float()
    return logits, torch.from_numpy(random.randint(0, 6, 500))


@pytest.mark.parametrize("scale", [0.01, 1, 4, 50])
@pytest.mark.parametrize("bins", [1, 10, BINS])
def test_bins_and_error_equal_the_slow_reference(scale: float, bins: int) -> None:
    logits, labels = sample(scale)
    found, expected = reliability(logits, labels, bins), slow_bins(logits, labels, bins)
    assert [item.count for item in found] == [count for _, _, count in expected]
    np.testing.assert_allclose(
        [(item.confidence, item.accuracy) for item in found], [row[:2] for row in expected], rtol=1e-9
    )
    error = sum(abs(confidence - accuracy) * count / 500 for confidence, accuracy, count in expected)
    assert expected_calibration_error(found) == pytest.approx(error, rel=1e-9)


def test_certainty_that_is_right_has_no_error_and_that_is_wrong_has_all() -> None:
    labels = torch.arange(60) % 6
    certain = torch.nn.functional.one_hot(labels, 6).double() * 1000
    assert expected_calibration_error(reliability(certain, labels)) == 0
    assert expected_calibration_error(reliability(certain, (labels + 1) % 6)) == 1


def test_honest_probabilities_have_a_small_error() -> None:
    """Labels drawn from the very probabilities that are stated."""
    random = np.random.RandomState(5)
    logits = torch.from_numpy(random.normal(size=(20_000, 4)) * 2)
    labels = torch.tensor([random.choice(4, p=row) for row in logits.softmax(1).numpy()])
    assert expected_calibration_error(reliability(logits, labels)) < 0.015
    assert expected_calibration_error(reliability(logits * 3, labels)) > 0.1


def test_confidence_and_prediction() -> None:
    logits, _ = sample(2)
    confidence, predicted = confidence_and_prediction(logits)
    assert torch.equal(predicted, logits.argmax(1))
    torch.testing.assert_close(confidence, logits.softmax(1).max(1).values)


@pytest.mark.parametrize(("wrong", "expected"), [(0, 1.0), (1, 800 / math.log(4095)), (400, 100.0)])
def test_saturated_probabilities_that_are_wrong_are_cooled(wrong: int, expected: float) -> None:
    labels = torch.zeros(4096, dtype=torch.int64)
    predicted = (torch.arange(4096) < wrong).long()
    logits = 800.0 * torch.nn.functional.one_hot(predicted, 2)
    assert fit_temperature(logits, labels) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("scale", [0.3, 1.0, 7.0])
def test_the_temperature_is_where_an_independent_search_finds_it(scale: float) -> None:
    draws = torch.Generator().manual_seed(3)
    logits = torch.randn(500, 4, generator=draws)
    labels = torch.multinomial(logits.softmax(1), 1, generator=draws).squeeze(1)

    def loss(temperature: float) -> float:
        return torch.nn.functional.cross_entropy((scale * logits).double() / temperature, labels).item()

    found = scipy.optimize.minimize_scalar(loss, bounds=(0.01, 50), method="bounded", options={"xatol": 1e-8})
    assert fit_temperature(scale * logits, labels) == pytest.approx(found.x, rel=1e-4)
    assert fit_temperature(scale * logits, labels) == pytest.approx(scale, rel=0.2)


def test_where_nothing_is_wrong_the_temperature_stays_finite() -> None:
    labels = torch.tensor([0, 1, 2, 0])
    assert 0.01 <= fit_temperature(torch.eye(3)[labels], labels) < 0.1
    assert fit_temperature(-torch.eye(3)[labels], labels) == pytest.approx(100)
