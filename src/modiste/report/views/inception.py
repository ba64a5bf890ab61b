"""What the branches of Inception modules are for: what each answers to, and what is lost without it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor, nn

from modiste.models.inception import Inception, Module
from modiste.report.image_rows import Row, image_rows
from modiste.report.pixels import COLOURS
from modiste.report.style import ON_DARK, ON_LIGHT, SMALL, WIDTH, drawn
from modiste.report.views.scene import Scene
from modiste.report.views.tiles import heat
from modiste.report.wording import percent

BRANCHES = ("1 × 1", "3 × 3", "5 × 5", "pooled")
IMAGES, SAMPLE = 8, 400


@torch.no_grad()
def branches(scene: Scene) -> Figure:
    """Draw images, and the mean activation of each branch of the first and of the last module."""
    images, labels = scene.examples(IMAGES)
    modules = _modules(scene.network)
    seen = branch_outputs(scene, images)
    rows = [Row("image", images)]
    for number in (1, len(modules)):
        for kind, maps in zip(BRANCHES, seen[number - 1], strict=True):
            rows.append(Row(f"module {number},\n{kind}", heat(maps.mean(1)), scale="heat"))
    return image_rows(rows, heads=scene.names(labels))


@drawn
def silenced(scene: Scene) -> Figure:
    """Draw the share of answers that change when a branch gives nothing, by module and branch."""
    images, _ = scene.sample(SAMPLE)
    shares = changed_answers(scene, images)
    figure = Figure(figsize=(WIDTH, 0.42 * len(shares) + 1.0))
    axes = figure.subplots()
    axes.imshow(shares.numpy(), cmap=COLOURS["heat"][0], vmin=0, vmax=max(0.5, float(shares.max())), aspect="auto")
    for row, values in enumerate(shares.tolist()):
        for column, share in enumerate(values):
            colour = ON_DARK if share > 0.6 * max(0.5, float(shares.max())) else ON_LIGHT
            axes.text(column, row, percent(share, 1), ha="center", va="center", fontsize=SMALL, color=colour)
    axes.set_xticks(range(len(BRANCHES)), BRANCHES)
    axes.set_yticks(range(len(shares)), [f"module {number}" for number in range(1, len(shares) + 1)])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return figure


@torch.no_grad()
def changed_answers(scene: Scene, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "modules branches"]:
    """Return, for each module and branch, the share of images whose predicted class changes when it gives zeros."""
    pixels = scene.standardize(images)
    usual = scene.network(pixels).argmax(1)
    rows = []
    for module in _modules(scene.network):
        row = []
        for branch in module.branches:
            with silent(branch):
                row.append((scene.network(pixels).argmax(1) != usual).float().mean())
        rows.append(torch.stack(row))
    return torch.stack(rows)


@contextmanager
def silent(branch: nn.Module) -> Iterator[None]:
    """Let a branch give zeros within the block."""
    hook = branch.register_forward_hook(lambda _layer, _inputs, output: torch.zeros_like(output))
    try:
        yield
    finally:
        hook.remove()


@torch.no_grad()
def branch_outputs(scene: Scene, images: Float[Tensor, "n c h w"]) -> list[list[Tensor]]:
    """Return what each branch of each module gives."""
    assert isinstance(scene.network, Inception)
    x, found = scene.standardize(images), []
    for layer in scene.network.features:
        if isinstance(layer, Module):
            found.append([branch(x) for branch in layer.branches])
        x = layer(x)
    return found


def _modules(network: nn.Module) -> list[Module]:
    return [layer for layer in network.modules() if isinstance(layer, Module)]
