"""The batches of a run: their order and their augmentation."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from modiste import machine
from modiste.data.augment import augment, augment_by_own
from modiste.data.batch import Batch, as_floats, as_targets, class_weights, read_floats, smoothed, weighted
from modiste.data.by_class import change_by_class
from modiste.data.dataset import ImageSet
from modiste.data.extra_pictures import ExtraPictures
from modiste.errors import RecipeError
from modiste.recipes.recipe import Recipe


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Return the number of batches in an epoch; the last batch may be smaller."""
    return -(-images // batch_size)


def _check_unmixed(recipe: Recipe, extra: ExtraPictures | None) -> None:
    """Raise RecipeError if batches are mixed, because a mixture has no weight of its own."""
    if recipe.augmentation.mixes_images or recipe.by_class.outliers or extra is not None:
        raise RecipeError(
            f"{recipe.name}: mixes images, and a mixture has no weight; expected no mixup, cutmix, fmix, outliers "
            "and extra pictures, or weights that are whole numbers"
        )


class Batches:
    """Batches of a training set, one for each step.

    Order and augmentation follow from (seed, epoch, step) alone: starting in the middle gives the same batches.

    Args:
        train: Training images, on the device that computes.
        extra: More pictures to learn from, on the same device; None if there are none.
        recipe: Sets batch size, seed, label smoothing, augmentation and class balance.
        classes: Number of classes.
        answers: Answers of teachers to each training image, which are mixed as the targets are; None if there are none.

    Raises:
        RecipeError: The images have weights, and the recipe mixes images.
    """

    def __init__(
        self,
        train: ImageSet,
        recipe: Recipe,
        classes: int,
        extra: ExtraPictures | None = None,
        answers: Float[Tensor, "n classes"] | None = None,
    ) -> None:
        if train.weights is not None:
            _check_unmixed(recipe, extra)
        self.extra, self.answers = extra, answers
        self.train, self.recipe, self.classes = train, recipe, classes
        self.generator = torch.Generator(train.labels.device)
        self.weights = class_weights(train.labels, classes, recipe.balance) if recipe.balance else None

    def choose(self, first_step: int) -> Iterator[Int64[Tensor, " n"]]:
        """Yield the indices of each batch's images, from ``first_step`` to the end of its epoch."""
        size = self.recipe.batch_size
        epoch, start = divmod(first_step, steps_per_epoch(len(self.train), size))
        generator = machine.generator(self.recipe.seed, "order", epoch)
        order = torch.randperm(len(self.train), generator=generator).to(self.train.labels.device)
        yield from torch.split(order[start * size :], size)

    def seed(self, step: int) -> None:
        """Seed the augmentation of the next batch with ``step``."""
        self.generator.manual_seed(machine.seed_for(self.recipe.seed, "augmentation", step))

    def make(self, chosen: Int64[Tensor, " n"]) -> Batch:
        """Return the batch of these images, augmented."""
        some = self.train[chosen]
        targets = as_targets(some.labels, self.classes, self.recipe.label_smoothing)
        batch = Batch(read_floats(some.images), targets, some.weights)
        if self.extra is not None:
            batch = self._with_extra(batch, self.extra)
        batch = change_by_class(batch, self.recipe.by_class, self.generator)
        batch = self._augment(batch, chosen)
        return weighted(augment_by_own(batch, self.recipe.own.augmentation, self.generator), self.weights)

    def _augment(self, batch: Batch, chosen: Int64[Tensor, " n"]) -> Batch:
        """Return the batch augmented as the recipe says, with the answers to its images if there are any."""
        if self.answers is None:
            return augment(batch, self.recipe.augmentation, self.generator)
        both = replace(batch, targets=torch.cat([batch.targets, self.answers[chosen]], dim=1))
        changed = augment(both, self.recipe.augmentation, self.generator)
        targets, answers = changed.targets.tensor_split([self.classes], dim=1)
        return replace(changed, targets=targets, taught=answers)

    def _with_extra(self, batch: Batch, extra: ExtraPictures) -> Batch:
        """Replace the last images of a batch by random extra pictures; weights of classes come later."""
        count = round(self.recipe.data.extra_share * len(batch))
        drawn = torch.randint(len(extra), (count,), generator=self.generator, device=batch.targets.device)
        kept, targets = len(batch) - count, smoothed(extra.targets[drawn], self.recipe.label_smoothing)
        images = torch.cat([batch.images[:kept], as_floats(extra.images[drawn])])
        return Batch(images.contiguous(memory_format=torch.channels_last), torch.cat([batch.targets[:kept], targets]))
