"""The perceptron (Rosenblatt, 1958) and its multilayer form (Rumelhart, Hinton and Williams, 1986).

Both are trained by gradient descent on cross-entropy, not by Rosenblatt's own learning rule.
"""

from itertools import pairwise
from math import prod

from jaxtyping import Float
from torch import Tensor, nn

from modiste.models.layers import ACTIVATIONS, BATCH_NORM_EPSILON, BATCH_NORM_UPDATE, BatchNorm1d, Dropout
from modiste.recipes.networks import MLPRecipe


class MLP(nn.Module):
    """Dense layers over the flattened image; returns logits. Without hidden layers it is one linear map.

    Args:
        recipe: The sizes of the layers; see MLPRecipe.
        image_shape: (channels, height, width) of the images.
        classes: Number of logits.
    """

    def __init__(self, recipe: MLPRecipe, *, image_shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        sizes = (prod(image_shape), *recipe.hidden)
        self.hidden = nn.Sequential()
        for inputs, outputs in pairwise(sizes):
            self.hidden.append(nn.Linear(inputs, outputs))
            if recipe.batch_norm:
                self.hidden.append(BatchNorm1d(outputs, BATCH_NORM_EPSILON, BATCH_NORM_UPDATE))
            self.hidden.append(ACTIVATIONS[recipe.activation]())
            self.hidden.append(Dropout(recipe.dropout))
        self.head = nn.Linear(sizes[-1], classes)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        logits: Tensor = self.head(self.hidden(images.flatten(1)))
        return logits
