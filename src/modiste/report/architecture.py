"""What a network consists of, found by sending one image through it: the stages, their outputs and parameters."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from modiste.models.dropconnect import DropConnect
from modiste.models.layers import ACTIVATIONS, Dropout, Standardize
from modiste.models.patch_graph import NodeNorm
from modiste.models.superpixel_graph import GraphAttention, Superpixels
from modiste.report.wording import number_of, percent


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
    layer: nn.Module
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    parameters: int


_ACTIVATION_NAMES: dict[type[nn.Module], str] = {kind: name for name, kind in ACTIVATIONS.items()}
STAGES: dict[type[nn.Module], Callable[[Any], tuple[str, str]]] = {
    nn.Conv2d: lambda layer: (f"Convolution {_by(layer.kernel_size)}", f"{layer.out_channels:,} filters"),
    nn.MaxPool2d: lambda layer: ("Max-pooling", f"largest of {_by(layer.kernel_size)}"),
    nn.Linear: lambda layer: ("Dense", f"{layer.out_features:,} units"),
    DropConnect: lambda layer: ("DropConnect", f"{layer.linear.out_features:,} units"),
    Superpixels: lambda layer: ("Superpixels", f"a grid of {_by(layer.grid)}"),
    GraphAttention: lambda layer: ("Graph attention", number_of(len(layer.weight), "head")),
}
NOTES: dict[type[nn.Module], Callable[[Any], str]] = {
    **{kind: lambda layer: _ACTIVATION_NAMES[type(layer)] for kind in ACTIVATIONS.values()},
    nn.BatchNorm1d: lambda layer: "batch normalisation",
    nn.BatchNorm2d: lambda layer: "batch normalisation",
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
        name, detail = STAGES[kind](call.layer) if kind in STAGES else (kind.__name__, "")
        stages.append(Stage(name, detail, (), call.output_shape, call.parameters))
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

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        within = layer.parameters(recurse=type(layer) in STAGES)
        own = [item for item in within if item.requires_grad and id(item) not in counted]
        counted.update(map(id, own))
        parameters = sum(item.numel() for item in own)
        calls.append(_Call(layer, tuple(inputs[0].shape[1:]), tuple(output.shape[1:]), parameters))

    lowest = [layer for layer in model.modules() if _is_step(layer)]
    # An empty Sequential has no children and no parameters, and passes its input on: not a layer.
    hooks = [layer.register_forward_hook(note) for layer in lowest if not isinstance(layer, nn.Sequential)]
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


def _is_step(layer: nn.Module) -> bool:
    return not list(layer.children()) or bool(list(layer.parameters(recurse=False))) or type(layer) in STAGES


def _attach(stage: Stage, call: _Call, note: str) -> Stage:
    notes = (*stage.notes, note) if note else stage.notes
    return replace(stage, notes=notes, parameters=stage.parameters + call.parameters)


def _by(size: int | tuple[int, ...]) -> str:
    height, width = (size, size) if isinstance(size, int) else size
    return f"{height} × {width}"


def _changes_nothing(layer: Standardize) -> bool:
    return layer.mean.item() == 0 and layer.deviation.item() == 1
