"""Rows of labelled images in a figure, and how pixels become colours."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Num
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure
from torch import Tensor

from modiste.reports.style import BLUE, FAINT, PALE_BLUE, PAPER, RULE, SMALL, VERMILLION, WIDTH, drawn, fit, schematic

Scale = Literal["ink", "signed", "heat"]
"""``ink`` (grey, 1 is black) and ``heat`` take values from 0 to 1, ``signed`` from -1 to 1."""
COLOURS: dict[str, tuple[str | Colormap, float]] = {
    "ink": ("gray_r", 0.0),
    "signed": (LinearSegmentedColormap.from_list("signed", [BLUE, PAPER, VERMILLION]), -1.0),
    "heat": (LinearSegmentedColormap.from_list("heat", [PAPER, PALE_BLUE, BLUE, "#00263d"]), 0.0),
}
"""Colour map of each scale, and the scale's lowest value; the highest is 1."""
Box = tuple[float, float, float, float]
"""Left, right, bottom and top of a picture, in inches."""

MARGIN, GAP = 0.1, 0.06
"""Inches around the figure and between pictures."""
LINE = 0.125
"""Inches of one line of text beneath a picture or above a column."""
FINE = 7.5
"""Font size of captions, in points."""
PALE = 0.45
"""Factor by which images are dimmed where marks are drawn on them."""


@dataclass(frozen=True)
class Row:
    """Pictures side by side.

    Attributes:
        label: Text at the left.
        images: uint8, or floats in the range of ``scale``; shape (N, C, H, W) with one or three channels.
        captions: One beneath each picture, cut to its width; empty for none.
        scale: How a single channel becomes colours.
    """

    label: str
    images: Num[Tensor, "_ _ _ _"]
    captions: tuple[str, ...] = ()
    scale: Scale = "ink"


@drawn
def image_rows(
    rows: Sequence[Row], *, heads: Sequence[str] = (), width: float = WIDTH, label_width: float = 1.1
) -> Figure:
    """Return a figure of rows one below the other.

    Args:
        rows: The rows, first at the top.
        heads: Text above each column.
        width: Width of the figure in inches.
        label_width: Width of the labels in inches.
    """
    return place_rows(rows, heads=heads, width=width, label_width=label_width)[0]


def place_rows(
    rows: Sequence[Row], *, heads: Sequence[str], width: float, label_width: float
) -> tuple[Figure, Axes, list[list[Box]]]:
    """Return the figure of ``image_rows`` with its axes and each picture's box, for drawing on the pictures."""
    columns = max(len(row.images) for row in rows)
    side = (width - 2 * MARGIN - label_width + GAP) / columns - GAP
    head = LINE * max((text.count("\n") + 1 for text in heads), default=0)
    heights = [_height(row, side) for row in rows]
    figure, axes = schematic(width, 2 * MARGIN + head + sum(heights) - GAP)
    left, top = MARGIN + label_width, MARGIN + sum(heights) - GAP
    for column, text in enumerate(heads):
        x = left + column * (side + GAP) + side / 2
        axes.text(
            x, top + 0.04, fit(text, side, FINE), ha="center", va="bottom", fontsize=FINE, color=FAINT, linespacing=1.1
        )
    boxes = []
    for row, height in zip(rows, heights, strict=True):
        boxes.append(_draw_row(axes, row, (left, top), side))
        top -= height
    return figure, axes, boxes


def draw_picture(
    axes: Axes, image: Num[Tensor, "c h w"], corner: tuple[float, float], side: float, scale: Scale = "ink"
) -> Box:
    """Draw one picture in a frame and return its box.

    Args:
        axes: Axes in inches, as ``style.schematic`` returns them.
        image: uint8, or floats in the range of ``scale``; three channels are red, green and blue.
        corner: Left and bottom of the square in which the picture is drawn.
        side: Length of the square's side; the longer side of the picture fills it.
        scale: How a single channel becomes colours.
    """
    channels, height, width = image.shape
    bytewise = image.dtype == torch.uint8
    pixels = image.permute(1, 2, 0) if channels > 1 else image[0] / 255 if bytewise else image[0]
    largest = max(height, width)
    box = (corner[0], corner[0] + side * width / largest, corner[1], corner[1] + side * height / largest)
    limits = axes.get_xlim(), axes.get_ylim()
    colours, lowest = COLOURS[scale]
    axes.imshow(pixels.numpy(), extent=box, interpolation="none", aspect="auto", cmap=colours, vmin=lowest, vmax=1)
    axes.set(xlim=limits[0], ylim=limits[1])
    left, right, bottom, top = box
    axes.plot([left, right, right, left, left], [bottom, bottom, top, top, bottom], color=RULE, linewidth=0.6)
    return box


def _height(row: Row, side: float) -> float:
    lines = max((text.count("\n") + 1 for text in row.captions), default=0)
    high, wide = row.images.shape[2:]
    return side * high / max(high, wide) + GAP + (LINE * lines + 0.05 if lines else 0)


def _draw_row(axes: Axes, row: Row, corner: tuple[float, float], side: float) -> list[Box]:
    (left, top), boxes = corner, []
    high, wide = row.images.shape[2:]
    bottom = top - side * high / max(high, wide)
    axes.text(MARGIN, (top + bottom) / 2, row.label, va="center", fontsize=SMALL, linespacing=1.2)
    for column, image in enumerate(row.images):
        boxes.append(draw_picture(axes, image, (left + column * (side + GAP), bottom), side, row.scale))
    for (start, end, *_), caption in zip(boxes, row.captions, strict=False):
        text = fit(caption, side, FINE)
        axes.text((start + end) / 2, bottom - 0.03, text, ha="center", va="top", fontsize=FINE, linespacing=1.1)
    return boxes
