"""What a graph over superpixels gets of an image, and the attention between its regions."""

import torch
from jaxtyping import Float, Int64
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from torch import Tensor

from modiste.models.superpixel_graph import AttentionBlock, SuperpixelGraph
from modiste.reports.image_rows import PALE, Box, Row, place_rows
from modiste.reports.style import BLUE, FAINT, VERMILLION, WIDTH, drawn
from modiste.reports.views.scene import Scene

IMAGES = 6
WIDEST, DOT = 5.0, 2.5
"""Points: the width of a line for an attention of 1, and the smallest diameter of a region's dot."""


@drawn
def regions(scene: Scene) -> Figure:
    """Return a figure of images with the borders of their superpixels, and below each the mean of every region."""
    images, labels = scene.examples(IMAGES)
    found = superpixels(scene, images)
    rows = [Row("superpixels", images), Row("mean of\neach region", redrawn(scene, images))]
    figure, axes, boxes = place_rows(rows, heads=scene.names(labels), width=1.2 * WIDTH, label_width=0.85)
    for image, box in zip(found, boxes[0], strict=True):
        draw_borders(axes, image, box, VERMILLION, 0.6)
    return figure


@drawn
def attention(scene: Scene) -> Figure:
    """Return a figure of images with the attention of two of their regions, in the first and in the last block."""
    images, labels = scene.examples(IMAGES)
    network, found = scene.network_as(SuperpixelGraph), superpixels(scene, images)
    known, _ = network.read(scene.standardize(images))
    blocks = block_attention(scene, images)
    shown = {f"block {number}": blocks[number - 1] for number in (1, len(blocks))}
    rows = [Row("image", images), *(Row(name, images * PALE) for name in shown)]
    figure, axes, boxes = place_rows(rows, heads=scene.names(labels), width=1.2 * WIDTH, label_width=0.7)
    places = known[:, :, images.shape[1] : images.shape[1] + 2]
    chosen = choose(known, blocks[0] > 0, images.shape[1])
    for weights, row in zip(shown.values(), boxes[1:], strict=True):
        for index, box in enumerate(row):
            draw_borders(axes, found[index], box, FAINT, 0.3)
            for node, colour in zip(chosen[index].tolist(), (BLUE, VERMILLION), strict=True):
                draw_attention(axes, node, weights[index, node], places[index], box, colour)
    return figure


def superpixels(scene: Scene, images: Float[Tensor, "n c h w"]) -> Int64[Tensor, "n h w"]:
    """Return the region of every pixel, as the network computes it."""
    found: Tensor = scene.network_as(SuperpixelGraph).superpixels(scene.standardize(images))
    return found


def redrawn(scene: Scene, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """Return images in which every pixel has the mean intensity of its region, which the network gets."""
    pixels, channels = scene.standardize(images), images.shape[1]
    known, _ = scene.network_as(SuperpixelGraph).read(pixels)
    index = superpixels(scene, images).flatten(1).unsqueeze(2).expand(-1, -1, channels)
    means = known[:, :, :channels].gather(1, index).transpose(1, 2).reshape(images.shape)
    return (means * scene.standardize.deviation + scene.standardize.mean).clamp(0, 1)


@torch.no_grad()
def block_attention(scene: Scene, images: Float[Tensor, "n c h w"]) -> list[Float[Tensor, "n k k"]]:
    """Return for each block the attention of every region to each, averaged over heads."""
    network = scene.network_as(SuperpixelGraph)
    known, graph = network.read(scene.standardize(images))
    x, found = network.embed(known), []
    for block in network.blocks:
        assert isinstance(block, AttentionBlock)
        found.append(block.attention.weights(block.before(x), graph).mean(1))
        x = block(x, graph)
    return found


def choose(known: Float[Tensor, "n k d"], joined: Tensor, channels: int) -> Int64[Tensor, "n 2"]:
    """Return two regions of each image: the largest, and the one that differs most in intensity from its neighbours."""
    intensity = known[:, :, :channels].mean(2)
    apart = (intensity.unsqueeze(2) - intensity.unsqueeze(1)).abs() * joined
    difference = apart.sum(2) / joined.sum(2)
    return torch.stack([known[:, :, -1].argmax(1), difference.argmax(1)], dim=1)


def borders(regions: Int64[Tensor, "h w"]) -> Float[Tensor, "m 2 2"]:
    """Return the edges between pixels of different regions as (x, y) to (x, y), in pixels from the upper left."""
    row, column = (regions[:, 1:] != regions[:, :-1]).nonzero().float().unbind(1)
    upright = torch.stack([column + 1, row, column + 1, row + 1], dim=1)
    row, column = (regions[1:] != regions[:-1]).nonzero().float().unbind(1)
    flat = torch.stack([column, row + 1, column + 1, row + 1], dim=1)
    return torch.cat([upright, flat]).view(-1, 2, 2)


def draw_borders(axes: Axes, regions: Int64[Tensor, "h w"], box: Box, colour: str, width: float) -> None:
    """Draw the borders of regions on the picture in ``box``."""
    height, wide = regions.shape
    left, right, bottom, top = box
    scale = torch.tensor([(right - left) / wide, -(top - bottom) / height])
    segments = borders(regions) * scale + torch.tensor([left, top])
    axes.add_collection(LineCollection(list(segments.numpy()), colors=colour, linewidths=width, capstyle="round"))


def draw_attention(
    axes: Axes, node: int, weights: Float[Tensor, " k"], places: Float[Tensor, "k 2"], box: Box, colour: str
) -> None:
    """Draw a region's dot and a line to each region that it attends to; ``places`` are (row, column) in [-1, 1]."""
    left, right, bottom, top = box
    x = (left + (places[:, 1] + 1) / 2 * (right - left)).tolist()
    y = (top - (places[:, 0] + 1) / 2 * (top - bottom)).tolist()
    for other in weights.nonzero().flatten().tolist():
        if other != node:
            wide = WIDEST * float(weights[other])
            axes.plot([x[node], x[other]], [y[node], y[other]], color=colour, linewidth=wide, solid_capstyle="butt")
    axes.plot(x[node], y[node], "o", color=colour, markersize=DOT + WIDEST * float(weights[node]))
