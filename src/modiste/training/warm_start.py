"""What happens to a fresh network before the first step."""

import logging
from collections.abc import Callable

import torch
from torch import Tensor, nn

from modiste import runtime
from modiste.data.batch import as_floats
from modiste.data.dataset import ImageSet
from modiste.errors import RecipeError
from modiste.models.dbn import DBN, RBM
from modiste.recipe import PretrainingRecipe, Recipe

FIRST_MOMENTUM = 0.5
USUAL_MOMENTUM = 0.9  # a learning rate means what it means under this momentum, whichever is in force


def none(_model: nn.Module, _train: ImageSet, _recipe: Recipe) -> None:
    """Leave the network as it was initialised."""


@torch.no_grad()
def class_prior(model: nn.Module, train: ImageSet, _recipe: Recipe) -> None:
    """Set the last layer's bias to the logarithm of each class's share, so that training starts at chance for the data.

    Matters where classes are unbalanced (after Lin et al., 2017, section 4.1); a class without images counts as one.
    """
    head = next((layer for name, layer in model.named_modules() if name.endswith("head")), None)
    if not isinstance(head, nn.Linear):
        raise RecipeError("warm_start: class-prior needs a network that ends in a linear layer")
    counts = torch.bincount(train.labels, minlength=head.out_features).clamp(min=1)
    head.bias.copy_((counts / counts.sum()).log())


@torch.no_grad()
def contrastive_divergence(model: nn.Module, train: ImageSet, recipe: Recipe) -> None:
    """Train the stack of a deep belief network layer by layer, each on the activities of the one below.

    Hinton, Osindero and Teh (2006); the settings are those of Hinton's "Practical Guide" (2010): small random weights,
    momentum 0.5 at first, weight decay.
    """
    networks = [layer for layer in model.modules() if isinstance(layer, DBN)]
    if not networks:
        raise RecipeError("warm_start: contrastive-divergence needs a model of kind 'dbn'")
    activities = as_floats(train.images).flatten(1)
    for depth, layer in enumerate(networks[0].stack):
        assert isinstance(layer, nn.Linear)
        layer.weight.normal_(0, 0.01, generator=runtime.generator(recipe.seed, "rbm", depth, device=activities.device))
        layer.bias.zero_()
        machine = RBM(layer)
        machine.visible_bias.copy_(_log_odds(activities.mean(0)))
        for epoch in range(recipe.pretraining.epochs):
            error = _train_epoch(machine, activities, recipe, depth, epoch)
            logging.getLogger(__name__).info("layer %d, epoch %d: reconstruction error %.2f", depth, epoch + 1, error)
        activities = machine.hidden(activities)


def _train_epoch(machine: RBM, activities: Tensor, recipe: Recipe, depth: int, epoch: int) -> float:
    """Pass once over the activities; return the mean reconstruction error per image."""
    settings = recipe.pretraining
    generator = runtime.generator(recipe.seed, "contrastive-divergence", depth, epoch, device=activities.device)
    order = torch.randperm(len(activities), generator=generator, device=activities.device)
    momentum = settings.momentum if epoch else FIRST_MOMENTUM
    parameters = (machine.weight, machine.visible_bias, machine.hidden_bias)
    velocities = [torch.zeros_like(parameter) for parameter in parameters]
    errors = []
    for chosen in torch.split(order, settings.batch_size):
        gradient, error = machine.gradient(activities[chosen], settings.gibbs_steps, generator)
        _move(parameters, velocities, gradient, settings, momentum)
        errors.append(error)
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


WARM_STARTS: dict[str, Callable[[nn.Module, ImageSet, Recipe], None]] = {
    "none": none,
    "class-prior": class_prior,
    "contrastive-divergence": contrastive_divergence,
}
