"""The paper's convolutional network (Mendez, "Deep Learning Models for Fashion-MNIST Classification", Listing 1).

Max-pooling runs before an activation that never decreases: the values are the same and the activation has less to do.
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
    flatten_maps,
    same_convolution,
)
from modiste.recipes.networks import CNNRecipe


class CNN(nn.Module):
    """Convolutions with ``same`` padding and optional pooling, then dense layers; returns logits.

    With the recipe's defaults, images of 1 x 28 x 28 and 10 classes it is Listing 1, with 896,906 parameters.

    Args:
        recipe: The sizes of the layers; see CNNRecipe.
        image_shape: (channels, height, width) of the images.
        classes: Number of logits.
    """

    def __init__(self, recipe: CNNRecipe, *, image_shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        channels, height, width = image_shape
        activate = ACTIVATIONS[recipe.activation]
        self.convolutions = nn.Sequential()
        for index, (inputs, outputs) in enumerate(pairwise((channels, *recipe.filters))):
            self.convolutions.extend(same_convolution(inputs, outputs, recipe.kernel_size))
            if recipe.batch_norm:
                self.convolutions.append(BatchNorm2d(outputs, BATCH_NORM_EPSILON, BATCH_NORM_UPDATE))
            pool = [MaxPool()] if index < recipe.pools else []
            pool_first = recipe.activation in NON_DECREASING
            self.convolutions.extend([*pool, activate()] if pool_first else [activate(), *pool])
        self.dense = nn.Sequential()
        features = recipe.filters[-1] * (height >> recipe.pools) * (width >> recipe.pools)
        sizes = (features, *recipe.hidden)
        for inputs, outputs in pairwise(sizes):
            self.dense.extend([nn.Linear(inputs, outputs), activate()])
        self.dropout = Dropout(recipe.dropout)
        self.head = nn.Linear(sizes[-1], classes)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        maps = self.convolutions(images)
        units = self.dense(flatten_maps(maps))
        logits: Tensor = self.head(self.dropout(units))
        return logits
