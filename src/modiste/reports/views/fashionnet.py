"""Positions of the keypoints: on single images, and over many images of each class."""

import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from modiste.models.fashionnet import FashionNet
from modiste.reports.image_rows import PALE, Box, Row, place_rows
from modiste.reports.style import INK, SMALL, WIDTH, drawn
from modiste.reports.views.scene import Scene

MARKS = (
    ("o", "#0072b2"),
    ("s", "#d55e00"),
    ("^", "#009e73"),
    ("D", "#cc79a7"),
    ("v", "#e69f00"),
    ("P", "#56b4e9"),
    ("X", "#1c1c1c"),
    ("<", "#f0e442"),
)
"""Shape and colour of a keypoint by its index, repeated after eight."""
EACH, CLASSES, MANY = 6, 10, 100


@drawn
def keypoints(scene: Scene) -> Figure:
    """Return a figure of the first images of each class with their keypoints, a row for each class."""
    groups = [(name, images[:EACH]) for name, images in _by_class(scene)]
    rows = [Row(name, images * PALE) for name, images in groups]
    figure, axes, boxes = place_rows(rows, heads=["\n\n"], width=WIDTH, label_width=1.0)
    for (_, images), places in zip(groups, boxes, strict=True):
        for points, box in zip(locate(scene, images), places, strict=True):
            mark(axes, points[None], box, sides(images), size=22.0)
    _legend(axes, _count(scene))
    return figure


@drawn
def clouds(scene: Scene) -> Figure:
    """Return a figure of each class's mean image with the keypoints of up to a hundred of its images."""
    groups = list(_by_class(scene))
    rows, per_row = [], 5
    for start in range(0, len(groups), per_row):
        part = groups[start : start + per_row]
        pictures = torch.stack([images.mean(0) for _, images in part]) * PALE
        rows.append(Row("", pictures, tuple(name for name, _ in part)))
    figure, axes, boxes = place_rows(rows, heads=["\n\n"], width=WIDTH, label_width=0.0)
    for (_, images), box in zip(groups, (box for row in boxes for box in row), strict=True):
        mark(axes, locate(scene, images), box, sides(images), size=3.0)
    _legend(axes, _count(scene))
    return figure


@torch.no_grad()
def locate(scene: Scene, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k 2"]:
    """Return each keypoint's (row, column) in pixels on each image; integers are centres of pixels."""
    network = scene.network_as(FashionNet)
    maps = network.trunk(scene.standardize(images))
    return as_pixels(network.keypoints.locate(maps), sides(maps), sides(images))


def as_pixels(places: Float[Tensor, "n k 2"], cells: tuple[int, int], size: tuple[int, int]) -> Float[Tensor, "n k 2"]:
    """Convert positions on a map to pixels; -1 and 1 are the centres of the map's first and last cell."""
    count = torch.tensor(cells)
    stride = torch.tensor(size) // count
    return ((places + 1) / 2 * (count - 1) + 0.5) * stride - 0.5


def sides(images: Float[Tensor, "n c h w"]) -> tuple[int, int]:
    """Return height and width of images."""
    return images.shape[2], images.shape[3]


def mark(axes: Axes, points: Float[Tensor, "n k 2"], box: Box, image: tuple[int, int], *, size: float) -> None:
    """Draw marks at points (row, column) of the picture in ``box``; ``size`` is an area in square points."""
    left, right, bottom, top = box
    x = left + (points[..., 1] + 0.5) / image[1] * (right - left)
    y = top - (points[..., 0] + 0.5) / image[0] * (top - bottom)
    edge = {"edgecolor": "white", "linewidth": 0.5} if size > 10 else {"linewidth": 0}
    for index in range(points.shape[1]):
        shape, colour = MARKS[index % len(MARKS)]
        axes.scatter(x[:, index], y[:, index], s=size, marker=shape, color=colour, zorder=3, **edge)


def _legend(axes: Axes, count: int) -> None:
    top = axes.get_ylim()[1] - 0.2
    shown = min(count, len(MARKS))
    axes.text(0.1, top, "keypoint", va="center", fontsize=SMALL)
    for index in range(shown):
        shape, colour = MARKS[index]
        x = 1.0 + index * 0.45
        axes.scatter([x], [top], s=30, marker=shape, color=colour, edgecolor=INK, linewidth=0.3)
        axes.text(x + 0.1, top, str(index + 1), va="center", fontsize=SMALL)


def _by_class(scene: Scene) -> list[tuple[str, Tensor]]:
    """Return the name of each class with its first images, at most a hundred."""
    images, labels = scene.sample(len(scene.validation))
    present = sorted(set(labels.tolist()))[:CLASSES]
    return [(scene.names(torch.tensor([label]))[0], images[labels == label][:MANY]) for label in present]


def _count(scene: Scene) -> int:
    return scene.network_as(FashionNet).keypoints.score.out_channels
