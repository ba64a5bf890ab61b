"""The table of networks, and how a recipe becomes one: images (N, C, H, W) in [0, 1] enter, logits (N, classes) leave.

A model never sees a data set. What it needs to know of one is a ``Task``.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from modiste import machine
from modiste.errors import RecipeError
from modiste.models import layers
from modiste.models.capsnet import CapsNet
from modiste.models.cnn import CNN
from modiste.models.dbn import DBN
from modiste.models.dropconnect import DropConnectNet
from modiste.models.efficientnet_lite import EfficientNetLite
from modiste.models.fashionnet import FashionNet
from modiste.models.inception import Inception
from modiste.models.mlp import MLP
from modiste.models.own_network import ContiguousStandardize, build_own
from modiste.models.patch_graph import PatchGraph
from modiste.models.resnet import ResNet
from modiste.models.sprint import SprintNet
from modiste.models.superpixel_graph import SuperpixelGraph
from modiste.recipes import networks

MODELS: dict[type[networks.ModelRecipe], Callable[..., nn.Module]] = {
    networks.CNNRecipe: CNN,
    networks.MLPRecipe: MLP,
    networks.SprintRecipe: SprintNet,
    networks.InceptionRecipe: Inception,
    networks.ResNetRecipe: ResNet,
    networks.DropConnectRecipe: DropConnectNet,
    networks.CapsNetRecipe: CapsNet,
    networks.FashionNetRecipe: FashionNet,
    networks.PatchGraphRecipe: PatchGraph,
    networks.SuperpixelGraphRecipe: SuperpixelGraph,
    networks.DBNRecipe: DBN,
    networks.EfficientNetLiteRecipe: EfficientNetLite,
}


@dataclass(frozen=True, kw_only=True)
class Task:
    """The images and classes that a network is built for.

    Attributes:
        image_shape: (channels, height, width).
        class_names: One name per logit.
        mean: Subtracted from pixels in [0, 1]; a number, or one for each channel.
        deviation: Divides the difference; above 0; in the form of the mean.
    """

    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    mean: layers.Statistic = 0.0
    deviation: layers.Statistic = 1.0


def build_model(recipe: networks.ModelRecipe, task: Task, *, seed: int = 0) -> nn.Sequential:
    """Return the recipe's network, initialised from ``seed``, after a ``Standardize`` layer.

    Args:
        recipe: The network's options.
        task: The images and classes.
        seed: Seed of the random initial weights.

    Raises:
        RecipeError: The images are too small for the network, or a network that is not Modiste's fails.
        RunError: A network that is not Modiste's is not registered in this process.

    Example:
        >>> from modiste.models.registry import Task, build_model, count_parameters
        >>> from modiste.recipes.networks import CNNRecipe
        >>> count_parameters(build_model(CNNRecipe(), Task(image_shape=(1, 28, 28), class_names=tuple("0123456789"))))
        896906
    """
    if isinstance(recipe, networks.OwnNetworkRecipe):
        return _own(recipe, task, seed)
    model = _uninitialized(recipe, task)
    layers.initialize(model.network, machine.generator(seed, "initialization"))  # type: ignore[arg-type]
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def shapes_of(recipe: networks.ModelRecipe, task: Task) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor of the network that ``build_model`` returns.

    No memory is allocated, unless the network is not Modiste's.

    Raises:
        RecipeError, RunError: As ``build_model``.
    """
    if isinstance(recipe, networks.OwnNetworkRecipe):
        return _shapes(_own(recipe, task))
    with torch.device("meta"):
        return _shapes(_uninitialized(recipe, task))


def count_parameters(model: nn.Module) -> int:
    """Return the number of trainable parameters of ``model``."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def _uninitialized(recipe: networks.ModelRecipe, task: Task) -> nn.Sequential:
    _check_size(recipe, task)
    with torch.random.fork_rng(devices=[]):
        network = MODELS[type(recipe)](recipe, image_shape=task.image_shape, classes=len(task.class_names))
    return nn.Sequential(OrderedDict(standardize=layers.Standardize(task.mean, task.deviation), network=network))


def _own(recipe: networks.OwnNetworkRecipe, task: Task, seed: int = 0) -> nn.Sequential:
    network = build_own(recipe, task.image_shape, len(task.class_names), seed)
    return nn.Sequential(OrderedDict(standardize=ContiguousStandardize(task.mean, task.deviation), network=network))


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def _check_size(recipe: networks.ModelRecipe, task: Task) -> None:
    smallest, needed = min(task.image_shape[1:]), recipe.smallest_side()
    if smallest < needed:
        raise RecipeError(
            f"model: expected images of {needed} pixels a side or more for this {recipe.KIND}, found {smallest}; "
            "choose fewer pooling layers or smaller kernels"
        )
