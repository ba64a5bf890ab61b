"""Features of images inside a network, whatever network it is: its logits, and what leads to them."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from modiste import machine
from modiste.data.batch import read_floats
from modiste.evaluation.inference import parts, ready
from modiste.models.hooks import Call, hooked
from modiste.recipes.recipe import Precision, Recipe

LOGITS = "logits"
"""The place that every network has."""
DENSE, MAPS = "dense", "maps"


@torch.inference_mode()
def features(
    model: nn.Module, images: UInt8[Tensor, "n c h w"], precision: Precision = "float32"
) -> dict[str, Float[Tensor, "n _"]]:
    """Return the features of each image that ``watched`` collects, float32 on the processor.

    Args:
        model: Any network.
        images: As bytes.
        precision: Precision of the computation.
    """
    device, found = next(model.parameters()).device, list[dict[str, Tensor]]()
    quick = ready(model, Recipe(name="features", precision=precision), images[:1].to(device))
    for part in parts(images, device, precision):
        with watched(quick) as seen, machine.autocast(precision, device):
            quick(read_floats(part.to(device)))
        found.append({place: one.float().cpu() for place, one in seen.items()})
    return {place: torch.cat([one[place] for one in found]) for place in found[0]}


@contextmanager
def watched(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Collect features from the next call of the model: logits, its last dense layer's input, means of its last maps.

    Only the first call inside the ``with`` block counts, not that of the mirror images after it.
    """
    seen: dict[str, Tensor] = {}
    dense = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    leaves = [layer for layer in model.modules() if not list(layer.children())]

    def note_maps(call: Call) -> None:
        if LOGITS not in seen and isinstance(call.output, Tensor) and call.output.dim() == 4:
            seen[MAPS] = call.output

    def note_dense(call: Call) -> None:
        if LOGITS not in seen:
            seen[DENSE] = call.input.flatten(1)

    def note_logits(call: Call) -> None:
        if LOGITS in seen:
            return
        seen[LOGITS] = call.output
        if (maps := seen.get(MAPS)) is not None:
            seen[MAPS] = (maps.to_dense() if maps.is_mkldnn else maps).mean((2, 3))

    with hooked(leaves, note_maps), hooked(dense[-1:], note_dense, where="input"), hooked([model], note_logits):
        yield seen
