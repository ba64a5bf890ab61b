"""Inception modules: Szegedy et al., "Going Deeper with Convolutions", 2015, with batch normalisation (2015b).

The paper tried "architectures that combine different kernel sizes such as Inception" and gives no more. Here: a stem,
two pairs of modules each followed by pooling, mean over the image; no auxiliary classifiers.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from modiste.models.layers import BatchNorm2d, Dropout, MaxPool, mean_over_places


class ConvolutionNormReLU(nn.Sequential):
    """Convolution with ``same`` padding, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel_size: int) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel_size, padding=kernel_size // 2, bias=False),
            BatchNorm2d(outputs),
            nn.ReLU(),
        )


class InceptionModule(nn.Module):
    """Four branches side by side: 1x1; 1x1 then 3x3; 1x1 then 5x5; 3x3 max-pooling then 1x1.

    Args:
        inputs: channels in.
        outputs: channels out, a multiple of 8: a quarter, a half, an eighth, an eighth by branch.
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
    """Stem, two pairs of Inception modules with pooling between, mean over the image; logits out.

    Args:
        image_shape: (channels, height, width) of the images.
        classes: number of logits.
        width: channels of the stem and of the first pair; the second pair has twice as many.
        dropout: share of the pooled features dropped in training.
    """

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        classes: int,
        width: int = 64,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(
            ConvolutionNormReLU(image_shape[0], width, 3),
            MaxPool(),
            InceptionModule(width, width),
            InceptionModule(width, 2 * width),
            MaxPool(),
            InceptionModule(2 * width, 2 * width),
            InceptionModule(2 * width, 4 * width),
        )
        self.dropout = Dropout(dropout)
        self.head = nn.Linear(4 * width, classes)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        maps = self.features(images)
        logits: Tensor = self.head(self.dropout(mean_over_places(maps)))
        return logits
