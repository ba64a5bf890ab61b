"""What happens inside a part of a network, as boxes and arrows: steps one after another, and branches side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from modiste.report.style import FAINT, INK, MUTED, ON_LIGHT, PALE_BLUE, PALE_GREEN, WIDTH, drawn, schematic


@dataclass(frozen=True)
class Fork:
    """Branches from one place; an empty one passes its input on.

    Attributes:
        branches: the steps of each.
        join: how they meet again; empty when they do not.
    """

    branches: tuple[tuple[str, ...], ...]
    join: str = ""


Step = str | Fork
MARGIN, GAP, ARROW = 0.12, 0.14, 0.2
LINE, PADDING = 0.14, 0.14
"""Inches of a line of text, and of what a box adds to its lines."""
WIDEST = 2.6
FINE = 8.0
"""Points."""
PASSED_ON = "as it is"


@drawn
def block_diagram(steps: Sequence[Step]) -> Figure:
    """Draw the steps from top to bottom."""
    height = sum(map(_height, steps)) + ARROW * (len(steps) - 1) + 2 * MARGIN
    figure, axes = schematic(WIDTH, height)
    y = height - MARGIN
    for number, step in enumerate(steps):
        if number:
            _arrow(axes, WIDTH / 2, y, y - ARROW)
            y -= ARROW
        if isinstance(step, Fork):
            _draw_fork(axes, step, y)
        else:
            _box(axes, step, WIDTH / 2, y, width=WIDEST, colour=PALE_BLUE if number else MUTED)
        y -= _height(step)
    return figure


def _height(step: Step) -> float:
    if isinstance(step, str):
        return PADDING + LINE * (step.count("\n") + 1)
    joined = 1.5 * ARROW + _height(step.join) if step.join else 0.0
    return ARROW + max(map(_branch_height, step.branches)) + joined


def _branch_height(branch: tuple[str, ...]) -> float:
    return sum(map(_height, branch)) + ARROW * (len(branch) - 1) if branch else 0.0


def _draw_fork(axes: Axes, fork: Fork, top: float) -> None:
    room = (WIDTH - 2 * MARGIN + GAP) / len(fork.branches)
    middles = [MARGIN + room * (index + 0.5) - GAP / 2 for index in range(len(fork.branches))]
    bottom = top - 1.5 * ARROW - max(map(_branch_height, fork.branches))
    axes.plot([middles[0], middles[-1]], [top, top], color=FAINT, linewidth=1)
    for x, branch in zip(middles, fork.branches, strict=True):
        y = top
        for text in branch:
            _arrow(axes, x, y, y - ARROW)
            y -= ARROW
            _box(axes, text, x, y, width=min(WIDEST, room - GAP), colour=PALE_GREEN)
            y -= _height(text)
        if not branch:
            axes.text(x + 0.08, (y + bottom) / 2, PASSED_ON, va="center", fontsize=FINE, color=FAINT)
        if fork.join:
            axes.plot([x, x], [y, bottom], color=FAINT, linewidth=1)
    if fork.join:
        axes.plot([middles[0], middles[-1]], [bottom, bottom], color=FAINT, linewidth=1)
        _arrow(axes, WIDTH / 2, bottom, bottom - ARROW)
        _box(axes, fork.join, WIDTH / 2, bottom - ARROW, width=WIDEST, colour=MUTED)


def _arrow(axes: Axes, x: float, start: float, end: float) -> None:
    style = {"arrowstyle": "->", "color": FAINT, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", (x, end), (x, start), arrowprops=style)


def _box(axes: Axes, text: str, x: float, top: float, *, width: float, colour: str) -> None:
    height = _height(text)
    corner = (x - width / 2, top - height)
    shape = FancyBboxPatch(
        corner, width, height, boxstyle="round,pad=0,rounding_size=0.05", facecolor=colour, edgecolor=INK, linewidth=0.7
    )
    axes.add_patch(shape)
    axes.text(x, top - height / 2, text, ha="center", va="center", fontsize=FINE, color=ON_LIGHT, linespacing=1.2)
