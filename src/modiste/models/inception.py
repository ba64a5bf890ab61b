"""Inception modules: Szegedy et al., "Going Deeper with Convolutions", 2015, with batch normalisation (2015b).

The paper tried "architectures that combine different kernel sizes such as Inception" and gives no details. Here a
convolution and two pairs of modules, with pooling before each pair, end in the mean over the image. There are no
auxiliary classifiers.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from modiste.models.layers import BatchNorm2d, Dropout, MaxPool, average_maps
from modiste.recipes.networks import InceptionRecipe


class ConvolutionNormReLU(nn.Sequential):
    """Convolution with ``same`` padding, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel_size: int) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel_size, padding=kernel_size // 2, bias=False),
            BatchNorm2d(outputs),
            nn.ReLU(),
        )


class InceptionModule(nn.Module):
    """Four parallel branches: 1x1; 1x1 then 3x3; 1x1 then 5x5; 3x3 max-pooling then 1x1.

    Args:
        inputs: Channels in.
        outputs: Channels out, a multiple of 8. The branches give a quarter, a half, an eighth and an eighth of them.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        eighth = outputs // 8
        self.branches = nn.ModuleList(
            [
                ConvolutionNormReLU(inputs, 2 * eighth, 1),
                nn.Sequential(
                    ConvolutionNormReLU(inputs, 2 * eighth, 1), ConvolutionNormReLU(2 * eighth, 4 * eighth, 3)
                ),
                nn.Sequential(ConvolutionNormReLU(inputs, eighth, 1), ConvolutionNormReLU(eighth, eighth, 5)),
                nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), ConvolutionNormReLU(inputs, eighth, 1)),
            ]
        )

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d h w"]:
        return torch.cat([branch(x) for branch in self.branches], dim=1)


class Inception(nn.Module):
    """A convolution, two pairs of Inception modules with pooling before each, mean over the image; returns logits.

    Args:
        recipe: The sizes of the layers; see InceptionRecipe.
        image_shape: (channels, height, width) of the images.
        classes: Number of logits.
    """

    def __init__(self, recipe: InceptionRecipe, *, image_shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        width = recipe.width
        self.features = nn.Sequential(
            ConvolutionNormReLU(image_shape[0], width, 3),
            MaxPool(),
            InceptionModule(width, width),
            InceptionModule(width, 2 * width),
            MaxPool(),
            InceptionModule(2 * width, 2 * width),
            InceptionModule(2 * width, 4 * width),
        )
        self.dropout = Dropout(recipe.dropout)
        self.head = nn.Linear(4 * width, classes)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        maps = self.features(images)
        logits: Tensor = self.head(self.dropout(average_maps(maps)))
        return logits
