"""Deep belief network: Hinton, Osindero and Teh, "A Fast Learning Algorithm for Deep Belief Nets", 2006.

A stack of restricted Boltzmann machines, each trained on the activities of the one below by contrastive divergence
(Hinton, 2002), then unrolled into a network of sigmoid layers. The paper claims 90.6 % for one, of a work that is about
something else. Differs from 2006: no top-level associative memory; the unrolled net is fine-tuned by backpropagation.
"""

from itertools import pairwise
from math import prod

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from modiste.models.layers import Dropout


class RBM:
    """Binary restricted Boltzmann machine whose weights and hidden biases are a Linear layer's.

    Energy E(v, h) = -h'Wv - b'v - c'h. Visible values in [0, 1] stand for probabilities.

    Args:
        layer: its weight (hidden, visible) and bias (hidden) are the machine's, and are changed in place by training.
    """

    def __init__(self, layer: nn.Linear) -> None:
        self.weight, self.hidden_bias = layer.weight.detach(), layer.bias.detach()
        self.visible_bias = self.weight.new_zeros(layer.in_features)

    def hidden(self, visible: Float[Tensor, "n v"]) -> Float[Tensor, "n h"]:
        """Return the probability that each hidden unit is on."""
        return torch.sigmoid(F.linear(visible, self.weight, self.hidden_bias))

    def visible(self, hidden: Float[Tensor, "n h"]) -> Float[Tensor, "n v"]:
        """Return the probability that each visible unit is on."""
        return torch.sigmoid(F.linear(hidden, self.weight.T, self.visible_bias))

    def free_energy(self, visible: Float[Tensor, "n v"]) -> Float[Tensor, " n"]:
        """Return -log of the unnormalised probability of ``visible``, hidden units summed out."""
        return -(visible @ self.visible_bias) - F.softplus(F.linear(visible, self.weight, self.hidden_bias)).sum(1)

    def gibbs(self, visible: Float[Tensor, "n v"], steps: int, generator: torch.Generator) -> Float[Tensor, "n v"]:
        """Alternate between the layers ``steps`` times; the last visible layer is left as probabilities."""
        for step in range(steps):
            hidden = torch.bernoulli(self.hidden(visible), generator=generator)
            visible = self.visible(hidden)
            if step < steps - 1:
                visible = torch.bernoulli(visible, generator=generator)
        return visible

    def gradient(
        self, visible: Float[Tensor, "n v"], steps: int, generator: torch.Generator
    ) -> tuple[tuple[Tensor, Tensor, Tensor], float]:
        """Return the contrastive divergence CD-k for weight, visible and hidden bias, and the reconstruction error.

        The first approximates the gradient of the mean log-likelihood; the second is the mean squared error per image.
        """
        model = self.gibbs(visible, steps, generator)
        data_hidden, model_hidden = self.hidden(visible), self.hidden(model)
        weight = (data_hidden.T @ visible - model_hidden.T @ model) / len(visible)
        error = (visible - model).square().sum(1).mean().item()
        return (weight, (visible - model).mean(0), (data_hidden - model_hidden).mean(0)), error


class DBN(nn.Module):
    """The unrolled network: sigmoid layers and a linear readout; logits out.

    Args:
        image_shape: (channels, height, width) of the images.
        classes: number of logits.
        hidden: units of each layer of the stack.
        frozen: whether only the readout learns after pre-training.
        dropout: share of each hidden layer's units dropped in fine-tuning.
    """

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        classes: int,
        hidden: tuple[int, ...] = (1024, 1024),
        frozen: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        sizes = (prod(image_shape), *hidden)
        self.stack = nn.ModuleList(nn.Linear(inputs, outputs) for inputs, outputs in pairwise(sizes))
        self.stack.requires_grad_(not frozen)
        self.dropout = Dropout(dropout)
        self.head = nn.Linear(sizes[-1], classes)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        units = images.flatten(1)
        for layer in self.stack:
            units = self.dropout(torch.sigmoid(layer(units)))
        logits: Tensor = self.head(units)
        return logits
