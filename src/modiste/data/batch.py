"""A batch as the network wants it: images as numbers, targets as probabilities."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Images in [0, 1] with their targets: a probability for every class."""

    images: Float[Tensor, "n c h w"]
    targets: Float[Tensor, "n classes"]

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, which: slice) -> "Batch":
        return Batch(self.images[which], self.targets[which])


def as_floats(images: UInt8[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """Turn bytes into numbers in [0, 1], in the memory layout that convolutions are fastest with."""
    return images.to(torch.float32, memory_format=torch.channels_last).div_(255)


def as_targets(labels: Int64[Tensor, " n"], classes: int, smoothing: float) -> Float[Tensor, "n classes"]:
    """Turn labels into probabilities, ``smoothing`` of which is spread evenly (Szegedy et al., 2016)."""
    return F.one_hot(labels, classes) * (1 - smoothing) + smoothing / classes
