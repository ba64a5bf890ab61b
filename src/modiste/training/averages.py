"""Averages of the weights over training, which are evaluated in place of the weights.

The moving average follows every step. The equal average, stochastic weight averaging (SWA), takes the weights at the
ends of the last epochs: Izmailov, Podoprikhin, Garipov, Vetrov and Wilson, "Averaging weights leads to wider optima and
better generalization" (2018).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, get_swa_multi_avg_fn

from modiste import machine
from modiste.compat import foreach_copy_
from modiste.data.batch import read_floats
from modiste.data.dataset import ImageSet
from modiste.models import layers
from modiste.recipes.recipe import Recipe
from modiste.training.schedules import ROUNDING

Row = tuple[Tensor, ...] | list[Tensor]
Update = Callable[[Row, Row, Tensor | int], None]
STATISTICS_IMAGES = 10_000
"""Training images, at most, over which the statistics of batch normalisation are measured for averaged weights."""


def new_average(model: nn.Module, recipe: Recipe) -> AveragedModel | None:
    """Return an average that has taken no weights yet; None if the recipe has none."""
    if not (recipe.ema_decay or recipe.swa_start):
        return None
    update = get_swa_multi_avg_fn() if recipe.swa_start else get_ema_multi_avg_fn(recipe.ema_decay)  # type: ignore[no-untyped-call]
    return AveragedModel(model, multi_avg_fn=_counts_copied(update), use_buffers=True)


def decay_at(recipe: Recipe, updates: int) -> float:
    """Return the decay of the moving average in its next update, after ``updates`` of them.

    With a warm-up it is at most (1 + t) / (10 + t) after t updates, the usual form. Early weights, which are poor, are
    then soon forgotten.

    Example:
        >>> from modiste.recipes.recipe import Recipe
        >>> recipe = Recipe(name="x", ema_decay=0.99, ema_warm_up=True)
        >>> decay_at(recipe, 0), decay_at(recipe, 8), decay_at(recipe, 1000)
        (0.1, 0.5, 0.99)
    """
    return min(recipe.ema_decay, (1 + updates) / (10 + updates)) if recipe.ema_warm_up else recipe.ema_decay


def follow(average: AveragedModel, model: nn.Module, recipe: Recipe, updates: int) -> None:
    """Update the moving average after a step; ``updates`` is the number of updates before."""
    if recipe.ema_warm_up:
        average.multi_avg_fn = _counts_copied(get_ema_multi_avg_fn(decay_at(recipe, updates)))  # type: ignore[no-untyped-call]
    average.update_parameters(model)


def takes_epoch(recipe: Recipe, epoch: int) -> bool:
    """Return whether the equal average takes the weights at the end of this epoch, counted from 1.

    Example:
        >>> from modiste.recipes.recipe import Recipe
        >>> [epoch for epoch in range(1, 9) if takes_epoch(Recipe(name="x", epochs=8, swa_start=0.75), epoch)]
        [7, 8]
    """
    return 0 < recipe.swa_start * recipe.epochs < epoch - ROUNDING


def add_epoch(average: AveragedModel, model: nn.Module, train: ImageSet, recipe: Recipe) -> None:
    """Add the weights at the end of an epoch to the equal average, and measure its statistics.

    Args:
        average: Changed in place.
        model: Has the weights to add.
        train: The training images.
        recipe: Recipe of the run.
    """
    average.update_parameters(model)
    measure_statistics(average.module, train, recipe)


@torch.no_grad()
def measure_statistics(model: nn.Module, train: ImageSet, recipe: Recipe) -> None:
    """Measure the running statistics of batch normalisation anew: averaged weights have other activations.

    Every layer takes the equal mean over the batches. The images are a random choice of at most ``STATISTICS_IMAGES``,
    the same in every epoch. They are not augmented and no unit is dropped, as when the network is evaluated; Izmailov
    et al. pass all images as in training. Layers whose statistics are frozen keep them.

    Args:
        model: Changed in place, and left in evaluation mode.
        train: The training images, on the device of the model.
        recipe: Gives the seed, the batch size and the precision.
    """
    model.eval()
    measured = layers.following_norms(model, keep_statistics=recipe.transfer.keep_statistics)
    if not measured:
        return
    momenta = [layer.momentum for layer in measured]
    for layer in measured:
        layer.reset_running_stats()
        layer.train()
        layer.momentum = None  # which means the equal mean
    device = train.labels.device
    order = torch.randperm(len(train), generator=machine.generator(recipe.seed, "statistics"))[:STATISTICS_IMAGES]
    with machine.autocast(recipe.precision, device), machine.gpu_arithmetic(device):
        for chosen in order.to(device).tensor_split(max(1, len(order) // recipe.batch_size)):
            model(read_floats(train[chosen].images))
    for layer, momentum in zip(measured, momenta, strict=True):
        layer.momentum = momentum
    model.eval()


def _counts_copied(update: Update) -> Update:
    """Return a function that updates averages of floating-point tensors, and copies integers, which are counts."""

    def updated(averages: Row, latest: Row, number: Tensor | int) -> None:
        if averages[0].is_floating_point():
            update(averages, latest, number)
        else:
            foreach_copy_(averages, latest)

    return updated
