"""A small convolutional network of our own that reaches an accuracy in little time.

From others it takes normalisation in place of dropout, a first layer that whitening can set, and pooling before what
would be expensive at full size (Page, 2018; Jordan, airbench, 2024). A frozen first layer needs no backward pass at
full size, where most of a step's time would go. Residual blocks (He et al., 2016) follow where the maps are small.
"""

from itertools import pairwise

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from modiste.models.layers import BatchNorm1d, BatchNorm2d, MaxPool, flatten_maps
from modiste.recipes.networks import SprintRecipe

UPDATE = 0.3
"""Share of each batch in the running statistics of normalisation. A run of one epoch is too short for torch's 0.1."""


def convolution(inputs: int, outputs: int, *, pooled: bool = False) -> list[nn.Module]:
    """Return the layers of a 3x3 convolution and its normalisation, with 2x2 max-pooling between if ``pooled``."""
    pool: list[nn.Module] = [MaxPool()] if pooled else []
    normalise = BatchNorm2d(outputs, momentum=UPDATE)
    return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), *pool, normalise]


class ResidualBlock(nn.Module):
    """Two convolutions with an identity shortcut and ReLU after the sum, as first published (He et al., 2016).

    With one or two blocks this was better on validation than activations before the convolutions.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(*convolution(channels, channels), nn.ReLU(), *convolution(channels, channels))

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return F.relu(x + self.residual(x))


class SprintNet(nn.Module):
    """3x3 convolutions, residual blocks and a dense layer, all normalised; returns logits.

    Pooling follows the first and the last convolution outside the blocks.

    Args:
        recipe: The sizes of the layers; see SprintRecipe.
        image_shape: (channels, height, width) of the images.
        classes: Number of logits.
    """

    def __init__(self, recipe: SprintRecipe, *, image_shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        channels, height, width = image_shape
        last, hidden = len(recipe.filters) - 1, recipe.hidden
        self.convolutions = nn.Sequential()
        for index, (inputs, outputs) in enumerate(pairwise((channels, *recipe.filters))):
            if index == last:
                self.convolutions.extend(ResidualBlock(inputs) for _ in range(recipe.early_blocks))
            self.convolutions.extend([*convolution(inputs, outputs, pooled=index in (0, last)), nn.ReLU()])
        self.blocks = nn.Sequential(*(ResidualBlock(recipe.filters[-1]) for _ in range(recipe.blocks)))
        pools = 2 if last else 1
        features = recipe.filters[-1] * (height >> pools) * (width >> pools)
        self.dense = nn.Sequential(
            nn.Linear(features, hidden, bias=False), BatchNorm1d(hidden, momentum=UPDATE), nn.ReLU()
        )
        self.head = nn.Linear(hidden, classes)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        maps = self.blocks(self.convolutions(images))
        logits: Tensor = self.head(self.dense(flatten_maps(maps)))
        return logits
