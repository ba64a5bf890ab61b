"""The batches of one epoch: their order, and what is changed in them at random."""

from collections.abc import Iterator

import torch

from modiste import runtime
from modiste.data.augment import augment
from modiste.data.batch import Batch, as_floats, as_targets, class_weights, weighted
from modiste.data.dataset import ImageSet
from modiste.recipe import Recipe


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Return the number of batches that hold every image once; the last may be smaller."""
    return -(-images // batch_size)


def batches(train: ImageSet, recipe: Recipe, classes: int, first_step: int) -> Iterator[Batch]:
    """Yield the batches of the epoch that ``first_step`` falls in, from that step to the epoch's end.

    Order and augmentation follow from (seed, epoch, step) alone: starting in the middle gives the same batches.
    """
    device = train.labels.device
    per_epoch = steps_per_epoch(len(train), recipe.batch_size)
    epoch, start = divmod(first_step, per_epoch)
    order = torch.randperm(len(train), generator=runtime.generator(recipe.seed, "order", epoch)).to(device)
    weights = class_weights(train.labels, classes, recipe.balance) if recipe.balance else None
    for index in range(start, per_epoch):
        chosen = train[order[index * recipe.batch_size : (index + 1) * recipe.batch_size]]
        step = epoch * per_epoch + index
        generator = runtime.generator(recipe.seed, "augmentation", step, device=device)
        batch = Batch(as_floats(chosen.images), as_targets(chosen.labels, classes, recipe.label_smoothing))
        yield weighted(augment(batch, recipe.augmentation, generator), weights)
