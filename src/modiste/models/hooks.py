"""Forward hooks: see what layers take in and return while a model runs, whatever network it is."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

from torch import nn
from torch.utils.hooks import RemovableHandle

Where = Literal["input", "output"]


class Call(NamedTuple):
    """One call of a layer.

    Attributes:
        layer: The layer.
        input: Its first argument; None without arguments.
        output: What it returned; None where it was seen before it ran.
    """

    layer: nn.Module
    input: Any
    output: Any


@contextmanager
def hooked(layers: Iterable[nn.Module], note: Callable[[Call], None], *, where: Where = "output") -> Iterator[None]:
    """Call ``note`` at every call of one of the layers inside the ``with`` block.

    Args:
        layers: Parts of a model, each at most once.
        note: Called with the layer's ``Call``.
        where: ``output`` notes a call after the layer has run, ``input`` before it runs.
    """

    def before(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        note(Call(layer, inputs[0] if inputs else None, None))

    def after(layer: nn.Module, inputs: tuple[Any, ...], output: object) -> None:
        note(Call(layer, inputs[0] if inputs else None, output))

    handles: list[RemovableHandle] = []
    try:
        for layer in layers:
            early = where == "input"
            handles.append(layer.register_forward_pre_hook(before) if early else layer.register_forward_hook(after))
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def captured(layers: Iterable[nn.Module], *, where: Where = "output") -> Iterator[list[Call]]:
    """Collect the calls of the layers inside the ``with`` block, in the order in which they happen.

    The list keeps every noted tensor in memory. For many images and layers use ``hooked``.

    Args:
        layers: Parts of a model, each at most once.
        where: ``output`` collects inputs and outputs, ``input`` inputs alone.

    Example:
        >>> import torch
        >>> from modiste.models.hooks import captured
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
        >>> with captured([model[2]], where="input") as seen:
        ...     _ = model(torch.ones(5, 4))
        >>> seen[0].input.shape
        torch.Size([5, 3])
    """
    calls: list[Call] = []
    with hooked(layers, calls.append, where=where):
        yield calls
