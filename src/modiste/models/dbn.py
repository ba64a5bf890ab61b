"""Deep belief network: Hinton, Osindero and Teh, "A Fast Learning Algorithm for Deep Belief Nets", 2006.

A stack of restricted Boltzmann machines becomes a network of sigmoid layers. Each machine is trained on the activities
of the one below by contrastive divergence (Hinton, 2002). Unlike in 2006 there is no associative memory on top, and the
network is fine-tuned by backpropagation. The paper cites 90.6 % for such a network, but the work it names is about
something else.
"""

from itertools import pairwise
from math import prod

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from modiste.models.layers import Dropout
from modiste.recipes.networks import DBNRecipe


class RBM:
    """Binary restricted Boltzmann machine whose weights and hidden biases are a Linear layer's.

    Energy E(v, h) = -h'Wv - b'v - c'h. Visible values in [0, 1] stand for probabilities.

    Args:
        layer: Holds the weights (hidden, visible) and the hidden biases (hidden); training changes them in place.
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
        """Return the free energy: minus the log of the unnormalised probability of ``visible``.

        The hidden units are summed out.
        """
        return -(visible @ self.visible_bias) - F.softplus(F.linear(visible, self.weight, self.hidden_bias)).sum(1)

    def gibbs(self, visible: Float[Tensor, "n v"], steps: int, generator: torch.Generator) -> Float[Tensor, "n v"]:
        """Return the visible units after ``steps`` steps of Gibbs sampling; the last step returns probabilities."""
        for step in range(steps):
            hidden = torch.bernoulli(self.hidden(visible), generator=generator)
            visible = self.visible(hidden)
            if step < steps - 1:
                visible = torch.bernoulli(visible, generator=generator)
        return visible

    def gradient(
        self, visible: Float[Tensor, "n v"], steps: int, generator: torch.Generator
    ) -> tuple[tuple[Tensor, Tensor, Tensor], float]:
        """Return the CD-k gradients of weight, visible bias and hidden bias, and the reconstruction error.

        The gradients approximate those of the mean log-likelihood. The error is the squared error summed over an
        image's pixels, averaged over images.
        """
        model = self.gibbs(visible, steps, generator)
        data_hidden, model_hidden = self.hidden(visible), self.hidden(model)
        weight = (data_hidden.T @ visible - model_hidden.T @ model) / len(visible)
        error = (visible - model).square().sum(1).mean().item()
        return (weight, (visible - model).mean(0), (data_hidden - model_hidden).mean(0)), error


class DBN(nn.Module):
    """The network that is fine-tuned: sigmoid layers and a linear layer; returns logits.

    Args:
        recipe: The sizes of the layers; see DBNRecipe.
        image_shape: (channels, height, width) of the images.
        classes: Number of logits.
    """

    def __init__(self, recipe: DBNRecipe, *, image_shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        sizes = (prod(image_shape), *recipe.hidden)
        self.stack = nn.ModuleList(nn.Linear(inputs, outputs) for inputs, outputs in pairwise(sizes))
        self.stack.requires_grad_(not recipe.frozen)
        self.dropout = Dropout(recipe.dropout)
        self.head = nn.Linear(sizes[-1], classes)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        units = images.flatten(1)
        for layer in self.stack:
            units = self.dropout(torch.sigmoid(layer(units)))
        logits: Tensor = self.head(units)
        return logits
