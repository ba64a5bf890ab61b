"""Layer-by-layer training of a deep belief network's stack, without labels (Hinton, Osindero and Teh, 2006).

The settings are those of Hinton's "Practical Guide" (2010): small random weights, momentum 0.5 at first, weight decay.
"""

import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from modiste import machine
from modiste.data.batch import as_floats
from modiste.data.batches import steps_per_epoch
from modiste.errors import DivergedError, RecipeError
from modiste.models.dbn import DBN, RBM
from modiste.recipes.plain import demand
from modiste.recipes.recipe import PretrainingRecipe, Recipe
from modiste.training.warm_start.progress import Progress

FIRST_MOMENTUM = 0.5
USUAL_MOMENTUM = 0.9  # the recipe's learning rate is for this momentum; other momentums scale it


@torch.no_grad()
def pretrain(model: nn.Module, images: UInt8[Tensor, "n c h w"], recipe: Recipe, progress: Progress) -> None:
    """Train each restricted Boltzmann machine of the stack in ``model`` on the activities of the one below.

    Raises:
        DivergedError: The weights of a machine are no longer finite.
        RecipeError: The model is no deep belief network, or it standardises the images: a machine's units are from 0 to
            1. Runs that were trained so can be read, and so the recipe alone is no error.
    """
    networks = [layer for layer in model.modules() if isinstance(layer, DBN)]
    if not networks:
        raise RecipeError("warm_start: contrastive-divergence needs a model of kind 'dbn'")
    demand(not recipe.standardize, "standardize", "off with warm_start contrastive-divergence", recipe.standardize)
    settings, stack = recipe.pretraining, networks[0].stack
    progress.start(len(stack) * settings.epochs * steps_per_epoch(len(images), settings.batch_size))
    activities = as_floats(images).flatten(1)
    for depth, layer in enumerate(stack):
        assert isinstance(layer, nn.Linear)
        layer.weight.normal_(0, 0.01, generator=machine.generator(recipe.seed, "rbm", depth, device=activities.device))
        layer.bias.zero_()
        rbm = RBM(layer)
        rbm.visible_bias.copy_(_log_odds(activities.mean(0)))
        for epoch in range(settings.epochs):
            generator = machine.generator(recipe.seed, "contrastive-divergence", depth, epoch, device=activities.device)
            error = _train_epoch(rbm, activities, settings, generator, progress, first=epoch == 0)
            progress.epoch_done(f"layer {depth + 1}", epoch + 1, "reconstruction error", error)
        activities = rbm.hidden(activities)


def _train_epoch(
    rbm: RBM,
    activities: Tensor,
    settings: PretrainingRecipe,
    generator: torch.Generator,
    progress: Progress,
    *,
    first: bool,
) -> float:
    """Pass once over the activities; return the mean reconstruction error per image."""
    order = torch.randperm(len(activities), generator=generator, device=activities.device)
    momentum = FIRST_MOMENTUM if first else settings.momentum
    parameters = (rbm.weight, rbm.visible_bias, rbm.hidden_bias)
    velocities = [torch.zeros_like(parameter) for parameter in parameters]
    errors = []
    for chosen in torch.split(order, settings.batch_size):
        gradient, error = rbm.gradient(activities[chosen], settings.gibbs_steps, generator)
        _move(parameters, velocities, gradient, settings, momentum)
        if not rbm.weight.sum().isfinite():  # torch refuses to draw from what is no probability
            raise DivergedError(
                f"step {progress.step + 1} of the warm start contrastive-divergence: the weights are no longer finite; "
                "try a smaller --pretraining.learning-rate or --pretraining.weight-decay"
            )
        errors.append(error)
        progress.step_done()
    return sum(errors) / len(errors)


def _move(
    parameters: tuple[Tensor, ...],
    velocities: list[Tensor],
    gradient: tuple[Tensor, ...],
    settings: PretrainingRecipe,
    momentum: float,
) -> None:
    rate = settings.learning_rate * (1 - momentum) / (1 - USUAL_MOMENTUM)
    for parameter, velocity, slope in zip(parameters, velocities, gradient, strict=True):
        decay = settings.weight_decay * parameter if parameter.ndim > 1 else 0.0
        velocity.mul_(momentum).add_(slope - decay, alpha=rate)
        parameter.add_(velocity)


def _log_odds(share: Tensor) -> Tensor:
    return share.clamp(0.01, 0.99).logit()
