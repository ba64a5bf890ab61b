"""DropConnect: Wan, Zeiler, Zhang, LeCun and Fergus, "Regularization of Neural Networks using DropConnect", 2013.

The paper cites Wan et al. for a deep belief network with 90.6 % on Fashion-MNIST; the work itself is this one, four
years older than the data set. As there: a fresh mask over the weights for every image in training, and at test time
activations sampled from the Gaussian that matches the masked sum's mean and variance (their algorithm 2), not scaled
weights. Differs in its convolutional trunk, which here is the paper's.
"""

from itertools import pairwise
from math import prod

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from modiste.models.layers import BatchNorm2d, MaxPool, Stochastic, in_a_row

SAMPLING_SEED = 0


class DropConnect(Stochastic):
    """A dense layer with ReLU whose every weight is dropped at random, anew for each image.

    In evaluation the unit's input is Gaussian with mean keep * Wx and variance keep (1 - keep) (W*W)(x*x); ``samples``
    draws of it pass the ReLU and are averaged, always the same draws, so that an image has one answer.

    Args:
        inputs, outputs: units.
        rate: share of weights dropped.
        samples: draws at test time.
    """

    def __init__(self, inputs: int, outputs: int, rate: float, samples: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.rate, self.samples = rate, samples
        noise = torch.randn(samples, outputs, generator=torch.Generator().manual_seed(SAMPLING_SEED))
        self.register_buffer("noise", noise)

    noise: Tensor

    def forward(self, x: Float[Tensor, "n inputs"]) -> Float[Tensor, "n outputs"]:
        return self._masked(x) if self.training and self.rate else self._moment_matched(x)

    def _masked(self, x: Float[Tensor, "n inputs"]) -> Float[Tensor, "n outputs"]:
        """Sum under a fresh mask per image; the bias is masked as a weight of a constant input."""
        shape = (len(x), *self.linear.weight.shape)
        weights = self._mask(*shape) * self.linear.weight.to(x.dtype)
        total = torch.bmm(weights, x.unsqueeze(2)).squeeze(2)
        return torch.relu(total + self._mask(*shape[:2]) * self.linear.bias)

    def _mask(self, images: int, *shape: int) -> Bool[Tensor, "..."]:
        """Draw which weights stay, by one random byte each, which is fast; the rate is met to 1/256."""
        shape = (self.whole(images), *shape)
        count, device = prod(shape), self.linear.weight.device
        words = torch.randint(-(2**63), 2**63 - 1, (count // 8 + 1,), generator=self.generator, device=device)
        return self.own((words.view(torch.uint8)[:count] < round(256 * (1 - self.rate))).view(shape))

    def moments(self, x: Float[Tensor, "n inputs"]) -> tuple[Float[Tensor, "n outputs"], Float[Tensor, "n outputs"]]:
        """Return mean and variance of each unit's input over the masks."""
        keep, weight, bias = 1 - self.rate, self.linear.weight, self.linear.bias
        mean = keep * (x @ weight.T + bias)
        return mean, keep * (1 - keep) * (x.square() @ weight.square().T + bias.square())

    def _moment_matched(self, x: Float[Tensor, "n inputs"]) -> Float[Tensor, "n outputs"]:
        mean, variance = self.moments(x)
        draws = mean[:, None] + variance.sqrt()[:, None] * self.noise
        return torch.relu(draws).mean(1)


class DropConnectNet(nn.Module):
    """Convolutions with pooling, one DropConnect layer, a linear layer; logits out.

    Args:
        image_shape: (channels, height, width) of the images.
        classes: number of logits.
        filters: of each convolution; each is followed by 2x2 max-pooling.
        hidden: units of the DropConnect layer.
        rate: share of its weights dropped.
        samples: Gaussian draws at test time.
    """

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        classes: int,
        filters: tuple[int, ...] = (32, 64, 64),
        hidden: int = 128,
        rate: float = 0.5,
        samples: int = 64,
    ) -> None:
        super().__init__()
        channels, height, width = image_shape
        self.trunk = nn.Sequential()
        for inputs, outputs in pairwise((channels, *filters)):
            convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
            self.trunk.extend([convolution, BatchNorm2d(outputs), MaxPool(), nn.ReLU()])
        pools = len(filters)
        features = filters[-1] * (height >> pools) * (width >> pools)
        self.dropconnect = DropConnect(features, hidden, rate, samples)
        self.head = nn.Linear(hidden, classes)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        features = in_a_row(self.trunk(images))
        logits: Tensor = self.head(self.dropconnect(features))
        return logits
