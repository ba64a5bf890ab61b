"""The batches of a run: their order, and what is changed in them at random."""

from collections.abc import Iterator

import torch
from jaxtyping import Int64
from torch import Tensor

from modiste import machine
from modiste.data.augment import augment
from modiste.data.batch import Batch, as_floats, as_targets, class_weights, weighted
from modiste.data.dataset import ImageSet
from modiste.recipes.recipe import Recipe


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Return the number of batches that hold every image once; the last may be smaller."""
    return -(-images // batch_size)


class Batches:
    """What a training set becomes, step by step.

    Order and augmentation follow from (seed, epoch, step) alone: starting in the middle gives the same batches.

    Args:
        train: images to learn from, on the device that computes.
        recipe: says how many at once, in what order, changed how, weighted by what.
        classes: number of classes.
    """

    def __init__(self, train: ImageSet, recipe: Recipe, classes: int) -> None:
        self.train, self.recipe, self.classes = train, recipe, classes
        self.generator = torch.Generator(train.labels.device)
        self.weights = class_weights(train.labels, classes, recipe.balance) if recipe.balance else None

    def choose(self, first_step: int) -> Iterator[Int64[Tensor, " n"]]:
        """Yield which images make each batch, from ``first_step`` to the end of the epoch that it falls in."""
        size = self.recipe.batch_size
        epoch, start = divmod(first_step, steps_per_epoch(len(self.train), size))
        generator = machine.generator(self.recipe.seed, "order", epoch)
        order = torch.randperm(len(self.train), generator=generator).to(self.train.labels.device)
        yield from torch.split(order[start * size :], size)

    def seed(self, step: int) -> None:
        """Let the random numbers of the next batch be those of ``step``."""
        self.generator.manual_seed(machine.seed_for(self.recipe.seed, "augmentation", step))

    def make(self, chosen: Int64[Tensor, " n"]) -> Batch:
        """Return the batch of these images, changed at random."""
        some = self.train[chosen]
        batch = Batch(as_floats(some.images), as_targets(some.labels, self.classes, self.recipe.label_smoothing))
        return weighted(augment(batch, self.recipe.augmentation, self.generator), self.weights)
