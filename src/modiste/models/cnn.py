"""The paper's convolutional network (Mendez, "Deep Learning Models for Fashion-MNIST Classification", Listing 1).

Pooling comes before a non-decreasing activation: the values are the same at less cost.
"""

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from modiste.models.layers import (
    ACTIVATIONS,
    BATCH_NORM_EPSILON,
    BATCH_NORM_UPDATE,
    NON_DECREASING,
    BatchNorm2d,
    Dropout,
    MaxPool,
    in_a_row,
    same_convolution,
)


class CNN(nn.Module):
    """Convolutions with ``same`` padding and optional pooling, then dense layers; logits out.

    As Listing 1 on images of 1 x 28 x 28 with 10 classes it has 896,906 parameters.

    Args:
        image_shape: (channels, height, width) of the images.
        classes: number of logits.
        filters: of each convolution.
        kernel_size: side of the kernels, in pixels.
        pools: how many of the first convolutions are followed by 2 x 2 max-pooling.
        hidden: units of each dense layer before the output.
        dropout: share of the last hidden units dropped in training.
        batch_norm: whether each convolution's output is normalised.
        activation: a name in ACTIVATIONS.
    """

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        classes: int,
        filters: tuple[int, ...] = (32, 64, 128),
        kernel_size: int = 3,
        pools: int = 2,
        hidden: tuple[int, ...] = (128,),
        dropout: float = 0.5,
        batch_norm: bool = False,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        channels, height, width = image_shape
        activate = ACTIVATIONS[activation]
        self.convolutions = nn.Sequential()
        for index, (inputs, outputs) in enumerate(pairwise((channels, *filters))):
            self.convolutions.extend(same_convolution(inputs, outputs, kernel_size))
            if batch_norm:
                self.convolutions.append(BatchNorm2d(outputs, BATCH_NORM_EPSILON, BATCH_NORM_UPDATE))
            pool = [MaxPool()] if index < pools else []
            self.convolutions.extend([*pool, activate()] if activation in NON_DECREASING else [activate(), *pool])
        self.dense = nn.Sequential()
        features = filters[-1] * (height >> pools) * (width >> pools)
        for inputs, outputs in pairwise((features, *hidden)):
            self.dense.extend([nn.Linear(inputs, outputs), activate()])
        self.dropout = Dropout(dropout)
        self.head = nn.Linear(hidden[-1] if hidden else features, classes)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        maps = self.convolutions(images)
        units = self.dense(in_a_row(maps))
        logits: Tensor = self.head(self.dropout(units))
        return logits
