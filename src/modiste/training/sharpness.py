"""Sharpness-aware minimisation (SAM): the gradient is taken where the loss near the weights is highest.

Foret, Kleiner, Mobahi and Neyshabur, "Sharpness-aware minimization for efficiently improving generalization" (2021).
The adaptive form: Kwon, Kim, Park and Choi, "ASAM: Adaptive sharpness-aware minimization for scale-invariant learning
of deep neural networks" (2021). Steps that are only now and then sharpness-aware: Liu, Mai, Chen, Hsieh and You,
"Towards efficient and scalable sharpness-aware minimization" (2022). Between them Liu et al. reuse a part of the last
sharpness-aware gradient; here those steps are plain.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from modiste.recipes.recipe import OptimizerRecipe

LEAST_SCALE = 0.01
"""Added to the size of a weight in the adaptive form, so that a weight of 0 moves too; the authors' eta."""
GUARD = 1e-12
"""Added to a norm before it divides."""


def is_sharp(recipe: OptimizerRecipe, step: int) -> bool:
    """Return whether a step, counted from 0, is sharpness-aware.

    Example:
        >>> [is_sharp(OptimizerRecipe(sam_rho=0.05, sam_every=2), step) for step in range(4)]
        [True, False, True, False]
    """
    return recipe.sam_rho > 0 and step % recipe.sam_every == 0


@contextmanager
def at_highest_loss(model: nn.Module, recipe: OptimizerRecipe) -> Iterator[None]:
    """Move the weights w of a network within the block; afterwards weights and buffers are as before, bit for bit.

    With the gradient g of the latest backward pass, to first order, the loss within the distance ``sam_rho`` is
    highest at w + rho g / |g|. The norm is that of the whole gradient. With ``sam_adaptive`` the distance of each
    weight is measured in units of its size t = |w| + 0.01, and of biases in units of 1: w + rho t^2 g / |t g|. Then the
    step does not depend on the scale of the weights.

    Since the buffers are restored, running statistics of batch normalisation follow the pass before the block alone.

    Args:
        model: Its parameters without a gradient stay.
        recipe: Gives ``sam_rho`` and ``sam_adaptive``.
    """
    moved = {name: item for name, item in model.named_parameters() if item.grad is not None}
    kept = [(tensor, tensor.detach().clone()) for tensor in (*moved.values(), *model.buffers())]
    try:
        _climb(moved, recipe)
        yield
    finally:
        with torch.no_grad():
            for tensor, before in kept:
                tensor.copy_(before)


@torch.no_grad()
def _climb(parameters: dict[str, nn.Parameter], recipe: OptimizerRecipe) -> None:
    """Move parameters along their gradients, to where the loss is highest."""
    scales = {name: _scale(name, item) for name, item in parameters.items()} if recipe.sam_adaptive else {}
    scaled = {name: _gradient(item) * scales.get(name, 1.0) for name, item in parameters.items()}
    factor = recipe.sam_rho / (torch.nn.utils.get_total_norm(scaled.values()) + GUARD)
    for name, item in parameters.items():
        item.add_(scaled[name] * scales.get(name, 1.0) * factor)


def _gradient(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def _scale(name: str, parameter: nn.Parameter) -> Tensor | float:
    """Return the units in which the adaptive form measures the distance of each weight."""
    return 1.0 if name.rpartition(".")[2] == "bias" else parameter.abs() + LEAST_SCALE
