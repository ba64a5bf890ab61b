"""The table of warm starts, each of which changes a new network before the first training step."""

import contextlib
from collections.abc import Callable
from typing import NoReturn

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from modiste.data.batch import read_floats
from modiste.data.dataset import Development, require_in_memory
from modiste.errors import RecipeError
from modiste.models.hooks import Call, hooked
from modiste.recipes.recipe import Recipe
from modiste.training.warm_start import contrastive_divergence, simclr
from modiste.training.warm_start.progress import Progress, biased_head

PATCH_IMAGES = 1_000
"""Minimum number of images that patches come from, evenly spaced; all images if there are fewer."""
PATCH_PIXELS = 2 * PATCH_IMAGES * 28 * 28
"""Most pixels of these images together, which bounds the memory for patches. Images above 28 x 28 may then be fewer."""
SMALLEST_VARIANCE = 0.01
"""Added to the variance of each direction, so that directions of almost no variance are not amplified into noise."""


def nothing(_model: nn.Module, _development: Development, _recipe: Recipe, _progress: Progress) -> None:
    """Leave the network as initialised."""


@torch.no_grad()
def class_prior(model: nn.Module, development: Development, _recipe: Recipe, _progress: Progress) -> None:
    """Set the last layer's bias to the logarithm of each class's share of the images.

    Training then starts from the frequencies of the classes (after Lin et al., 2017, section 4.1). That matters if the
    classes are unbalanced. A class without images counts as if it had one.
    """
    head = biased_head(model, "warm_start: class-prior")
    counts = torch.bincount(development.train.labels, minlength=head.out_features).clamp(min=1)
    head.bias.copy_((counts / counts.sum()).log())


def whitened_patches(model: nn.Module, development: Development, _recipe: Recipe, _progress: Progress) -> None:
    """Set the first convolution's filters from patches of the images; labels are not used."""
    whiten(model, development.unlabelled)


@torch.no_grad()
def whiten(model: nn.Module, images: UInt8[Tensor, "n c h w"]) -> None:
    """Set the filters of the first convolution of ``model`` from patches of its inputs for these images.

    They become the principal directions of the patches, each divided by the standard deviation along it (Coates, Lee
    and Ng, 2011; in a network: Page, 2018). Each also occurs with the opposite sign, because a ReLU cuts off one half.
    The filters are good before the first step: training is shorter, and may leave them frozen (Jordan, "94 % on
    CIFAR-10 in 3.29 seconds on a single GPU", 2024).

    A patch of d numbers gives at most 2 d filters. Further filters are not changed.

    Raises:
        RecipeError: The network has no convolution, or its first is grouped, has a single filter or is not used.
    """
    convolution = next((layer for layer in model.modules() if isinstance(layer, nn.Conv2d)), None)
    if convolution is None or convolution.groups != 1:
        raise RecipeError("warm_start: whitening needs a network whose first convolution sees all channels")
    if convolution.out_channels == 1:
        raise RecipeError("warm_start: whitening needs a first convolution with at least 2 filters, found 1")
    directions = principal_directions(patches(model, convolution, read_floats(sample(images))))
    count = min(len(directions), convolution.out_channels // 2)
    filters = directions[:count].view(count, *convolution.weight.shape[1:])
    convolution.weight[: 2 * count] = torch.cat([filters, -filters])


def sample(images: UInt8[Tensor, "n c h w"]) -> UInt8[Tensor, "m c h w"]:
    """Return evenly spaced images for patches: PATCH_IMAGES or more if there are so many, but within PATCH_PIXELS."""
    most = max(1, PATCH_PIXELS // images.shape[2:].numel())
    return images[:: max(1, len(images) // PATCH_IMAGES, -(-len(images) // most))]


def patches(model: nn.Module, convolution: nn.Conv2d, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "m d"]:
    """Return all input patches of ``convolution`` for these images, with its padding.

    Raises:
        RecipeError: The images do not reach the convolution.
    """
    was_training, inputs = model.training, []

    def leave(call: Call) -> NoReturn:
        inputs.append(call.input)
        raise _ReachedError

    try:
        with contextlib.suppress(_ReachedError), hooked([convolution], leave, where="input"):
            model.eval()(images)
    finally:
        model.train(was_training)
    if not inputs:
        raise RecipeError("warm_start: whitening needs a network that uses its first convolution")
    mode = "constant" if convolution.padding_mode == "zeros" else convolution.padding_mode
    padded = F.pad(inputs[0], padding_of(convolution), mode=mode)
    options = {name: getattr(convolution, name) for name in ("kernel_size", "dilation", "stride")}
    return F.unfold(padded, **options).transpose(1, 2).flatten(0, 1)


def padding_of(convolution: nn.Conv2d) -> list[int]:
    """Return the number of pixels that a convolution adds left, right, above and below, as ``F.pad`` takes them."""
    sides = []
    for axis in (1, 0):
        if convolution.padding == "same":
            both = convolution.dilation[axis] * (convolution.kernel_size[axis] - 1)
            sides += [both // 2, both - both // 2]
        else:
            sides += 2 * [0 if convolution.padding == "valid" else int(convolution.padding[axis])]
    return sides


class _ReachedError(Exception):
    """Leaves the network where its convolution begins: nobody needs what follows."""


def principal_directions(patches: Float[Tensor, "m d"]) -> Float[Tensor, "d d"]:
    """Return the principal directions as rows, largest variance first, each divided by its standard deviation."""
    variances, vectors = torch.linalg.eigh(torch.cov(patches.T))
    directions: Tensor = vectors / (variances + SMALLEST_VARIANCE).sqrt()
    return directions.T.flip(0)


def unsupervised_stack(model: nn.Module, development: Development, recipe: Recipe, progress: Progress) -> None:
    """Train a deep belief network's stack by contrastive divergence; labels are not used."""
    require_in_memory(development.unlabelled, "warm_start contrastive-divergence")
    contrastive_divergence.pretrain(model, development.unlabelled, recipe, progress)


def self_supervised(model: nn.Module, development: Development, recipe: Recipe, progress: Progress) -> None:
    """Train everything before the last layer by SimCLR; labels are not used."""
    simclr.pretrain(model, development.unlabelled, recipe, progress)


WARM_STARTS: dict[str, Callable[[nn.Module, Development, Recipe, Progress], None]] = {
    "none": nothing,
    "class-prior": class_prior,
    "whitening": whitened_patches,
    "contrastive-divergence": unsupervised_stack,
    "simclr": self_supervised,
}
