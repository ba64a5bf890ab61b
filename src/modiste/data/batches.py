"""Batches of one epoch: the order, the images as the network wants them, the targets as probabilities."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from modiste import runtime
from modiste.data.augment import augment
from modiste.data.dataset import ImageSet
from modiste.recipe import Recipe


@dataclass(frozen=True)
class Batch:
    """Images in [0, 1] with their targets: a probability for every class."""

    images: Float[Tensor, "n c h w"]
    targets: Float[Tensor, "n classes"]


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Return the number of batches that hold every image once; the last may be smaller."""
    return -(-images // batch_size)


def batches(train: ImageSet, recipe: Recipe, classes: int, first_step: int) -> Iterator[Batch]:
    """Yield the batches of the epoch that ``first_step`` falls in, from that step to the epoch's end.

    Order and augmentation follow from (seed, epoch, step) alone: starting in the middle gives the same batches.
    """
    per_epoch = steps_per_epoch(len(train), recipe.batch_size)
    epoch, start = divmod(first_step, per_epoch)
    order = torch.randperm(len(train), generator=runtime.generator(recipe.seed, "order", epoch)).to(train.labels.device)
    for index in range(start, per_epoch):
        chosen = train[order[index * recipe.batch_size : (index + 1) * recipe.batch_size]]
        step = epoch * per_epoch + index
        generator = runtime.generator(recipe.seed, "augmentation", step, device=train.labels.device)
        images = augment(chosen.images, recipe.augmentation, generator)
        yield Batch(as_floats(images), as_targets(chosen.labels, classes, recipe.label_smoothing))


def as_floats(images: UInt8[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """Turn bytes into numbers in [0, 1], in the memory layout that convolutions are fastest with."""
    return images.to(torch.float32, memory_format=torch.channels_last).div_(255)


def as_targets(labels: Int64[Tensor, " n"], classes: int, smoothing: float) -> Float[Tensor, "n classes"]:
    """Turn labels into probabilities, ``smoothing`` of which is spread evenly (Szegedy et al., 2016)."""
    return F.one_hot(labels, classes) * (1 - smoothing) + smoothing / classes
