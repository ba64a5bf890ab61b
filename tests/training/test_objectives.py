"""Objectives and warm starts against what they say."""

from pathlib import Path

import pytest
import torch

from modiste.data.dataset import ImageSet, load_development
from modiste.errors import RecipeError
from modiste.model_recipe import CapsNetRecipe, CNNRecipe, DBNRecipe, MLPRecipe
from modiste.models import Task, build_model
from modiste.models.dbn import DBN, RBM
from modiste.recipe import DataRecipe, PretrainingRecipe, Recipe
from modiste.training.objectives import OBJECTIVES
from modiste.training.warm_start import WARM_STARTS

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


TASK = Task(image_shape=(1, 4, 4), class_names=("a", "b", "c"))


def skewed() -> ImageSet:
    labels = torch.tensor([0] * 12 + [1] * 4)
    return ImageSet(torch.zeros(16, 1, 4, 4, dtype=torch.uint8), labels)


@pytest.mark.parametrize("recipe", [CNNRecipe(filters=(2,), pools=0, hidden=(3,)), MLPRecipe(hidden=(3,))])
def test_warm_starts(recipe: CNNRecipe | MLPRecipe) -> None:
    fresh, same, prior = (build_model(recipe, TASK) for _ in range(3))
    WARM_STARTS["none"](same, skewed(), Recipe(name="x"))
    assert all(torch.equal(a, b) for a, b in zip(fresh.parameters(), same.parameters(), strict=True))
    WARM_STARTS["class-prior"](prior, skewed(), Recipe(name="x"))
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
    WARM_STARTS["class-prior"](model, train, Recipe(name="x"))
    torch.testing.assert_close(model(images).softmax(1), before)


def test_class_prior_needs_a_readout() -> None:
    task = Task(image_shape=(1, 20, 20), class_names=("a", "b"))
    model = build_model(CapsNetRecipe(filters=8), task)
    with pytest.raises(RecipeError, match="class-prior needs a network that ends in a linear layer"):
        WARM_STARTS["class-prior"](model, skewed(), Recipe(name="x"))


def test_contrastive_divergence_trains_the_stack_alone_and_follows_the_seed(tiny_folder: Path) -> None:
    train = load_development(DataRecipe(source="tiny"), tiny_folder).train
    task = Task(image_shape=(1, 12, 12), class_names=tuple("01234"))
    recipe = Recipe(name="x", model=DBNRecipe(hidden=(20, 10)), pretraining=PretrainingRecipe(epochs=3))
    fresh, one, same = (build_model(recipe.model, task) for _ in range(3))
    for model in (one, same):
        WARM_STARTS["contrastive-divergence"](model, train, recipe)
    before, after = fresh.state_dict(), one.state_dict()
    assert all(torch.equal(weight, same.state_dict()[name]) for name, weight in after.items())
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {f"network.stack.{depth}.{part}" for depth in (0, 1) for part in ("weight", "bias")}


def test_contrastive_divergence_learns_to_reconstruct(tiny_folder: Path) -> None:
    train = load_development(DataRecipe(source="tiny"), tiny_folder).train
    images = train.images.flatten(1) / 255
    errors = []
    for epochs in (1, 40):
        layer = torch.nn.Linear(144, 30)
        stack = torch.nn.ModuleList([layer])
        model = DBN(image_shape=(1, 12, 12), classes=5, hidden=(30,))
        model.stack = stack
        recipe = Recipe(name="x", pretraining=PretrainingRecipe(epochs=epochs, batch_size=20))
        WARM_STARTS["contrastive-divergence"](model, train, recipe)
        machine = RBM(layer)
        machine.visible_bias.copy_(images.mean(0).logit())
        errors.append((images - machine.visible(machine.hidden(images))).square().sum(1).mean().item())
    assert errors[1] < 0.8 * errors[0]


def test_contrastive_divergence_needs_a_stack() -> None:
    with pytest.raises(RecipeError, match="needs a model of kind 'dbn'"):
        WARM_STARTS["contrastive-divergence"](build_model(MLPRecipe(), TASK), skewed(), Recipe(name="x"))
