"""Pre-activation residual networks: He, Zhang, Ren and Sun, "Identity Mappings in Deep Residual Networks", 2016.

Wide residual networks have more channels: Zagoruyko and Komodakis, "Wide Residual Networks", 2016. As there, the depth
is 6n + 4. Their first convolution always has 16 channels. Here it is as wide as the first stage, 16 times the width, so
that the first block needs no projection.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from modiste.models.layers import BatchNorm2d, Dropout, average_maps
from modiste.recipes.networks import ResNetRecipe

STAGES = (16, 32, 64)
"""Channels of the three stages at width 1; each stage but the first halves the image."""


class Block(nn.Module):
    """Two 3x3 convolutions, each after normalisation and activation, with a shortcut around both.

    Args:
        inputs, outputs: Channels.
        stride: Stride of the first convolution; 2 halves the image.
        dropout: Share of values dropped between the convolutions.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.first_norm = BatchNorm2d(inputs)
        self.first = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.second_norm = BatchNorm2d(outputs)
        self.dropout = Dropout(dropout)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        changes = stride != 1 or inputs != outputs
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if changes else None

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d i j"]:
        active = F.relu(self.first_norm(x))
        kept = x if self.shortcut is None else self.shortcut(active)
        y: Tensor = self.first(active)
        y = self.second(self.dropout(F.relu(self.second_norm(y))))
        return y + kept


class ResNet(nn.Module):
    """A convolution, three stages of residual blocks, mean over the image, one linear layer; returns logits.

    Args:
        recipe: The sizes of the layers; see ResNetRecipe.
        image_shape: (channels, height, width) of the images.
        classes: Number of logits.
    """

    def __init__(self, recipe: ResNetRecipe, *, image_shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        blocks = (recipe.depth - 4) // 6
        channels = STAGES[0] * recipe.width
        self.stem = nn.Conv2d(image_shape[0], channels, 3, padding=1, bias=False)
        self.stages = nn.Sequential()
        for number, base in enumerate(STAGES):
            for index in range(blocks):
                stride = 2 if number and not index else 1
                self.stages.append(Block(channels, base * recipe.width, stride, recipe.dropout))
                channels = base * recipe.width
        self.norm = BatchNorm2d(channels)
        self.head = nn.Linear(channels, classes)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        maps = F.relu(self.norm(self.stages(self.stem(images))))
        logits: Tensor = self.head(average_maps(maps))
        return logits
