"""One picture at its place in a figure: grey levels as ink on paper, colours as they are, numbers as colours."""

from typing import Literal

import torch
from jaxtyping import Num
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap
from torch import Tensor

from modiste.report.style import BLUE, PALE_BLUE, PAPER, RULE, VERMILLION

Scale = Literal["ink", "signed", "heat"]
"""``ink`` and ``heat`` take values from 0 to 1, ``signed`` from -1 to 1."""
COLOURS: dict[str, tuple[str | Colormap, float]] = {
    "ink": ("gray_r", 0.0),
    "signed": (LinearSegmentedColormap.from_list("signed", [BLUE, PAPER, VERMILLION]), -1.0),
    "heat": (LinearSegmentedColormap.from_list("heat", [PAPER, PALE_BLUE, BLUE, "#00263d"]), 0.0),
}
"""Colours of a scale, and its lowest value; the highest is 1."""
Box = tuple[float, float, float, float]


def draw_picture(
    axes: Axes, image: Num[Tensor, "c h w"], corner: tuple[float, float], side: float, scale: Scale = "ink"
) -> Box:
    """Draw one picture in a frame; return its left, right, bottom and top.

    Args:
        axes: measured in inches, as ``style.schematic`` makes them.
        image: bytes, or numbers in the range of ``scale``.
        corner: left and bottom of the place.
        side: of the place; what is higher than wide, or wider than high, fills it one way.
        scale: how one channel becomes colours; three channels are red, green and blue.
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
