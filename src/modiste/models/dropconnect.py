"""DropConnect: Wan, Zeiler, Zhang, LeCun and Fergus, "Regularization of Neural Networks using DropConnect", 2013.

The paper cites Wan et al. for a deep belief network with 90.6 % on Fashion-MNIST. Their work is this one, four years
older than the data set. As there, training draws a new mask over the weights for every image. At test time activations
are sampled from a Gaussian with the mean and variance of the masked sum (their algorithm 2). The trunk differs: it has
three convolutions with normalisation and pooling.
"""

from itertools import pairwise
from math import prod

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from modiste.models.layers import BatchNorm2d, MaxPool, Stochastic, flatten_maps
from modiste.recipes.networks import DropConnectRecipe

SAMPLING_SEED = 0
BYTES = 256
"""Values of the random byte that decides whether a weight is dropped."""


class DropConnect(Stochastic):
    """A dense layer with ReLU that drops each weight at random, with a new mask for each image.

    In evaluation a unit's input is Gaussian with mean keep * Wx and variance keep (1 - keep) (W*W)(x*x). The layer
    averages the ReLU of ``samples`` draws. The draws are always the same, so an image always has the same logits.

    Args:
        inputs, outputs: Units.
        rate: Share of weights dropped, in [0, 1), rounded to 1/256; at most 255/256.
        samples: Draws in evaluation.
    """

    def __init__(self, inputs: int, outputs: int, rate: float, samples: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.kept, self.samples = max(1, round(BYTES * (1 - rate))), samples
        noise = torch.randn(samples, outputs, generator=torch.Generator().manual_seed(SAMPLING_SEED))
        self.register_buffer("noise", noise)

    noise: Tensor

    def forward(self, x: Float[Tensor, "n inputs"]) -> Float[Tensor, "n outputs"]:
        if self.kept == BYTES:  # the Gaussian has no width, and a square root has no gradient at 0
            return torch.relu(self.linear(x))
        return self._masked(x) if self.training else self._moment_matched(x)

    def _masked(self, x: Float[Tensor, "n inputs"]) -> Float[Tensor, "n outputs"]:
        """Return the output with a new mask for each image; the bias is masked like any other weight."""
        shape = (len(x), *self.linear.weight.shape)
        weights = self._mask(*shape) * self.linear.weight.to(x.dtype)
        total = torch.bmm(weights, x.unsqueeze(2)).squeeze(2)
        return torch.relu(total + self._mask(*shape[:2]) * self.linear.bias)

    def _mask(self, images: int, *shape: int) -> Bool[Tensor, "..."]:
        """Return a mask of the weights to keep. One random byte a weight is fast."""
        shape = (self.images_to_draw(images), *shape)
        count, device = prod(shape), self.linear.weight.device
        words = torch.randint(-(2**63), 2**63 - 1, (count // 8 + 1,), generator=self.generator, device=device)
        drawn = words.view(torch.uint8)[:count]
        return self.own_share((drawn < self.kept).view(shape))

    def moments(self, x: Float[Tensor, "n inputs"]) -> tuple[Float[Tensor, "n outputs"], Float[Tensor, "n outputs"]]:
        """Return the mean and the variance of each unit's input over all masks."""
        keep, weight, bias = self.kept / BYTES, self.linear.weight, self.linear.bias
        mean = keep * (x @ weight.T + bias)
        return mean, keep * (1 - keep) * (x.square() @ weight.square().T + bias.square())

    def _moment_matched(self, x: Float[Tensor, "n inputs"]) -> Float[Tensor, "n outputs"]:
        mean, variance = self.moments(x)
        draws = mean[:, None] + variance.sqrt()[:, None] * self.noise
        return torch.relu(draws).mean(1)


class DropConnectNet(nn.Module):
    """Convolutions with pooling, one DropConnect layer, one linear layer; returns logits.

    Args:
        recipe: The sizes of the layers; see DropConnectRecipe.
        image_shape: (channels, height, width) of the images.
        classes: Number of logits.
    """

    def __init__(self, recipe: DropConnectRecipe, *, image_shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        channels, height, width = image_shape
        self.trunk = nn.Sequential()
        for inputs, outputs in pairwise((channels, *recipe.filters)):
            convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
            self.trunk.extend([convolution, BatchNorm2d(outputs), MaxPool(), nn.ReLU()])
        pools = len(recipe.filters)
        features = recipe.filters[-1] * (height >> pools) * (width >> pools)
        self.dropconnect = DropConnect(features, recipe.hidden, recipe.rate, recipe.samples)
        self.head = nn.Linear(recipe.hidden, classes)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        features = flatten_maps(self.trunk(images))
        logits: Tensor = self.head(self.dropconnect(features))
        return logits
