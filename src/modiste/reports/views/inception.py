"""The branches of Inception modules: their activations, and the predictions that change without them."""

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from modiste.models.inception import Inception, InceptionModule
from modiste.reports.image_rows import COLOURS, Row, image_rows
from modiste.reports.style import ON_DARK, ON_LIGHT, SMALL, WIDTH, drawn, percent
from modiste.reports.views.scene import Scene, heat

BRANCHES = ("1 × 1", "3 × 3", "5 × 5", "pooled")
IMAGES, SAMPLE = 8, 200


@torch.no_grad()
def branches(scene: Scene) -> Figure:
    """Return a figure of images, and the mean activation of each branch of the first and the last module."""
    images, labels = scene.examples(IMAGES)
    seen = list(branch_outputs(scene.network_as(Inception), scene.standardize(images)).values())
    rows = [Row("image", images)]
    for number in (1, len(seen)):
        for kind, maps in zip(BRANCHES, seen[number - 1], strict=True):
            rows.append(Row(f"module {number},\n{kind}", heat(maps.mean(1)), scale="heat"))
    return image_rows(rows, heads=scene.names(labels))


@drawn
def silenced(scene: Scene) -> Figure:
    """Return a figure of the share of predictions that change if a branch is zeroed, by module and branch."""
    images, _ = scene.sample(SAMPLE)
    shares = changed_predictions(scene.network_as(Inception), scene.standardize(images))
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
def changed_predictions(network: Inception, pixels: Float[Tensor, "n c h w"]) -> Float[Tensor, "modules branches"]:
    """Return, by module and branch, the share of images whose predicted class changes if the branch is zeroed."""
    usual = network(pixels).argmax(1)
    rows = []
    for index, outputs in branch_outputs(network, pixels).items():
        predictions = []
        for branch, output in enumerate(outputs):
            zeroed = [*outputs[:branch], torch.zeros_like(output), *outputs[branch + 1 :]]
            predictions.append(_finish(network, torch.cat(zeroed, dim=1), index + 1).argmax(1))
        rows.append(torch.stack([(predicted != usual).float().mean() for predicted in predictions]))
    return torch.stack(rows)


@torch.no_grad()
def branch_outputs(network: Inception, pixels: Float[Tensor, "n c h w"]) -> dict[int, list[Tensor]]:
    """Return the output of each branch of each module, by the index of the module's layer."""
    x, found = pixels, {}
    for index, layer in enumerate(network.features):
        if isinstance(layer, InceptionModule):
            found[index] = [branch(x) for branch in layer.branches]
            x = torch.cat(found[index], dim=1)
        else:
            x = layer(x)
    return found


def _finish(network: Inception, maps: Float[Tensor, "n c h w"], first: int) -> Float[Tensor, "n classes"]:
    """Return the logits for maps that enter layer ``first``."""
    pooled = network.features[first:](maps).mean((2, 3))
    logits: Tensor = network.head(pooled)
    return logits
