"""A network that is not Modiste's, made fit for it: built from the recipe's seed, and checked before the first step."""

import copy
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from modiste import machine
from modiste.models.layers import Standardize
from modiste.recipes import own_code, plain
from modiste.recipes.networks import OwnNetworkRecipe

PROBE_IMAGES = 2
"""Images that a new network is tried on; batch normalisation needs more than one."""
ROUNDING = 1e-4
"""Largest distance of a sum of probabilities from 1."""
_demand = partial(plain.demand, quoted=False)
"""Names what a network did in our own words."""


class ContiguousStandardize(Standardize):
    """Standardisation whose result has torch's usual memory layout, in which ``view`` works."""

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        # Of one channel, ``contiguous`` keeps the strides, from which torch takes the layout of what follows.
        return super().forward(images).clone(memory_format=torch.contiguous_format)


def is_own(model: nn.Module) -> bool:
    """Return whether a whole model, with its standardisation, holds a network that is not Modiste's."""
    return isinstance(getattr(model, "standardize", None), ContiguousStandardize)


def build_own(recipe: OwnNetworkRecipe, image_shape: tuple[int, int, int], classes: int, seed: int = 0) -> nn.Module:
    """Return the network that the recipe names.

    A class or function is called, with ``image_shape`` and ``classes`` if it takes arguments of these names. Its random
    weights follow from the seed. A network that has been built is copied with its weights.

    Args:
        recipe: Names the network.
        image_shape: (channels, height, width).
        classes: Number of logits.
        seed: Seed of torch's random numbers while the network is built.

    Raises:
        RunError: The network is not registered in this process.
        RecipeError: The code fails, or does not return a network.
    """
    code = own_code.find(recipe.code, "network")
    name = own_code.path_in(recipe.code)
    fails = f"cannot be built for images of shape {image_shape}"
    with torch.random.fork_rng(devices=[]), own_code.faults_named(name, fails):
        torch.manual_seed(machine.seed_for(seed, "initialization"))
        network = copy.deepcopy(code) if isinstance(code, nn.Module) else _call(code, image_shape, classes)
        _demand(isinstance(network, nn.Module), name, "a torch.nn.Module", type(network).__name__)
        if any(is_lazy(tensor) for tensor in [*network.parameters(), *network.buffers()]):
            network.eval()(torch.zeros(1, *image_shape))
    return network.train()


def check_own(model: nn.Module, name: str, image_shape: tuple[int, int, int], classes: int) -> list[str]:
    """Try a new model on a batch of two noise images, in evaluation and in training; the model does not change.

    Returns:
        A warning for each thing that is allowed but may surprise.

    Raises:
        RecipeError: The network fails, has nothing to train or returns something else than finite logits.
    """
    weights = list(model.parameters())
    _demand(any(weight.requires_grad for weight in weights), name, "parameters to train", "none")
    kinds = sorted({str(weight.dtype) for weight in weights} - {"torch.float32"})
    _demand(not kinds, name, "parameters of type torch.float32", ", ".join(kinds))
    with own_code.faults_named(name, "cannot be copied"):
        probe = copy.deepcopy(model)
    device = weights[0].device
    for mode in ("evaluation", "training"):
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            images = torch.rand(PROBE_IMAGES, *image_shape).to(device)
            with own_code.faults_named(name, f"fails in {mode} on a batch of shape {tuple(images.shape)}"):
                logits = probe.train(mode == "training")(images)
        _check_logits(logits, name, classes)
    return _warnings(logits, name)


def _call(code: Any, image_shape: tuple[int, int, int], classes: int) -> Any:
    return code(**own_code.accepted_arguments(code, {"image_shape": image_shape, "classes": classes}))


def _check_logits(logits: Any, name: str, classes: int) -> None:
    _demand(isinstance(logits, Tensor), name, "one tensor of logits", type(logits).__name__)
    expected = f"logits of shape (N, {classes}), here {(PROBE_IMAGES, classes)}"
    _demand(tuple(logits.shape) == (PROBE_IMAGES, classes), name, expected, tuple(logits.shape))
    _demand(logits.is_floating_point(), name, "logits as floats", logits.dtype)
    _demand(bool(logits.isfinite().all()), name, "finite logits of an untrained network", "infinity or NaN")
    _demand(logits.requires_grad, name, "logits with a gradient", "none; look for detach() or no_grad()")


def _warnings(logits: Float[Tensor, "n classes"], name: str) -> list[str]:
    sums_to_one = bool(((logits.sum(1) - 1).abs() < ROUNDING).all())
    if logits.min() >= 0 and sums_to_one:
        return [f"{name}: its outputs look like probabilities; leave out the softmax, because the loss expects logits"]
    return []
