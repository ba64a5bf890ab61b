"""EfficientNet-Lite: Tan and Le, "EfficientNet", 2019, in the form without squeeze-and-excitation, and with ReLU6.

Renjie Liu published that form and its weights, trained on ImageNet, in 2020. ``training.transfer.backbones`` finds
those weights on this machine.
"""

import math

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from modiste.models.layers import BATCH_NORM_EPSILON, BATCH_NORM_UPDATE, BatchNorm2d, Dropout, average_maps
from modiste.recipes.networks import EfficientNetLiteRecipe

STEM_CHANNELS, FEATURES = 32, 1280
STAGES = (
    # channels, blocks, kernel, stride, expansion: table 1 of the paper, the factors of size 0
    (16, 1, 3, 1, 1),
    (24, 2, 3, 2, 6),
    (40, 2, 5, 2, 6),
    (80, 3, 3, 2, 6),
    (112, 3, 5, 1, 6),
    (192, 4, 5, 2, 6),
    (320, 1, 3, 1, 6),
)
FACTORS = ((1.0, 1.0), (1.0, 1.1), (1.1, 1.2))
"""Factors of the channels and of the blocks for each size."""


class SamePadding(nn.Module):
    """Pad maps with zeros as TensorFlow does for the convolution that follows: the odd row and column come last.

    Args:
        kernel: Side of the convolution's kernel, in pixels.
        stride: Stride of the convolution.
    """

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c i j"]:
        above, below = self.rows(x.shape[2])
        left, right = self.rows(x.shape[3])
        return F.pad(x, (left, right, above, below))

    def rows(self, size: int) -> tuple[int, int]:
        """Return the rows of zeros before and after ``size`` pixels."""
        outputs = -(-size // self.stride)
        total = max((outputs - 1) * self.stride + self.kernel - size, 0)
        return total // 2, total - total // 2


class Convolution(nn.Sequential):
    """A convolution with batch normalisation, and ReLU6 if ``active``; its maps are 1 / ``stride`` the size.

    Args:
        inputs, outputs: Channels.
        kernel: Side of the kernel, in pixels.
        stride: Stride of the convolution.
        groups: Groups of channels; as many as channels filter each alone.
        active: Whether ReLU6 follows.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, *, groups: int = 1, active: bool = True
    ) -> None:
        super().__init__()
        if stride > 1:
            self.padding = SamePadding(kernel, stride)
        padding = kernel // 2 if stride == 1 else 0
        self.convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        self.norm = BatchNorm2d(outputs, BATCH_NORM_EPSILON, BATCH_NORM_UPDATE)
        if active:
            self.activation = nn.ReLU6(inplace=True)


class InvertedResidual(nn.Module):
    """Widen by a 1x1 convolution, filter each channel alone, narrow again; a shortcut if the shape stays the same.

    Args:
        inputs, outputs: Channels.
        kernel: Side of the kernel that filters each channel, in pixels.
        stride: Stride of the same convolution; 2 halves the maps.
        expansion: How many times wider the block is inside; 1 leaves out the first convolution.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = inputs * expansion
        self.widen = Convolution(inputs, width) if expansion > 1 else nn.Identity()
        self.filter = Convolution(width, width, kernel, stride, groups=width)
        self.narrow = Convolution(width, outputs, active=False)
        self.has_shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d i j"]:
        y: Tensor = self.narrow(self.filter(self.widen(x)))
        return x + y if self.has_shortcut else y


class EfficientNetLite(nn.Module):
    """A convolution, seven stages of inverted residuals, 1,280 features, one linear layer; returns logits.

    Args:
        recipe: The size of the network; see EfficientNetLiteRecipe.
        image_shape: (channels, height, width) of the images.
        classes: Number of logits.
    """

    def __init__(self, recipe: EfficientNetLiteRecipe, *, image_shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        width, depth = FACTORS[recipe.size]
        self.stem = Convolution(image_shape[0], STEM_CHANNELS, 3, 2)
        self.blocks = nn.Sequential()
        channels = STEM_CHANNELS
        for number, (base, repeats, kernel, stride, expansion) in enumerate(STAGES):
            is_scaled = 0 < number < len(STAGES) - 1
            outputs = rounded(base * width)
            for index in range(math.ceil(repeats * depth) if is_scaled else repeats):
                block_stride = 1 if index else stride
                self.blocks.append(InvertedResidual(channels, outputs, kernel, block_stride, expansion))
                channels = outputs
        self.features = Convolution(channels, FEATURES)
        self.dropout = Dropout(recipe.dropout)
        self.head = nn.Linear(FEATURES, classes)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        maps = self.features(self.blocks(self.stem(images)))
        logits: Tensor = self.head(self.dropout(average_maps(maps)))
        return logits


def rounded(channels: float) -> int:
    """Return the multiple of 8 nearest to ``channels``, but no more than a tenth below it.

    >>> rounded(44.0), rounded(211.2)
    (48, 208)
    """
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8
