"""The stages of a network, their outputs and parameters, found by sending one image through it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from modiste.models.capsnet import CLASS_DIMENSIONS, CapsNet
from modiste.models.dropconnect import DropConnect
from modiste.models.efficientnet_lite import InvertedResidual, SamePadding
from modiste.models.fashionnet import Keypoints
from modiste.models.hooks import Call, captured
from modiste.models.inception import InceptionModule
from modiste.models.layers import ACTIVATIONS, BatchNorm1d, BatchNorm2d, ConvolutionStage, Dropout, MaxPool, Standardize
from modiste.models.own_network import ContiguousStandardize
from modiste.models.patch_graph import GraphBlock, NodeNorm, PatchGraph
from modiste.models.resnet import Block
from modiste.models.sprint import ResidualBlock
from modiste.models.superpixel_graph import AttentionBlock, Superpixels
from modiste.reports.style import number_of, percent


@dataclass(frozen=True)
class Stage:
    """One step of a network, a row of the table.

    Attributes:
        name: The kind of layer, such as ``Convolution 3 × 3``.
        detail: Its size, such as the number of filters.
        notes: Layers after it that do not change the output's shape, such as the activation.
        shape: Shape of its output for one image: (channels, height, width) or (units,).
        parameters: Number of trainable parameters, those of its notes included.
    """

    name: str
    detail: str
    notes: tuple[str, ...]
    shape: tuple[int, ...]
    parameters: int


@dataclass(frozen=True)
class _Step:
    """One layer's part in the answer; ``beside`` where its input is not the previous output but an earlier one."""

    layer: nn.Module
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    parameters: int
    beside: bool = False


_ACTIVATION_NAMES: dict[type[nn.Module], str] = {kind: name for name, kind in ACTIVATIONS.items()}
STAGES: dict[type[nn.Module], Callable[[Any], tuple[str, str]]] = {
    nn.Conv2d: lambda layer: (
        f"Convolution {_by(layer.kernel_size)}",
        f"{layer.out_channels:,} filters{', each of one channel' * (1 < layer.groups == layer.in_channels)}",
    ),
    MaxPool: lambda layer: ("Max-pooling", f"window {_by(layer.kernel_size)}"),
    nn.Linear: lambda layer: ("Dense", f"{layer.out_features:,} units"),
    DropConnect: lambda layer: ("DropConnect", f"{layer.linear.out_features:,} units"),
    InceptionModule: lambda layer: ("Inception module", f"{_branches(layer)} filters"),
    Block: lambda layer: ("Residual block", f"3 × 3 twice, {layer.first.out_channels:,} filters"),
    ResidualBlock: lambda layer: ("Residual block", f"3 × 3 twice, {layer.residual[0].out_channels:,} filters"),
    ConvolutionStage: lambda layer: ("VGG stage", f"3 × 3 twice, {layer[0].out_channels:,} filters"),
    Keypoints: lambda layer: ("Keypoints", f"a window around each of {layer.score.out_channels:,} positions"),
    InvertedResidual: lambda layer: (
        "Inverted residual",
        f"{_by(layer.filter.convolution.kernel_size)} inside, {layer.narrow.convolution.out_channels:,} filters",
    ),
    GraphBlock: lambda layer: ("Graph block", f"{layer.neighbours:,} neighbours of each node"),
    Superpixels: lambda layer: ("Superpixels", f"a grid of {_by(layer.grid)}"),
    AttentionBlock: lambda layer: ("Graph block", f"{number_of(len(layer.attention.weight), 'head')} of attention"),
}
"""Modules that the table shows as one step, whatever they are made of: their name and their detail."""
OWN: dict[type[nn.Module], tuple[str, Callable[[Any], tuple[str, str, tuple[int, ...]]]]] = {
    CapsNet: ("primary", lambda net: ("Class capsules", _routing(net), (net.votes.shape[1], CLASS_DIMENSIONS))),
    PatchGraph: ("stem", lambda net: ("Positions", "added to the nodes", tuple(net.position.shape))),
}
"""Networks that hold parameters themselves: the part after which these act, and the stage that shows them."""
NOTES: dict[type[nn.Module], Callable[[Any], str]] = {
    **{kind: lambda layer: _ACTIVATION_NAMES[type(layer)] for kind in ACTIVATIONS.values()},
    BatchNorm1d: lambda layer: "batch normalisation",
    BatchNorm2d: lambda layer: "batch normalisation",
    NodeNorm: lambda layer: "batch normalisation",
    nn.LayerNorm: lambda layer: "layer normalisation",
    nn.GELU: lambda layer: "gelu",
    nn.ReLU6: lambda layer: "relu up to 6",
    Dropout: lambda layer: f"dropout {percent(layer.rate, 0)}" if layer.rate else "",
    ContiguousStandardize: lambda layer: "" if _changes_nothing(layer) else "standardised",
    Standardize: lambda layer: "" if _changes_nothing(layer) else "standardised",
}


PADDINGS = (nn.ZeroPad2d, SamePadding)
"""Part of the convolution that follows, and no step of their own."""


def trace(model: nn.Module, image_shape: tuple[int, int, int]) -> list[Stage]:
    """Return the stages of ``model`` in the order in which an image passes them.

    Their parameters sum to those of the model. Parameters that only training uses, such as a decoder's, are the last
    stage.

    Args:
        model: A network with its standardisation, on any device.
        image_shape: (channels, height, width) of the images.
    """
    channels, height, width = image_shape
    stages = [Stage("Image", f"{height} × {width} pixels, {number_of(channels, 'channel')}", (), image_shape, 0)]
    steps, unused = _steps(model, image_shape)
    for step in steps:
        kind = type(step.layer)
        if kind in PADDINGS:
            continue
        if kind in NOTES:
            stages[-1] = _attach(stages[-1], step, NOTES[kind](step.layer))
            continue
        if len(step.input_shape) < len(stages[-1].shape) and prod(step.input_shape) == prod(stages[-1].shape):
            stages.append(Stage("Flatten", "all numbers in a row", (), step.input_shape, 0))
        name, detail, shape = _describe(step)
        detail += "; beside the stage above" * step.beside
        stages.append(Stage(name, detail, (), shape, step.parameters))
    stages[-1] = replace(stages[-1], notes=(*stages[-1].notes, "softmax"))
    if unused:
        stages.append(Stage("Beside the answer", "used in training alone", (), stages[-1].shape, unused))
    return stages


def _steps(model: nn.Module, image_shape: tuple[int, int, int]) -> tuple[list[_Step], int]:
    """Return the steps of one black image through the model, and the number of trainable parameters in none of them."""
    steps: list[_Step] = []
    counted: set[int] = set()
    outputs: list[Tensor] = []
    for layer, taken, given in _calls(model, image_shape):
        within = layer.parameters(recurse=type(layer) in STAGES)
        own = [item for item in within if item.requires_grad and id(item) not in counted]
        counted.update(map(id, own))
        parameters = sum(item.numel() for item in own)
        beside = bool(outputs) and taken is not outputs[-1] and any(taken is earlier for earlier in outputs)
        steps.append(_Step(layer, _of_one(taken), _of_one(given), parameters, beside))
        outputs.append(given)
    unused = sum(item.numel() for item in model.parameters() if item.requires_grad and id(item) not in counted)
    return steps, unused


def _of_one(images: Tensor) -> tuple[int, ...]:
    """Return the shape of one image's part of a batch; a number for each image has the shape (1,)."""
    return tuple(images.shape[1:]) or (1,)


def _calls(model: nn.Module, image_shape: tuple[int, int, int]) -> list[Call]:
    """Return the calls of the layers that make a step, in order, for one black image.

    A network in ``OWN`` follows the part that ``OWN`` names, with that part's output as its input and output.
    """
    layers = _noted(model)
    owners = {getattr(layer, OWN[type(layer)][0]): layer for layer in layers if type(layer) in OWN}
    parts = [layer for layer in layers if type(layer) not in OWN]
    training = model.training
    parameter = next(model.parameters())
    try:
        with captured(dict.fromkeys([*parts, *owners])) as seen, torch.inference_mode():
            model.eval()(torch.zeros(1, *image_shape, device=parameter.device, dtype=parameter.dtype))
    finally:
        model.train(training)
    calls = []
    for call in seen:
        if not (isinstance(call.input, Tensor) and isinstance(call.output, Tensor)):
            continue  # such as recurrent layers, in networks that are not Modiste's
        calls += [call] if call.layer in parts else []
        calls += [Call(owners[call.layer], call.output, call.output)] if call.layer in owners else []
    return calls


def _noted(model: nn.Module) -> list[nn.Module]:
    """Return the layers that make a step: the lowest, those with parameters of their own, and those in ``STAGES``."""
    shown = [layer for layer in model.modules() if type(layer) in STAGES]
    hidden = {id(part) for layer in shown for part in layer.modules() if part is not layer}
    # An empty Sequential has no children and no parameters, and passes its input on: not a layer.
    return [
        layer
        for layer in model.modules()
        if id(layer) not in hidden
        and type(layer) is not nn.Sequential
        and (type(layer) in STAGES or not list(layer.children()) or list(layer.parameters(recurse=False)))
    ]


def _describe(step: _Step) -> tuple[str, str, tuple[int, ...]]:
    kind = type(step.layer)
    if kind in OWN:
        return OWN[kind][1](step.layer)
    name, detail = STAGES[kind](step.layer) if kind in STAGES else (kind.__name__, "")
    return name, detail, step.output_shape


def _branches(module: InceptionModule) -> str:
    last = [[part for part in branch.modules() if isinstance(part, nn.Conv2d)][-1] for branch in module.branches]
    return " + ".join(str(layer.out_channels) for layer in last)


def _routing(network: CapsNet) -> str:
    rounds = f"{number_of(network.iterations, 'round')} of routing"
    return f"{rounds if network.prior is None else 'routing by attention'}; lengths are the logits"


def _attach(stage: Stage, step: _Step, note: str) -> Stage:
    notes = (*stage.notes, note) if note else stage.notes
    return replace(stage, notes=notes, parameters=stage.parameters + step.parameters)


def _by(size: int | tuple[int, ...]) -> str:
    height, width = (size, size) if isinstance(size, int) else size
    return f"{height} × {width}"


def _changes_nothing(layer: Standardize) -> bool:
    return not layer.mean.any() and bool((layer.deviation == 1).all())
