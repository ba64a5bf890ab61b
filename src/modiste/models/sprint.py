"""A small convolutional network for the least time to an accuracy: our own.

What it takes from others: normalisation in place of dropout, a first layer that whitening can set, and the order of
layers by which what is costly at full size happens after pooling (Page, 2018; Jordan, airbench, 2024). A frozen first
layer needs no backward pass at full size, where most of a step's time would go; residual blocks (He et al., 2016) stand
where the maps are small.
"""

from itertools import pairwise

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from modiste.models.layers import BatchNorm1d, BatchNorm2d, MaxPool, in_a_row

UPDATE = 0.3
"""Share of each batch in the running means of normalisation: a run of one epoch has no time for torch's 0.1."""


def convolution(inputs: int, outputs: int, *, pooled: bool = False) -> list[nn.Module]:
    """Return a 3x3 convolution with its normalisation, 2x2 max-pooling between them if ``pooled``."""
    pool: list[nn.Module] = [MaxPool()] if pooled else []
    normalise = BatchNorm2d(outputs, momentum=UPDATE)
    return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), *pool, normalise]


class ResidualBlock(nn.Module):
    """Two convolutions around an identity, ReLU after their sum; as it was first published (He et al., 2016).

    With one or two blocks this was better on validation than activation before the convolutions.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(*convolution(channels, channels), nn.ReLU(), *convolution(channels, channels))

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return F.relu(x + self.residual(x))


class SprintNet(nn.Module):
    """3x3 convolutions, the first and the last pooled, residual blocks, a dense layer, all normalised; logits out.

    Args:
        image_shape: (channels, height, width) of the images.
        classes: number of logits.
        filters: of each convolution outside the blocks.
        early_blocks: residual blocks in front of the last of these, at half the image's side.
        blocks: residual blocks behind it, at a quarter of the side.
        hidden: units of the dense layer.
    """

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        classes: int,
        filters: tuple[int, ...] = (16, 64),
        early_blocks: int = 0,
        blocks: int = 0,
        hidden: int = 128,
    ) -> None:
        super().__init__()
        channels, height, width = image_shape
        last = len(filters) - 1
        self.convolutions = nn.Sequential()
        for index, (inputs, outputs) in enumerate(pairwise((channels, *filters))):
            if index == last:
                self.convolutions.extend(ResidualBlock(inputs) for _ in range(early_blocks))
            self.convolutions.extend([*convolution(inputs, outputs, pooled=index in (0, last)), nn.ReLU()])
        self.blocks = nn.Sequential(*(ResidualBlock(filters[-1]) for _ in range(blocks)))
        pools = 2 if last else 1
        features = filters[-1] * (height >> pools) * (width >> pools)
        self.dense = nn.Sequential(
            nn.Linear(features, hidden, bias=False), BatchNorm1d(hidden, momentum=UPDATE), nn.ReLU()
        )
        self.head = nn.Linear(hidden, classes)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        maps = self.blocks(self.convolutions(images))
        logits: Tensor = self.head(self.dense(in_a_row(maps)))
        return logits
