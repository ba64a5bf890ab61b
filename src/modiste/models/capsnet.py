"""Capsule network: Sabour, Frosst and Hinton, "Dynamic Routing Between Capsules", 2017.

The defaults are the authors': a 9x9 convolution, primary capsules of 8 dimensions, one capsule of 16 dimensions per
class after three routing iterations, and a decoder that reconstructs the image. Logits are the lengths of the class
capsules, for the loss ``margin``. The paper cites it for 94.6 % on Fashion-MNIST. The work itself does not report that.

Our variant has a deep stem, primary capsules that each see the whole image, and attention in place of routing by
agreement. Both follow Mazzia, Salvetti and Chiaberge, "Efficient-CapsNet", 2021.
"""

from itertools import pairwise
from math import prod, sqrt
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from modiste.models.layers import AuxiliaryLoss, BatchNorm2d, OwnWeights, vgg_trunk
from modiste.recipes.networks import CapsNetRecipe

PRIMARY_DIMENSIONS, CLASS_DIMENSIONS = 8, 16
RECONSTRUCTION_WEIGHT = 0.0005
"""Weight of the reconstruction's squared error, summed over pixels, against the margin loss."""


def squash(x: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
    """Scale vectors to a length below 1, short ones to almost 0; the direction stays (their equation 1)."""
    square = x.square().sum(-1, keepdim=True)
    return x * (square / (1 + square) / (square + 1e-9).sqrt())


def route(lower: Float[Tensor, "n i e"], weights: Float[Tensor, "i j d e"], iterations: int) -> Float[Tensor, "n j d"]:
    """Return j upper capsules from i lower ones by routing by agreement (their procedure 1).

    The vote of capsule i for capsule j is ``weights[i, j] @ lower[i]``. Votes are never computed one by one: their sums
    and their agreement with the outputs are products of matrices half as large. The capsules are contiguous in memory,
    not the few numbers in each, so that a processor handles several at a time.

    Args:
        lower: The lower capsules, i of e dimensions for each image.
        weights: Maps each lower capsule to its vote for each upper one.
        iterations: Rounds of routing; gradients flow through all of them, as in the authors' program.
    """
    n, i, e = lower.shape
    parts, matrix = lower.mT, weights.permute(1, 3, 0, 2).flatten(1, 2)  # (n, e, i) and (j, e i, d)
    outputs = squash(torch.einsum("nk,jkd->jnd", parts.flatten(1), matrix) / len(matrix))  # all shares equal at first
    agreement = lower.new_zeros(())
    for _ in range(iterations - 1):
        agreement = agreement + ((outputs @ matrix.mT).view(-1, n, e, i) * parts).sum(2)
        outputs = squash((agreement.softmax(0).unsqueeze(2) * parts).flatten(2) @ matrix)
    return outputs.transpose(0, 1)


def attend(votes: Float[Tensor, "n i j d"], prior: Float[Tensor, "i j"]) -> Float[Tensor, "n j d"]:
    """Return j upper capsules from the votes of i lower ones, weighted by attention in one round.

    A vote's weight grows with its agreement with the sum of all votes.

    Args:
        votes: The vote of each lower capsule for each upper one.
        prior: Learnt weight of each vote, the same for every image.
    """
    agreement = torch.einsum("nijd,njd->nij", votes, votes.sum(1)) / sqrt(votes.shape[3])
    return squash(torch.einsum("nij,nijd->njd", agreement.softmax(2) + prior, votes))


class CapsNet(AuxiliaryLoss, OwnWeights):
    """Stem, primary capsules, class capsules by routing, and a decoder; returns the class capsules' lengths.

    Args:
        recipe: The sizes of the layers; see CapsNetRecipe.
        image_shape: (channels, height, width) of the images.
        classes: Number of logits.
    """

    def __init__(self, recipe: CapsNetRecipe, *, image_shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        height, width = image_shape[1:]
        filters, kernel_size = recipe.filters, recipe.kernel_size
        self.iterations = recipe.iterations
        self.stem: nn.Module
        self.primary: nn.Module
        if recipe.stem == "single":
            self.stem = nn.Conv2d(image_shape[0], filters, kernel_size)
            self.primary = nn.Conv2d(filters, filters, kernel_size, stride=2)
            rows, columns = ((side - 2 * (kernel_size - 1) - 1) // 2 + 1 for side in (height, width))
        else:
            self.stem = vgg_trunk(image_shape[0], filters // 4)
            whole = nn.Conv2d(filters, filters, (height // 4, width // 4), groups=filters, bias=False)
            self.primary = nn.Sequential(whole, BatchNorm2d(filters))
            rows = columns = 1
        lower = rows * columns * filters // PRIMARY_DIMENSIONS
        self.votes = nn.Parameter(torch.empty(lower, classes, CLASS_DIMENSIONS, PRIMARY_DIMENSIONS))
        self.prior = nn.Parameter(torch.zeros(lower, classes)) if recipe.routing == "attention" else None
        sizes = (classes * CLASS_DIMENSIONS, *recipe.hidden, prod(image_shape))
        layers = [nn.Linear(inputs, outputs) for inputs, outputs in pairwise(sizes)]
        self.decoder = nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU())))
        self.decoder[-1] = nn.Sigmoid()
        self.capsules: Tensor | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"capsules": None}  # they belong to the last batch, not to a copy

    def initialize(self, generator: torch.Generator) -> None:
        nn.init.normal_(self.votes, std=1 / sqrt(len(self.votes)), generator=generator)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        capsules = self.encode(images)
        self.capsules = capsules if self.training else None
        return (capsules.square().sum(2) + 1e-9).sqrt()

    def encode(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes d"]:
        """Return the class capsules; their lengths are the logits."""
        maps = self.primary(F.relu(self.stem(images)))
        with torch.autocast(maps.device.type, enabled=False):  # routing depends on small differences
            lower = squash(maps.float().unflatten(1, (PRIMARY_DIMENSIONS, -1)).flatten(2).transpose(1, 2))
            if self.prior is None:
                return route(lower, self.votes, self.iterations)
            return attend(torch.einsum("ijde,nie->nijd", self.votes, lower), self.prior)

    def reconstruct(
        self, capsules: Float[Tensor, "n classes d"], targets: Float[Tensor, "n classes"]
    ) -> Float[Tensor, "n pixels"]:
        """Return the image decoded from the capsule of the target class; the others are masked to zero."""
        pixels: Tensor = self.decoder((capsules * targets.unsqueeze(2)).flatten(1))
        return pixels

    def auxiliary_loss(
        self, images: Float[Tensor, "n c h w"], targets: Float[Tensor, "n classes"]
    ) -> Float[Tensor, ""]:
        """Return the weighted squared error of reconstructing the images of the latest forward pass."""
        assert self.capsules is not None, "forward in training mode comes first"
        error = self.reconstruct(self.capsules, targets) - images.flatten(1)
        return RECONSTRUCTION_WEIGHT * error.square().sum(1).mean()
