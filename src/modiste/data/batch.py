"""A batch as the network takes it: images as floats, targets as probabilities."""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, Shaped, UInt8
from torch import Tensor

from modiste.data.pictures.picture_file import release_pages

BLOCK_BYTES = 2**26
"""Of images that are looked at together, in a pass over all of them."""


@dataclass(frozen=True)
class Batch:
    """Images with their targets.

    Attributes:
        images: Pixels in [0, 1].
        targets: A probability for every class.
        weights: Weight of each image in the loss, with mean 1 over the training set; None if all are equal.
        taught: Probabilities that teachers give every class, at the temperature of the distillation; None without any.
    """

    images: Float[Tensor, "n c h w"]
    targets: Float[Tensor, "n classes"]
    weights: Float[Tensor, " n"] | None = None
    taught: Float[Tensor, "n classes"] | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, which: slice) -> "Batch":
        weights, taught = (None if one is None else one[which] for one in (self.weights, self.taught))
        return Batch(self.images[which], self.targets[which], weights, taught)


def as_floats(images: UInt8[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """Convert bytes to floats in [0, 1], in the memory layout that is fastest for convolutions."""
    return images.to(torch.float32, memory_format=torch.channels_last).div_(255)


def read_floats(images: UInt8[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """Return the same as ``as_floats``, and release the memory of images that are mapped from a file."""
    floats = as_floats(images)
    release_pages()
    return floats


def blocks(images: UInt8[Tensor, "n c h w"]) -> tuple[UInt8[Tensor, "_ c h w"], ...]:
    """Split images, which may be mapped from a file, into views of at most BLOCK_BYTES, or of one image."""
    size = max(1, BLOCK_BYTES // (images[:1].nbytes or 1))
    return tuple(images[first : first + size] for first in range(0, max(1, len(images)), size))


def as_targets(labels: Int64[Tensor, " n"], classes: int, smoothing: float) -> Float[Tensor, "n classes"]:
    """Convert labels to probabilities, with ``smoothing`` spread evenly over all classes (Szegedy et al., 2016)."""
    return smoothed(F.one_hot(labels, classes), smoothing)


def smoothed(targets: Shaped[Tensor, "n classes"], smoothing: float) -> Float[Tensor, "n classes"]:
    """Spread the share ``smoothing`` of each target evenly over all classes."""
    return targets * (1 - smoothing) + smoothing / targets.shape[1]


def class_weights(labels: Int64[Tensor, " n"], classes: int, balance: float) -> Float[Tensor, " classes"]:
    """Return the weight of each class: its number of images to the power -balance, scaled to mean 1 over all images."""
    counts = torch.bincount(labels, minlength=classes).double()
    raw = counts.clamp(min=1) ** -balance
    return (raw * (counts.sum() / (counts * raw).sum())).float()


def weighted(batch: Batch, weights: Float[Tensor, " classes"] | None) -> Batch:
    """Weight each image by its target distribution, ``targets @ weights``, times the weight that it has.

    None leaves the batch unchanged.
    """
    if weights is None:
        return batch
    own = batch.targets @ weights
    return replace(batch, weights=own if batch.weights is None else own * batch.weights)
