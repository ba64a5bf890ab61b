"""Layers and initialisation that the networks share."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "linear": nn.Identity,
}
NON_DECREASING = frozenset({"relu", "sigmoid", "tanh", "linear"})
"""Activations that keep the order of values, so that max-pooling may come first."""

# Keras' defaults, which hold wherever the paper is silent (torch's are 1e-5 and 0.1).
BATCH_NORM_EPSILON = 1e-3
BATCH_NORM_UPDATE = 0.01
MANY_BATCHES = 2**24
"""After this many batches, nothing is left of the initial running statistics for any useful momentum."""


Statistic = float | tuple[float, ...]
"""A number for all pixels, or one for each channel."""


class Standardize(nn.Module):
    """Subtract the data's mean and divide by its deviation. A file of weights is then enough to predict.

    The tensors are scalars, or (channels, 1, 1).

    Args:
        mean: Mean of the training images' pixels, in [0, 1]; of all pixels, or of each channel.
        deviation: Standard deviation of the same pixels, above 0. Mean 0 and deviation 1 change nothing.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: Statistic, deviation: Statistic) -> None:
        super().__init__()
        for name, value in {"mean": mean, "deviation": deviation}.items():
            numbers = torch.tensor(value)
            self.register_buffer(name, numbers if numbers.ndim == 0 else numbers[:, None, None])

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return (images - self.mean) / self.deviation


@dataclass(frozen=True)
class BatchShare:
    """The images ``first`` to ``last - 1`` of a batch of ``whole`` images that several processes share."""

    first: int
    last: int
    whole: int

    def __len__(self) -> int:
        return self.last - self.first


class Stochastic(nn.Module):
    """Base of layers that draw random numbers in training, from the training loop's generator.

    The loop seeds the generator at every step, so that a draw depends on (seed, step) alone. The layers of torch draw
    from a hidden global state, which a resumed run cannot repeat. Where several processes share a batch, each layer
    draws for the whole batch and takes its share. They then draw the same numbers as one process.
    """

    generator: torch.Generator | None = None
    again: torch.Generator | None = None
    """Seeded as ``generator``, for a second pass with the same draws; None where there is none."""
    part: BatchShare | None = None

    def images_to_draw(self, images: int) -> int:
        """Return the number of images to draw for: those of the whole batch, of which this process has ``images``."""
        return images if self.part is None else self.part.whole

    def own_share(self, drawn: Tensor) -> Tensor:
        """Return the numbers drawn for this process's images."""
        return drawn if self.part is None else drawn[self.part.first : self.part.last]


class Dropout(Stochastic):
    """Inverted dropout (Srivastava et al., 2014).

    Args:
        rate: Share of values set to zero in training, in [0, 1). The rest are scaled so that the mean stays.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        if not self.training or self.rate == 0:
            return x
        keep = self.own_share(self._empty(x).bernoulli_(1 - self.rate, generator=self.generator))
        return x * keep / (1 - self.rate)

    def _empty(self, x: Float[Tensor, "n ..."]) -> Float[Tensor, "m ..."]:
        """Return an empty tensor for the whole batch in the layout of ``x``, which sets the order of the draws."""
        if self.part is None:
            return torch.empty_like(x)
        axes = sorted(range(1, x.dim()), key=x.stride, reverse=True)
        empty = x.new_empty(self.part.whole, *(x.shape[axis] for axis in axes))
        return empty.permute(0, *(axes.index(axis) + 1 for axis in range(1, x.dim())))

    def extra_repr(self) -> str:
        return f"rate={self.rate}"


def normalize_alone(layer: "BatchNorm", x: Float[Tensor, "n c ..."]) -> Float[Tensor, "n c ..."]:
    """Return ``x`` normalised over its own images, and update the layer's running statistics."""
    mean, variance, share = layer.running_mean, layer.running_var, layer.share()
    if isinstance(share, float):
        return F.batch_norm(x, mean, variance, layer.weight, layer.bias, True, share, layer.eps)
    of_batch = torch.zeros_like(mean), torch.zeros_like(variance)  # torch's own update accepts no tensor as the share
    normal = F.batch_norm(x, *of_batch, layer.weight, layer.bias, True, 1.0, layer.eps)
    layer.follow(*of_batch)
    return normal


class BatchNorm(nn.Module):
    """Batch normalisation (Ioffe and Szegedy, 2015) that can be evaluated after any number of steps.

    torch's running statistics start at 0 and 1. After t batches, (1 - momentum)^t of that is left: a third after 100
    batches with momentum 0.01. Here the share of batch t is momentum / (1 - (1 - momentum)^t), so that nothing is left
    after the first batch. Adam corrects its moments in the same way (Kingma and Ba, 2015, section 3). After many
    batches the share equals the momentum to the last bit, and the layer computes the same as torch's. With momentum
    None every batch has the same share, as in torch. The names in the state are torch's.
    """

    weight: nn.Parameter
    bias: nn.Parameter
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    eps: float
    momentum: float | None
    dimensions: tuple[int, ...]
    """Numbers of axes that a batch may have."""
    normalize: Callable[["BatchNorm", Tensor], Tensor] = staticmethod(normalize_alone)
    """How a batch is normalised in training. Several processes that share a batch set another function."""

    def forward(self, x: Float[Tensor, "n c ..."]) -> Float[Tensor, "n c ..."]:
        if not self.training:
            normal: Tensor = super().forward(x)
            return normal
        if x.dim() not in self.dimensions:
            raise ValueError(f"expected {' or '.join(map(str, self.dimensions))} axes, found {x.dim()}")
        self.num_batches_tracked.add_(1)
        return self.normalize(self, x)

    def share(self) -> float | Float[Tensor, ""]:
        """Return the latest batch's share of the running statistics; on a GPU a tensor, to avoid a synchronisation."""
        count = self.num_batches_tracked
        batches = count.double() if count.is_cuda else count.item()
        if self.momentum is None:
            return 1 / batches
        return self.momentum / (1 - (1 - self.momentum) ** batches)

    @torch.no_grad()
    def follow(self, mean: Float[Tensor, " c"], variance: Float[Tensor, " c"]) -> None:
        """Update the running statistics with the mean and the unbiased variance of the latest batch."""
        share = torch.as_tensor(self.share(), dtype=mean.dtype, device=mean.device)
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


class BatchNorm1d(BatchNorm, nn.BatchNorm1d):  # type: ignore[misc]  # what torch lets be None is always there
    """Batch normalisation of features (N, C)."""

    dimensions = (2, 3)


class BatchNorm2d(BatchNorm, nn.BatchNorm2d):  # type: ignore[misc]  # as above
    """Batch normalisation of maps (N, C, H, W)."""

    dimensions = (4,)


BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
"""Every batch normalisation of torch, ours included."""


class OwnWeights(nn.Module):
    """Base of layers that initialise weights of their own, beyond those that ``initialize`` sets."""

    def initialize(self, generator: torch.Generator) -> None:
        """Set the layer's own weights from ``generator``."""
        raise NotImplementedError


class AuxiliaryLoss(nn.Module):
    """Base of networks with a second loss, such as that of reconstructing the image."""

    def auxiliary_loss(
        self, images: Float[Tensor, "n c h w"], targets: Float[Tensor, "n classes"]
    ) -> Float[Tensor, ""]:
        """Return the term to add to the loss for the images of the latest forward pass in training mode."""
        raise NotImplementedError


def auxiliary_loss(
    model: nn.Module, images: Float[Tensor, "n c h w"], targets: Float[Tensor, "n classes"]
) -> Float[Tensor, ""]:
    """Return the sum of the auxiliary losses of all parts of ``model``; 0 for most networks."""
    parts = [part for part in model.modules() if isinstance(part, AuxiliaryLoss)]
    return sum((part.auxiliary_loss(images, targets) for part in parts), start=targets.new_zeros(()))


class MaxPool(nn.MaxPool2d):
    """The largest of each 2 x 2 pixels, without overlap. An odd last row or column is left out.

    torch's own layer stores the position of each value for the backward pass. In prediction and after frozen layers
    there is no backward pass. Taking the larger of two neighbours twice then gives the same values, on a processor in
    half the time.
    """

    def __init__(self) -> None:
        super().__init__(2)

    def forward(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c _ _"]:
        if maps.requires_grad or maps.is_mkldnn or maps.device.type != "cpu" or torch.compiler.is_compiling():
            pooled: Tensor = super().forward(maps)
            return pooled
        height, width = (side - side % 2 for side in maps.shape[2:])
        rows = torch.maximum(maps[:, :, 0:height:2, :width], maps[:, :, 1:height:2, :width])
        return torch.maximum(rows[..., 0::2], rows[..., 1::2])


class _FlattenMaps(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor) -> Tensor:
        ctx.shape = maps.shape
        return maps.flatten(1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient.view(ctx.shape).permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)


def flatten_maps(maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
    """Return each image's maps as one vector, channel after channel, with a gradient in the channels-last layout.

    With the gradient of ``flatten``, the backward pass of the activation before it would mix two layouts. It would take
    fifteen times as long, which is a tenth of a step of the paper's network.
    """
    if maps.is_mkldnn:
        maps = maps.to_dense()
    if not torch.is_grad_enabled():
        return maps.flatten(1)
    flat: Tensor = _FlattenMaps.apply(maps)  # type: ignore[no-untyped-call]
    return flat


def average_maps(maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c"]:
    """Return the mean of each map, with a gradient in the channels-last layout; see ``flatten_maps``."""
    return maps.permute(0, 2, 3, 1).flatten(1, 2).mean(1)


def same_convolution(inputs: int, outputs: int, kernel_size: int) -> list[nn.Module]:
    """Return the layers of a convolution whose output has the height and width of its input.

    An even kernel needs one more row at the bottom and one more column at the right, as in Keras. torch pads that way
    only with a warning.
    """
    if kernel_size % 2:
        return [nn.Conv2d(inputs, outputs, kernel_size, padding=kernel_size // 2)]
    before, after = kernel_size // 2 - 1, kernel_size // 2
    return [nn.ZeroPad2d((before, after, before, after)), nn.Conv2d(inputs, outputs, kernel_size)]


class ConvolutionStage(nn.Sequential):
    """Two 3x3 convolutions with batch normalisation and ReLU, as in VGG (Simonyan and Zisserman, 2015).

    Args:
        inputs, outputs: Channels.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        for channels in (inputs, outputs):
            self.extend([nn.Conv2d(channels, outputs, 3, padding=1, bias=False), BatchNorm2d(outputs), nn.ReLU()])


def vgg_trunk(inputs: int, width: int) -> nn.Sequential:
    """Return three stages of ``width``, 2 ``width`` and 4 ``width`` channels, with 2x2 max-pooling between them."""
    return nn.Sequential(
        ConvolutionStage(inputs, width),
        MaxPool(),
        ConvolutionStage(width, 2 * width),
        MaxPool(),
        ConvolutionStage(2 * width, 4 * width),
    )


def to_training(model: nn.Module, *, keep_statistics: bool = False) -> None:
    """Set the model to training mode, except batch normalisation with frozen weights.

    Its running statistics stay frozen with its weights, as in Keras. In torch they would change, and with them the
    outputs of a frozen network. With ``keep_statistics`` those of every batch normalisation stay.
    """
    model.train()
    following = following_norms(model, keep_statistics=keep_statistics)
    for layer in model.modules():
        if isinstance(layer, BATCH_NORMS) and layer not in following:
            layer.eval()


def following_norms(model: nn.Module, *, keep_statistics: bool = False) -> list[nn.modules.batchnorm._BatchNorm]:
    """Return the batch normalisations whose running statistics follow the batches: those with weights that train.

    With ``keep_statistics`` there are none.
    """
    norms = [layer for layer in model.modules() if isinstance(layer, BATCH_NORMS)]
    return [layer for layer in norms if not keep_statistics and not _is_frozen(layer)]


def _is_frozen(layer: nn.Module) -> bool:
    own = list(layer.parameters(recurse=False))
    return bool(own) and not any(weight.requires_grad for weight in own)


def keep_uncounted(model: nn.Module) -> None:
    """Keep running statistics from a file of weights that does not hold the number of batches behind them.

    Without that number the first batch of training would replace them.
    """
    for layer in model.modules():
        if isinstance(layer, BatchNorm) and not layer.num_batches_tracked and layer.running_mean.any():
            layer.num_batches_tracked.fill_(MANY_BATCHES)


def share_generator(
    model: nn.Module,
    generator: torch.Generator,
    again: torch.Generator | None = None,
    *,
    part: BatchShare | None = None,
) -> None:
    """Make every layer of ``model`` that draws random numbers use ``generator``.

    Args:
        model: Any network.
        generator: Seeded by the caller before each step.
        again: Another generator with the same seed, for ``repeated_draws``; None where a step has a single pass.
        part: This process's share of the batch; None where it has the whole batch.
    """
    for layer in model.modules():
        if isinstance(layer, Stochastic):
            layer.generator, layer.again, layer.part = generator, again, part


@contextmanager
def repeated_draws(model: nn.Module) -> Iterator[None]:
    """Let the layers of a network draw in the block what they drew in the pass before it.

    They draw from a second generator, because a CUDA graph cannot set a generator back.
    """
    drawing = [layer for layer in model.modules() if isinstance(layer, Stochastic)]
    before = [layer.generator for layer in drawing]
    try:
        for layer in drawing:
            assert layer.generator is None or layer.again is not None, "share_generator was given no second generator"
            layer.generator = layer.again
        yield
    finally:
        for layer, generator in zip(drawing, before, strict=True):
            layer.generator = generator


def initialize(model: nn.Module, generator: torch.Generator) -> None:
    """Initialise ``model`` as Keras does: weights uniform after Glorot and Bengio (2010), biases zero."""
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight, generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, OwnWeights):
            layer.initialize(generator)
