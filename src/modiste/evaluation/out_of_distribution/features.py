"""What a network makes of images on its way to the logits, whatever network it is."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from modiste.data.batch import as_floats
from modiste.evaluation.inference import parts

LOGITS = "logits"
"""The place that every network has."""


@torch.inference_mode()
def features(model: nn.Module, images: UInt8[Tensor, "n c h w"]) -> dict[str, Float[Tensor, "n _"]]:
    """Return what ``watched`` sees of each image, on the processor."""
    model.eval()
    device, found = next(model.parameters()).device, list[dict[str, Tensor]]()
    for part in parts(images, device):
        with watched(model) as seen:
            model(as_floats(part.to(device)))
        found.append({place: one.float().cpu() for place, one in seen.items()})
    return {place: torch.cat([one[place] for one in found]) for place in found[0]}


@contextmanager
def watched(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Note what the next call of the model computes: logits, what enters its last dense layer, means of its last maps.

    The first call counts, not that of the mirror images after it.
    """
    seen: dict[str, Tensor] = {}
    noting = True
    dense = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    leaves = [layer for layer in model.modules() if not list(layer.children())]

    def note_input(_layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if noting:
            seen["dense"] = inputs[0].flatten(1)

    def note_maps(_layer: nn.Module, _inputs: object, output: object) -> None:
        if noting and isinstance(output, Tensor) and output.dim() == 4:
            seen["maps"] = output

    def note_logits(_model: nn.Module, _inputs: object, output: Tensor) -> None:
        nonlocal noting
        if noting:
            seen[LOGITS] = output
            if (maps := seen.get("maps")) is not None:
                seen["maps"] = (maps.to_dense() if maps.is_mkldnn else maps).mean((2, 3))
        noting = False

    hooks = [leaf.register_forward_hook(note_maps) for leaf in leaves]
    hooks += [dense[-1].register_forward_pre_hook(note_input)] if dense else []
    hooks.append(model.register_forward_hook(note_logits))
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
