"""The perceptron (Rosenblatt, 1958) and its multilayer form (Rumelhart, Hinton and Williams, 1986).

Trained by gradient descent on cross-entropy in both cases; Rosenblatt's own learning rule is not used.
"""

from itertools import pairwise
from math import prod

from jaxtyping import Float
from torch import Tensor, nn

from modiste.models.layers import ACTIVATIONS, BATCH_NORM_EPSILON, BATCH_NORM_UPDATE, BatchNorm1d, Dropout


class MLP(nn.Module):
    """Dense layers over the flattened image; logits out. Without hidden layers one linear map.

    Args:
        image_shape: (channels, height, width) of the images.
        classes: number of logits.
        hidden: units of each hidden layer.
        activation: a name in ACTIVATIONS, after every hidden layer.
        dropout: share of each hidden layer's units dropped in training.
        batch_norm: whether each hidden layer's output is normalised before its activation.
    """

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        classes: int,
        hidden: tuple[int, ...] = (),
        activation: str = "relu",
        dropout: float = 0.0,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        sizes = (prod(image_shape), *hidden)
        self.hidden = nn.Sequential()
        for inputs, outputs in pairwise(sizes):
            self.hidden.append(nn.Linear(inputs, outputs))
            if batch_norm:
                self.hidden.append(BatchNorm1d(outputs, BATCH_NORM_EPSILON, BATCH_NORM_UPDATE))
            self.hidden.append(ACTIVATIONS[activation]())
            self.hidden.append(Dropout(dropout))
        self.head = nn.Linear(sizes[-1], classes)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        logits: Tensor = self.head(self.hidden(images.flatten(1)))
        return logits
