"""Losses: the mean over a batch, from logits and target probabilities.

If images have weights, each image's loss is multiplied by its weight before the mean is taken.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from modiste.errors import RecipeError
from modiste.recipes import own_code
from modiste.recipes.recipe import Recipe

# The capsule of a present class should be longer than PRESENT, that of an absent class shorter than ABSENT.
PRESENT, ABSENT, ABSENT_WEIGHT = 0.9, 0.1, 0.5
Logits = Float[Tensor, "n classes"]
Targets = Float[Tensor, "n classes"]
Weights = Float[Tensor, " n"] | None
Objective = Callable[[Logits, Targets, Weights], Float[Tensor, ""]]


def cross_entropy(logits: Logits, targets: Targets, weights: Weights = None) -> Float[Tensor, ""]:
    """Return the mean cross-entropy between targets and softmax, in nats."""
    return F.cross_entropy(logits, targets if weights is None else targets * weights[:, None])


def squared_error(logits: Logits, targets: Targets, weights: Weights = None) -> Float[Tensor, ""]:
    """Return the mean squared distance between targets and softmax, summed over classes (Brier, 1950)."""
    return weighted_mean((logits.softmax(1) - targets).square().sum(1), weights)


def margin(lengths: Logits, targets: Targets, weights: Weights = None) -> Float[Tensor, ""]:
    """Return the margin loss of capsule lengths (Sabour, Frosst and Hinton, 2017, equation 4), summed over classes."""
    present = targets * (PRESENT - lengths).clamp(min=0).square()
    absent = (1 - targets) * (lengths - ABSENT).clamp(min=0).square()
    return weighted_mean((present + ABSENT_WEIGHT * absent).sum(1), weights)


def weighted_mean(losses: Float[Tensor, " n"], weights: Weights) -> Float[Tensor, ""]:
    """Return the mean of the losses of a batch's images, each multiplied by its weight."""
    return losses.mean() if weights is None else (losses * weights).mean()


OBJECTIVES: dict[str, Objective] = {
    "cross-entropy": cross_entropy,
    "squared-error": squared_error,
    "margin": margin,
}


def objective_of(recipe: Recipe) -> Objective:
    """Return the loss function of a recipe; RunError if it is not Modiste's and not registered in this process."""
    if not recipe.own.loss:
        return OBJECTIVES[recipe.objective]
    own = own_code.find(recipe.own.loss, "loss")
    if takes_weights(own):
        return own  # type: ignore[no-any-return]

    def unweighted(logits: Logits, targets: Targets, _weights: Weights = None) -> Float[Tensor, ""]:
        return own(logits, targets)  # type: ignore[no-any-return]

    return unweighted


def takes_weights(loss: Callable[..., Tensor]) -> bool:
    """Return whether a loss has a third parameter, for the weights of the images; no if Python cannot tell."""
    by_place = [
        one for one in own_code.parameters_of(loss) if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)
    ]
    return len(by_place) > 2


def check_loss(recipe: Recipe, classes: int, *, have_weights: bool) -> None:
    """Try a loss that is not Modiste's on random images, if the recipe names one.

    Args:
        recipe: Names the loss.
        classes: Number of classes.
        have_weights: Whether images have weights, from ``balance`` or of their own. The loss must then take them.

    Raises:
        RecipeError: The loss fails, is no finite number, does not depend on the logits, or takes no weights although
            images have some.
        RunError: The loss is not registered in this process.
    """
    if not recipe.own.loss:
        return
    name, loss = own_code.path_in(recipe.own.loss), objective_of(recipe)
    if have_weights and not takes_weights(own_code.find(recipe.own.loss, "loss")):
        if recipe.balance:
            raise RecipeError(f"balance: expected 0, because {name} takes no weights, found {recipe.balance}")
        raise RecipeError(
            f"{name}: expected a third parameter for the weights that the images have, found none; "
            "leave out the weights, or add the parameter"
        )
    _try_loss(loss, name, torch.tensor([0, classes - 1]), classes)
    if have_weights:
        labels = torch.arange(3 if classes == 2 else 2) % classes  # not one for each class: theirs are other weights
        for weights in (torch.ones(len(labels)), 2.0 * (labels == 0)):
            _try_loss(loss, name, labels, classes, weights)


def _try_loss(
    loss: Objective, name: str, labels: Int64[Tensor, " n"], classes: int, weights: Float[Tensor, " n"] | None = None
) -> None:
    """Raise RecipeError unless the loss of images with these labels is a finite number with a gradient."""
    logits = torch.linspace(-1, 1, len(labels) * classes).view(-1, classes).requires_grad_()
    targets = F.one_hot(labels, classes).float()
    with_weights = "" if weights is None else f", with weights of the images of shape ({len(labels)},)"
    with own_code.faults_named(name, f"fails on logits and targets of shape {tuple(logits.shape)}{with_weights}"):
        found = loss(logits, targets, weights)
    sound = isinstance(found, Tensor) and found.dim() == 0 and bool(found.isfinite())
    if not sound:
        shape = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        raise RecipeError(f"{name}: expected one finite number, a tensor of shape (), found {shape}: {found}")
    if not found.requires_grad:
        raise RecipeError(f"{name}: expected a loss that depends on the logits, found one without a gradient")
