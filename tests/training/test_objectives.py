"""Objectives and warm starts against what they say."""

from pathlib import Path

import pytest
import torch

from modiste.data.dataset import ImageSet, load_development
from modiste.models import Task, build_model
from modiste.recipe import CNNRecipe, DataRecipe, MLPRecipe
from modiste.training.objectives import OBJECTIVES
from modiste.training.warm_start import WARM_STARTS

LOGITS = torch.randn(9, 4, generator=torch.Generator().manual_seed(1)).double()
TARGETS = torch.rand(9, 4, generator=torch.Generator().manual_seed(2)).double().softmax(1)


def slow(name: str) -> float:
    total = 0.0
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


@pytest.mark.parametrize("name", OBJECTIVES)
def test_nothing_is_better_than_the_truth(name: str) -> None:
    best = OBJECTIVES[name](TARGETS.log(), TARGETS)
    assert best < OBJECTIVES[name](LOGITS, TARGETS)
    if name == "squared-error":
        assert best.item() == pytest.approx(0, abs=1e-15)


TASK = Task(image_shape=(1, 4, 4), class_names=("a", "b", "c"))


def skewed() -> ImageSet:
    labels = torch.tensor([0] * 12 + [1] * 4)
    return ImageSet(torch.zeros(16, 1, 4, 4, dtype=torch.uint8), labels)


@pytest.mark.parametrize("recipe", [CNNRecipe(filters=(2,), pools=0, hidden=(3,)), MLPRecipe(hidden=(3,))])
def test_warm_starts(recipe: CNNRecipe | MLPRecipe) -> None:
    fresh, same, prior = (build_model(recipe, TASK) for _ in range(3))
    WARM_STARTS["none"](same, skewed())
    assert all(torch.equal(a, b) for a, b in zip(fresh.parameters(), same.parameters(), strict=True))
    WARM_STARTS["class-prior"](prior, skewed())
    changed = [
        name for (name, a), b in zip(fresh.named_parameters(), prior.parameters(), strict=True) if not torch.equal(a, b)
    ]
    assert changed == ["network.head.bias"]
    blank = prior.eval()(torch.zeros(1, 1, 4, 4)).softmax(1)
    torch.testing.assert_close(blank, torch.tensor([[12, 4, 1]]) / 17)


def test_class_prior_of_balanced_data_changes_no_answer(tiny_folder: Path) -> None:
    train = load_development(DataRecipe(source="tiny"), tiny_folder).train
    task = Task(image_shape=(1, 12, 12), class_names=tuple("01234"))
    model = build_model(MLPRecipe(), task)
    images = torch.rand(3, 1, 12, 12)
    before = model(images).softmax(1)
    WARM_STARTS["class-prior"](model, train)
    torch.testing.assert_close(model(images).softmax(1), before)
