"""Capsule network: Sabour, Frosst and Hinton, "Dynamic Routing Between Capsules", 2017.

As there with its defaults: 9x9 convolution, primary capsules of 8 dimensions, one 16-dimensional capsule per class by
three routing iterations, a decoder that reconstructs the image. Logits are the capsules' lengths, for the objective
``margin``. The paper cites it for 94.6 % on Fashion-MNIST, which the work itself does not report.

The variant of ours has a deep stem, primary capsules that each see the whole image, and attention in place of rounds of
agreement, both after Mazzia, Salvetti and Chiaberge, "Efficient-CapsNet", 2021.
"""

from itertools import pairwise
from math import prod, sqrt
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from modiste.models.layers import AuxiliaryLoss, BatchNorm2d, OwnWeights, vgg_trunk

PRIMARY_DIMENSIONS, CLASS_DIMENSIONS = 8, 16
RECONSTRUCTION_WEIGHT = 0.0005
"""Weight of the squared error summed over pixels, against the margin loss."""


def squash(x: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
    """Shrink vectors to a length below 1, short ones to almost nothing, keeping their direction (their equation 1)."""
    square = x.square().sum(-1, keepdim=True)
    return x * (square / (1 + square) / (square + 1e-9).sqrt())


def route(lower: Float[Tensor, "n i e"], weights: Float[Tensor, "i j d e"], iterations: int) -> Float[Tensor, "n j d"]:
    """Let i capsules agree on the j capsules above them (their procedure 1).

    What capsule i predicts of capsule j, its vote, is ``weights[i, j] @ lower[i]``. Votes are never formed: their sums,
    and how far they agree with the outputs, are products of matrices half as large. The many capsules, not the few
    numbers in each, lie next to one another in memory, so that a processor weighs several at a time.

    Args:
        lower: what is known of the parts.
        weights: from a part to each whole.
        iterations: rounds of agreement; gradients flow through all of them, as in the authors' program.
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
    """Let i capsules choose among the j above them by how far their votes agree with all others', in one round.

    Args:
        votes: what each lower capsule predicts of each upper one.
        prior: learnt share of each lower capsule, whatever it sees.
    """
    agreement = torch.einsum("nijd,njd->nij", votes, votes.sum(1)) / sqrt(votes.shape[3])
    return squash(torch.einsum("nij,nijd->njd", agreement.softmax(2) + prior, votes))


class CapsNet(AuxiliaryLoss, OwnWeights):
    """Stem, primary capsules, routed class capsules, decoder; lengths of the class capsules out.

    Args:
        image_shape: (channels, height, width) of the images.
        classes: number of class capsules.
        filters: channels of the stem's end and of the primary capsules together.
        stem: ``single``, the original's convolution; ``deep``, six, and primary capsules that see the whole image.
        kernel_size: side of both convolutions' kernels where the stem is single; the second has stride 2.
        routing: ``agreement``, the original's; ``attention``.
        iterations: of routing by agreement.
        hidden: units of the decoder's hidden layers.
    """

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        classes: int,
        filters: int = 256,
        stem: Literal["single", "deep"] = "single",
        kernel_size: int = 9,
        routing: Literal["agreement", "attention"] = "agreement",
        iterations: int = 3,
        hidden: tuple[int, ...] = (512, 1024),
    ) -> None:
        super().__init__()
        height, width = image_shape[1:]
        self.iterations = iterations
        self.stem: nn.Module
        self.primary: nn.Module
        if stem == "single":
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
        self.prior = nn.Parameter(torch.zeros(lower, classes)) if routing == "attention" else None
        sizes = (classes * CLASS_DIMENSIONS, *hidden, prod(image_shape))
        layers = [nn.Linear(inputs, outputs) for inputs, outputs in pairwise(sizes)]
        self.decoder = nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU())))
        self.decoder[-1] = nn.Sigmoid()
        self.capsules: Tensor | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"capsules": None}  # of the images just seen: no part of a copy

    def initialize(self, generator: torch.Generator) -> None:
        nn.init.normal_(self.votes, std=1 / sqrt(len(self.votes)), generator=generator)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        capsules = self.encode(images)
        self.capsules = capsules if self.training else None
        return (capsules.square().sum(2) + 1e-9).sqrt()

    def encode(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes d"]:
        """Return the class capsules, whose lengths are the logits."""
        maps = self.primary(F.relu(self.stem(images)))
        with torch.autocast(maps.device.type, enabled=False):  # the fine differences that routing weighs
            lower = squash(maps.float().unflatten(1, (PRIMARY_DIMENSIONS, -1)).flatten(2).transpose(1, 2))
            if self.prior is None:
                return route(lower, self.votes, self.iterations)
            return attend(torch.einsum("ijde,nie->nijd", self.votes, lower), self.prior)

    def reconstruct(
        self, capsules: Float[Tensor, "n classes d"], targets: Float[Tensor, "n classes"]
    ) -> Float[Tensor, "n pixels"]:
        """Decode the image from the target class's capsule, the others masked to zero."""
        pixels: Tensor = self.decoder((capsules * targets.unsqueeze(2)).flatten(1))
        return pixels

    def auxiliary_loss(
        self, images: Float[Tensor, "n c h w"], targets: Float[Tensor, "n classes"]
    ) -> Float[Tensor, ""]:
        """Return the weighted squared error of reconstructing the images just seen."""
        assert self.capsules is not None, "forward in training mode comes first"
        error = self.reconstruct(self.capsules, targets) - images.flatten(1)
        return RECONSTRUCTION_WEIGHT * error.square().sum(1).mean()
