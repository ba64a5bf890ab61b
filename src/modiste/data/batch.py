"""A batch as the network wants it: images as numbers, targets as probabilities."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Images in [0, 1] with their targets: a probability for every class.

    Weights say how much each image counts, 1 in the mean over the training set; None where all count alike.
    """

    images: Float[Tensor, "n c h w"]
    targets: Float[Tensor, "n classes"]
    weights: Float[Tensor, " n"] | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, which: slice) -> "Batch":
        return Batch(self.images[which], self.targets[which], None if self.weights is None else self.weights[which])


def as_floats(images: UInt8[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """Turn bytes into numbers in [0, 1], in the memory layout that convolutions are fastest with."""
    return images.to(torch.float32, memory_format=torch.channels_last).div_(255)


def as_targets(labels: Int64[Tensor, " n"], classes: int, smoothing: float) -> Float[Tensor, "n classes"]:
    """Turn labels into probabilities, ``smoothing`` of which is spread evenly (Szegedy et al., 2016)."""
    return F.one_hot(labels, classes) * (1 - smoothing) + smoothing / classes


def class_weights(labels: Int64[Tensor, " n"], classes: int, balance: float) -> Float[Tensor, " classes"]:
    """Return how much an image of each class counts: as its number to the power -balance, 1 in the mean over images."""
    counts = torch.bincount(labels, minlength=classes).clamp(min=1).double()
    raw = counts**-balance
    return (raw * (counts.sum() / (counts * raw).sum())).float()


def weighted(batch: Batch, weights: Float[Tensor, " classes"] | None) -> Batch:
    """Return the batch with each image's weight: the mean of its classes', as far as it belongs to each."""
    return batch if weights is None else Batch(batch.images, batch.targets, batch.targets @ weights)
