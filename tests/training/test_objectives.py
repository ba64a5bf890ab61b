"""Objectives against what they say."""

import pytest
import torch

from modiste.training.objectives import OBJECTIVES

LOGITS = torch.randn(9, 4, generator=torch.Generator().manual_seed(1)).double()
TARGETS = torch.rand(9, 4, generator=torch.Generator().manual_seed(2)).double().softmax(1)


def slow(name: str) -> float:
    total = 0.0
    if name == "margin":
        pairs = zip(LOGITS.flatten().tolist(), TARGETS.flatten().tolist(), strict=True)
        return sum(t * max(0, 0.9 - v) ** 2 + 0.5 * (1 - t) * max(0, v - 0.1) ** 2 for v, t in pairs) / len(LOGITS)
    for logits, targets in zip(LOGITS, TARGETS, strict=True):
        given = logits.exp() / logits.exp().sum()
        for probability, target in zip(given, targets, strict=True):
            total += -(target * probability.log()) if name == "cross-entropy" else (probability - target) ** 2
    return float(total) / len(LOGITS)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_value_equals_the_definition(name: str) -> None:
    assert OBJECTIVES[name](LOGITS, TARGETS).item() == pytest.approx(slow(name), rel=1e-12)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_gradient_is_that_of_the_value(name: str) -> None:
    assert torch.autograd.gradcheck(lambda logits: OBJECTIVES[name](logits, TARGETS), LOGITS.clone().requires_grad_())


def test_a_margin_is_met_by_clear_lengths() -> None:
    truth = torch.eye(4)[[0, 3]]
    assert OBJECTIVES["margin"](0.05 + 0.9 * truth, truth).item() == 0


@pytest.mark.parametrize("name", ["cross-entropy", "squared-error"])
def test_nothing_is_better_than_the_truth(name: str) -> None:
    best = OBJECTIVES[name](TARGETS.log(), TARGETS)
    assert best < OBJECTIVES[name](LOGITS, TARGETS)
    if name == "squared-error":
        assert best.item() == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_image_of_weight_two_counts_like_two(name: str) -> None:
    weights = torch.tensor([2.0, 1, 1, 0, 1, 1, 1, 1, 1]).double()
    twice = [0, *(index for index in range(9) if index != 3)]
    assert OBJECTIVES[name](LOGITS, TARGETS, weights).item() == pytest.approx(
        OBJECTIVES[name](LOGITS[twice], TARGETS[twice]).item(), rel=1e-12
    )
    same = OBJECTIVES[name](LOGITS, TARGETS, torch.ones(9).double())
    assert same.item() == pytest.approx(OBJECTIVES[name](LOGITS, TARGETS).item(), rel=1e-12)
