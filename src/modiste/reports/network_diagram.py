"""Figure 3 of the paper: a network as a column of volumes, each with its output shape and number of parameters."""

import textwrap
from collections.abc import Sequence
from math import log2

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from modiste.reports.architecture import Stage
from modiste.reports.style import (
    FAINT,
    INK,
    MUTED,
    PALE_BLUE,
    PALE_GREEN,
    PALE_ORANGE,
    RULE,
    SMALL,
    WIDTH,
    drawn,
    schematic,
)

MIDDLE, NAMES, SHAPES, COUNTS = 0.86, 1.78, 3.5, WIDTH - 0.12
"""Columns, in inches: the middle of the volumes, the left edges of names and shapes, the right edge of the counts."""
ROW, LINE, HEAD = 0.66, 0.16, 0.42
FACE = 0.4
"""Inches of the largest volume's face; the others are in proportion."""
DEPTH = 0.1
"""Inches of depth for each doubling of channels or units."""
OBLIQUE = (0.93, 0.2)
WRAP = 26
COLOURS = {"Image": MUTED, "Max-pooling": PALE_GREEN, "Dense": PALE_ORANGE, "DropConnect": PALE_ORANGE}
COLOURS |= dict.fromkeys(("Convolution", "Inception", "Residual", "VGG", "Graph", "Keypoints", "Class"), PALE_BLUE)


@drawn
def network_diagram(stages: Sequence[Stage]) -> Figure:
    """Return a diagram of the stages from top to bottom, with the sum of their parameters.

    A volume's face is in proportion to height and width of the output, its depth to the logarithm of the channels.
    """
    heights = [ROW + LINE * max(0, len(_description(stage)) - 2) for stage in stages]
    figure, axes = schematic(WIDTH, sum(heights) + 2 * HEAD)
    top = sum(heights) + HEAD
    _write_head(axes, top)
    scale = FACE / max((max(stage.shape[1:]) for stage in stages if len(stage.shape) == 3), default=1)
    for index, (stage, height) in enumerate(zip(stages, heights, strict=True)):
        middle = top - height / 2
        if index:
            _draw_arrow(axes, top)
        _draw_output(axes, stage, middle, scale)
        _write_stage(axes, stage, middle)
        top -= height
    _write_total(axes, sum(stage.parameters for stage in stages), top)
    return figure


def shape_text(shape: tuple[int, ...]) -> str:
    """Return a shape as ``32 × 14 × 14``."""
    return " × ".join(f"{size:,}" for size in shape)


def _description(stage: Stage) -> list[str]:
    notes = ", ".join(stage.notes)
    return textwrap.wrap(", then ".join(part for part in (stage.detail, notes) if part), WRAP)


def _write_head(axes: Axes, top: float) -> None:
    for x, text, side in ((NAMES, "layer", "left"), (SHAPES, "output", "left"), (COUNTS, "parameters", "right")):
        axes.text(x, top + 0.12, text, ha=side, va="bottom", color=FAINT, fontsize=SMALL)
    axes.plot([0.12, COUNTS], [top + 0.05] * 2, color=RULE, linewidth=0.8)


def _write_total(axes: Axes, total: int, bottom: float) -> None:
    axes.plot([0.12, COUNTS], [bottom - 0.03] * 2, color=RULE, linewidth=0.8)
    axes.text(NAMES, bottom - 0.2, "sum of trainable parameters", va="center", weight="bold")
    axes.text(COUNTS, bottom - 0.2, f"{total:,}", ha="right", va="center", weight="bold")


def _write_stage(axes: Axes, stage: Stage, middle: float) -> None:
    lines = _description(stage)
    first = middle + LINE * len(lines) / 2
    axes.text(NAMES, first, stage.name, va="center", weight="bold")
    for number, line in enumerate(lines, start=1):
        axes.text(NAMES, first - LINE * number, line, va="center", fontsize=SMALL, color=FAINT)
    axes.text(SHAPES, middle, shape_text(stage.shape), va="center")
    if stage.parameters:
        axes.text(COUNTS, middle, f"{stage.parameters:,}", ha="right", va="center")


def _draw_arrow(axes: Axes, top: float) -> None:
    axes.annotate(
        "", (MIDDLE, top - 0.055), (MIDDLE, top + 0.055), arrowprops={"arrowstyle": "->", "color": FAINT, "shrinkA": 0}
    )


def _draw_output(axes: Axes, stage: Stage, middle: float, scale: float) -> None:
    colour = COLOURS.get(stage.name.split()[0], MUTED)
    if len(stage.shape) == 3:
        channels, height, width = stage.shape
        _draw_volume(axes, (width * scale, height * scale, DEPTH * log2(1 + channels)), middle, colour)
    else:
        length = min(1.4, DEPTH * log2(1 + stage.shape[0]))
        _fill(axes, _box(MIDDLE - length / 2, middle - 0.06, length, 0.12), colour)


def _draw_volume(axes: Axes, size: tuple[float, float, float], middle: float, colour: str) -> None:
    """Draw a box in oblique projection: its top, its right side and its front."""
    width, height, depth = size
    back, up = depth * OBLIQUE[0], depth * OBLIQUE[1]
    x, y = MIDDLE - (width + back) / 2, middle - (height + up) / 2
    top = [(x, y + height), (x + back, y + height + up), (x + back + width, y + height + up), (x + width, y + height)]
    side = [(x + width, y), (x + width + back, y + up), (x + width + back, y + up + height), (x + width, y + height)]
    _fill(axes, top, colour)
    _fill(axes, side, colour)
    _fill(axes, _box(x, y, width, height), colour)


def _box(x: float, y: float, width: float, height: float) -> list[tuple[float, float]]:
    return [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]


def _fill(axes: Axes, corners: list[tuple[float, float]], colour: str) -> None:
    axes.add_patch(Polygon(corners, facecolor=colour, edgecolor=INK, linewidth=0.7, joinstyle="round"))
