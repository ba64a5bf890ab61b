"""What a network consists of, found by sending one image through it: the stages, their outputs and parameters."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from modiste.models.capsnet import CLASS_DIMENSIONS, CapsNet
from modiste.models.dropconnect import DropConnect
from modiste.models.fashionnet import Keypoints
from modiste.models.inception import InceptionModule
from modiste.models.layers import ACTIVATIONS, BatchNorm1d, BatchNorm2d, ConvolutionStage, Dropout, MaxPool, Standardize
from modiste.models.patch_graph import GraphBlock, NodeNorm, PatchGraph
from modiste.models.resnet import Block
from modiste.models.sprint import ResidualBlock
from modiste.models.superpixel_graph import AttentionBlock, Superpixels
from modiste.report.style import number_of, percent


@dataclass(frozen=True)
class Stage:
    """One step of a network.

    Attributes:
        name: what it is.
        detail: its size, such as the kernel.
        notes: what follows it without changing the output's shape, such as the activation.
        shape: of its output for one image: (channels, height, width) or (units,).
        parameters: trainable numbers in it and in what its notes name.
    """

    name: str
    detail: str
    notes: tuple[str, ...]
    shape: tuple[int, ...]
    parameters: int


@dataclass(frozen=True)
class _Call:
    """One layer's work: ``beside`` when its input is not what the call before gave but something earlier."""

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
    GraphBlock: lambda layer: ("Graph block", f"{layer.neighbours:,} neighbours of each node"),
    Superpixels: lambda layer: ("Superpixels", f"a grid of {_by(layer.grid)}"),
    AttentionBlock: lambda layer: ("Graph block", f"{number_of(len(layer.attention.weight), 'head')} of attention"),
}
"""What is shown as one step, whatever it is made of."""
OWN: dict[type[nn.Module], tuple[str, Callable[[Any], tuple[str, str, tuple[int, ...]]]]] = {
    CapsNet: ("primary", lambda net: ("Class capsules", _routing(net), (net.votes.shape[1], CLASS_DIMENSIONS))),
    PatchGraph: ("stem", lambda net: ("Positions", "added to the nodes", tuple(net.position.shape))),
}
"""Parameters that a whole network holds itself: the part after which they act, and their stage with its shape."""
NOTES: dict[type[nn.Module], Callable[[Any], str]] = {
    **{kind: lambda layer: _ACTIVATION_NAMES[type(layer)] for kind in ACTIVATIONS.values()},
    BatchNorm1d: lambda layer: "batch normalisation",
    BatchNorm2d: lambda layer: "batch normalisation",
    NodeNorm: lambda layer: "batch normalisation",
    nn.LayerNorm: lambda layer: "layer normalisation",
    nn.GELU: lambda layer: "gelu",
    Dropout: lambda layer: f"dropout {percent(layer.rate, 0)}" if layer.rate else "",
    Standardize: lambda layer: "" if _changes_nothing(layer) else "standardised",
}


def trace(model: nn.Module, image_shape: tuple[int, int, int]) -> list[Stage]:
    """Return the stages of ``model`` in the order in which an image passes them; their parameters sum to its own.

    What learns without lying on the way to an answer, such as a decoder, is the last stage.
    """
    channels, height, width = image_shape
    stages = [Stage("Image", f"{height} × {width} pixels, {number_of(channels, 'channel')}", (), image_shape, 0)]
    calls, beside = _calls(model, image_shape)
    for call in calls:
        kind = type(call.layer)
        if kind is nn.ZeroPad2d:
            continue  # part of the convolution that it goes before, whose output is as large as its input
        if kind in NOTES:
            stages[-1] = _attach(stages[-1], call, NOTES[kind](call.layer))
            continue
        if len(call.input_shape) < len(stages[-1].shape) and prod(call.input_shape) == prod(stages[-1].shape):
            stages.append(Stage("Flatten", "all numbers in a row", (), call.input_shape, 0))
        name, detail, shape = _describe(call)
        detail += "; beside the stage above" * call.beside
        stages.append(Stage(name, detail, (), shape, call.parameters))
    stages[-1] = replace(stages[-1], notes=(*stages[-1].notes, "softmax"))
    if beside:
        stages.append(Stage("Beside the answer", "used in training alone", (), stages[-1].shape, beside))
    return stages


def _calls(model: nn.Module, image_shape: tuple[int, int, int]) -> tuple[list[_Call], int]:
    """Send one black image through the model and note every layer that is the lowest or holds parameters itself.

    Return with them the number of trainable numbers that it did not meet.
    """
    calls: list[_Call] = []
    counted: set[int] = set()
    outputs: list[Tensor] = []

    def note(layer: nn.Module, taken: Tensor, given: Tensor) -> None:
        within = layer.parameters(recurse=type(layer) in STAGES)
        own = [item for item in within if item.requires_grad and id(item) not in counted]
        counted.update(map(id, own))
        parameters = sum(item.numel() for item in own)
        beside = bool(outputs) and taken is not outputs[-1] and any(taken is earlier for earlier in outputs)
        calls.append(_Call(layer, tuple(taken.shape[1:]), tuple(given.shape[1:]), parameters, beside))
        outputs.append(given)

    hooks = [_after(layer).register_forward_hook(_noting(layer, note)) for layer in _steps(model)]
    training = model.training
    try:
        parameter = next(model.parameters())
        with torch.inference_mode():
            model.eval()(torch.zeros(1, *image_shape, device=parameter.device, dtype=parameter.dtype))
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    beside = sum(item.numel() for item in model.parameters() if item.requires_grad and id(item) not in counted)
    return calls, beside


def _steps(model: nn.Module) -> list[nn.Module]:
    """Return what is noted: the lowest layers, what holds parameters itself, and what the table shows as one step."""
    shown = [layer for layer in model.modules() if type(layer) in STAGES]
    hidden = {id(part) for layer in shown for part in layer.modules() if part is not layer}
    # An empty Sequential has no children and no parameters, and passes its input on: not a layer.
    found = [
        layer
        for layer in model.modules()
        if id(layer) not in hidden
        and type(layer) is not nn.Sequential
        and (type(layer) in STAGES or not list(layer.children()) or list(layer.parameters(recurse=False)))
    ]
    return sorted(found, key=lambda layer: type(layer) in OWN)  # their hooks come after those of the part they follow


def _after(layer: nn.Module) -> nn.Module:
    """Return the part after whose work a step is noted."""
    return getattr(layer, OWN[type(layer)][0]) if type(layer) in OWN else layer


def _noting(layer: nn.Module, note: Callable[[nn.Module, Tensor, Tensor], None]) -> Callable[..., None]:
    return lambda _part, inputs, output: note(layer, output if type(layer) in OWN else inputs[0], output)


def _describe(call: _Call) -> tuple[str, str, tuple[int, ...]]:
    kind = type(call.layer)
    if kind in OWN:
        return OWN[kind][1](call.layer)
    name, detail = STAGES[kind](call.layer) if kind in STAGES else (kind.__name__, "")
    return name, detail, call.output_shape


def _branches(module: InceptionModule) -> str:
    last = [[part for part in branch.modules() if isinstance(part, nn.Conv2d)][-1] for branch in module.branches]
    return " + ".join(str(layer.out_channels) for layer in last)


def _routing(network: CapsNet) -> str:
    rounds = f"{number_of(network.iterations, 'round')} of routing"
    return f"{rounds if network.prior is None else 'routing by attention'}; lengths are the logits"


def _attach(stage: Stage, call: _Call, note: str) -> Stage:
    notes = (*stage.notes, note) if note else stage.notes
    return replace(stage, notes=notes, parameters=stage.parameters + call.parameters)


def _by(size: int | tuple[int, ...]) -> str:
    height, width = (size, size) if isinstance(size, int) else size
    return f"{height} × {width}"


def _changes_nothing(layer: Standardize) -> bool:
    return layer.mean.item() == 0 and layer.deviation.item() == 1
