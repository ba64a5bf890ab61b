"""Objectives against what they say."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

import code_of_others as others
from modiste.errors import RecipeError
from modiste.recipes import own_code
from modiste.recipes.recipe import OwnCodeRecipe, Recipe
from modiste.training.objectives import OBJECTIVES, check_loss, objective_of

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


@pytest.mark.parametrize(("classes", "shape"), [(5, r"\(2, 5\), .* \(2,\)"), (2, r"\(3, 2\), .* \(3,\)")])
def test_a_loss_whose_third_parameter_is_for_other_weights_is_refused(classes: int, shape: str) -> None:
    """Those of torch are for classes, and would fit a batch of as many images."""
    recipe = Recipe(name="x", own=OwnCodeRecipe(loss=own_code.register(F.cross_entropy)))
    check_loss(recipe, classes, have_weights=False)
    with pytest.raises(
        RecipeError, match=rf"cross_entropy: fails on logits and targets of shape {shape}: RuntimeError"
    ):
        check_loss(recipe, classes, have_weights=True)


def test_a_loss_without_weights_is_refused_where_images_have_some() -> None:
    unweighted, weighted = (
        Recipe(name="x", own=OwnCodeRecipe(loss=own_code.register(loss)))
        for loss in (others.focal, others.weighted_squares)
    )
    check_loss(unweighted, 5, have_weights=False)
    check_loss(weighted, 5, have_weights=True)
    with pytest.raises(RecipeError, match="focal: expected a third parameter for the weights that the images have"):
        check_loss(unweighted, 5, have_weights=True)


def test_a_compiled_loss_whose_parameters_are_unknown_is_tried_without_weights() -> None:
    recipe = Recipe(name="x", own=OwnCodeRecipe(loss=own_code.register(torch.dist)))
    check_loss(recipe, 5, have_weights=False)
    assert objective_of(recipe)(LOGITS, TARGETS, None) == torch.dist(LOGITS, TARGETS)
    with pytest.raises(RecipeError, match="dist: expected a third parameter for the weights that the images have"):
        check_loss(recipe, 5, have_weights=True)


@pytest.mark.parametrize(("loss", "reason"), [(max, "RuntimeError"), (dict, "TypeError")])
def test_compiled_code_that_is_no_loss_is_refused(loss: Any, reason: str) -> None:
    recipe = Recipe(name="x", own=OwnCodeRecipe(loss=own_code.register(loss)))
    with pytest.raises(RecipeError, match=rf"^builtins:\w+: fails on logits and targets of shape \(2, 5\): {reason}"):
        check_loss(recipe, 5, have_weights=False)


def divided(logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    """Is not defined for an image of weight 0."""
    losses = F.cross_entropy(logits, targets, reduction="none")
    return losses.mean() if weights is None else (losses / weights).mean()


def test_a_loss_is_tried_with_an_image_of_weight_zero() -> None:
    recipe = Recipe(name="x", own=OwnCodeRecipe(loss=own_code.register(divided)))
    with pytest.raises(RecipeError, match="divided: expected one finite number"):
        check_loss(recipe, 5, have_weights=True)
