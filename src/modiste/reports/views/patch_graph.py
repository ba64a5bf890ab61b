"""The edges of a patch graph: the nearest neighbours of two nodes, in the first and in the last block."""

import torch
from jaxtyping import Float, Int64
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from modiste.models.patch_graph import GraphBlock, PatchGraph, nearest_neighbours
from modiste.reports.image_rows import PALE, Box, Row, place_rows
from modiste.reports.style import BLUE, RULE, VERMILLION, WIDTH, drawn
from modiste.reports.views.scene import Scene

IMAGES = 6


@drawn
def edges(scene: Scene) -> Figure:
    """Return a figure of images with the grid of nodes and the edges of two: the middle one, one near a corner."""
    images, labels = scene.examples(IMAGES)
    graph = block_edges(scene, images)
    shown = {f"block {number}": graph[number - 1] for number in (1, len(graph))}
    rows = [Row("image", images), *(Row(name, images * PALE) for name in shown)]
    figure, axes, boxes = place_rows(rows, heads=scene.names(labels), width=1.2 * WIDTH, label_width=0.7)
    grid = grid_of(images)
    middle, corner = (grid[0] // 2) * grid[1] + grid[1] // 2, (grid[0] // 4) * grid[1] + grid[1] // 4
    for found, places in zip(shown.values(), boxes[1:], strict=True):
        for around, box in zip(found, places, strict=True):
            _draw_grid(axes, grid, box)
            for node, colour in ((middle, BLUE), (corner, VERMILLION)):
                draw_edges(axes, node, around[node], grid, box, colour)
    return figure


@torch.no_grad()
def block_edges(scene: Scene, images: Float[Tensor, "n c h w"]) -> list[Int64[Tensor, "n k m"]]:
    """Return for each block and node the neighbours of the node, which include itself."""
    network = scene.network_as(PatchGraph)
    x = network.stem(scene.standardize(images)).flatten(2).transpose(1, 2) + network.position
    found = []
    for block in network.blocks:
        assert isinstance(block, GraphBlock)
        found.append(nearest_neighbours(block.before(x), block.neighbours))
        x = block(x)
    return found


def grid_of(images: Float[Tensor, "n c h w"]) -> tuple[int, int]:
    """Return the numbers of rows and columns of nodes for images of this size."""
    height, width = images.shape[2:]
    return height // 4, width // 4


def draw_edges(
    axes: Axes, node: int, around: Int64[Tensor, " m"], grid: tuple[int, int], box: Box, colour: str
) -> None:
    """Shade a node's neighbours and draw a line to each."""
    left, right, bottom, top = box
    wide, high = (right - left) / grid[1], (top - bottom) / grid[0]
    here = _centre(node, grid, box)
    for other in around.tolist():
        x, y = _centre(other, grid, box)
        axes.add_patch(Rectangle((x - wide / 2, y - high / 2), wide, high, facecolor=colour, alpha=0.25, linewidth=0))
        axes.plot([here[0], x], [here[1], y], color=colour, linewidth=0.9)
    axes.plot(*here, "o", color=colour, markersize=4)


def _centre(node: int, grid: tuple[int, int], box: Box) -> tuple[float, float]:
    left, right, bottom, top = box
    row, column = divmod(node, grid[1])
    return left + (column + 0.5) / grid[1] * (right - left), top - (row + 0.5) / grid[0] * (top - bottom)


def _draw_grid(axes: Axes, grid: tuple[int, int], box: Box) -> None:
    left, right, bottom, top = box
    for row in range(1, grid[0]):
        axes.plot([left, right], [top - row / grid[0] * (top - bottom)] * 2, color=RULE, linewidth=0.4)
    for column in range(1, grid[1]):
        axes.plot([left + column / grid[1] * (right - left)] * 2, [bottom, top], color=RULE, linewidth=0.4)
