"""The confusion matrix: which class is taken for which, with errors in colour and the diagonal in grey."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from modiste.report.style import INK, MUTED, ON_DARK, ON_LIGHT, RULE, SMALL, TEXT, drawn, schematic
from modiste.report.wording import percent, shorten

ERRORS = LinearSegmentedColormap.from_list("errors", ["#fdeee2", "#f3a36b", "#d55e00", "#7a3300"])
DARK = 0.72
"""Share of the scale above which text in a cell is light."""
CELL = 0.46
LEFT, RIGHT, ABOVE, BELOW = 1.45, 0.75, 1.15, 0.75
"""Inches around the matrix: class names, the last slanting name, slanting names, the scale of colours."""
LEGIBLE = 20
"""Classes up to which every cell carries its figures; beyond, colour alone, and the axes name some classes."""
WRITTEN = 0.005
"""Share of a class from which a cell's share is written beneath its count."""


@dataclass(frozen=True)
class _Grid:
    """Where the cells are, in inches from the lower left, and how their colours are scaled."""

    axes: Axes
    classes: int
    cell: float
    scale: Normalize

    @property
    def side(self) -> float:
        return self.classes * self.cell

    def middle(self, row: int, column: int) -> tuple[float, float]:
        return LEFT + (column + 0.5) * self.cell, BELOW + (self.classes - row - 0.5) * self.cell


@drawn
def confusion_matrix(matrix: Sequence[Sequence[int]], names: Sequence[str]) -> Figure:
    """Draw counts by true class (row) and predicted class (column); colour is the share of the row that went astray."""
    classes = len(names)
    cell = CELL * min(1, LEGIBLE / classes)
    shares = [[count / max(1, sum(row)) for count in row] for row in matrix]
    worst = max((share for r, row in enumerate(shares) for c, share in enumerate(row) if r != c), default=0.0)
    figure, axes = schematic(LEFT + max(classes * cell, 2.2) + RIGHT, BELOW + classes * cell + ABOVE)
    grid = _Grid(axes, classes, cell, Normalize(0, worst or 1))
    for row, counts in enumerate(matrix):
        for column, count in enumerate(counts):
            if count or (row == column and any(counts)):  # a class without images has no share to write
                _draw_cell(grid, row, column, count, shares[row][column])
    _draw_lines(grid)
    _write_names(grid, names)
    _draw_scale(grid, worst)
    return figure


def _draw_cell(grid: _Grid, row: int, column: int, count: int, share: float) -> None:
    x, y = grid.middle(row, column)
    corner = (x - grid.cell / 2, y - grid.cell / 2)
    right = row == column
    colour = MUTED if right else ERRORS(grid.scale(share))
    grid.axes.add_patch(Rectangle(corner, grid.cell, grid.cell, facecolor=colour, edgecolor="none"))
    if grid.classes > LEGIBLE:
        return
    ink = ON_DARK if not right and grid.scale(share) > DARK else ON_LIGHT
    with_share = right or share >= WRITTEN
    grid.axes.text(x, y + 0.07 * with_share, f"{count}", ha="center", va="center", color=ink, fontsize=SMALL)
    if with_share:
        text = percent(share, 0 if share >= 0.0995 else 1)
        grid.axes.text(x, y - 0.11, text, ha="center", va="center", color=ink, fontsize=SMALL - 1.5)


def _draw_lines(grid: _Grid) -> None:
    for number in range(grid.classes + 1):
        offset = number * grid.cell
        grid.axes.plot([LEFT, LEFT + grid.side], [BELOW + offset] * 2, color=RULE, linewidth=0.6)
        grid.axes.plot([LEFT + offset] * 2, [BELOW, BELOW + grid.side], color=RULE, linewidth=0.6)


def _write_names(grid: _Grid, names: Sequence[str]) -> None:
    top = BELOW + grid.side
    for index in range(0, grid.classes, -(-grid.classes // LEGIBLE)):
        x, y = grid.middle(index, index)
        name = shorten(names[index], 14)
        grid.axes.text(LEFT - 0.07, y, name, ha="right", va="center", fontsize=SMALL)
        slant = {"rotation": 40, "rotation_mode": "anchor", "fontsize": SMALL}
        grid.axes.text(x - 0.04, top + 0.07, name, ha="left", va="bottom", fontdict=slant)
    grid.axes.text(LEFT + grid.side / 2, top + ABOVE - 0.08, "predicted class", ha="center", va="top", fontsize=TEXT)
    grid.axes.text(0.1, BELOW + grid.side / 2, "true class", ha="left", va="center", rotation=90, fontsize=TEXT)


def _draw_scale(grid: _Grid, worst: float) -> None:
    """Draw what the colours mean: a bar from nothing to the worst share of errors."""
    width, bottom = max(1.6, min(grid.side, 3.2)), BELOW - 0.36
    steps = 40 if worst else 0
    for step in range(steps):
        corner = (LEFT + width * step / steps, bottom)
        colour = ERRORS((step + 0.5) / steps)
        grid.axes.add_patch(Rectangle(corner, width / steps, 0.12, facecolor=colour, edgecolor=colour, linewidth=0.3))
    if worst:
        grid.axes.text(LEFT, bottom - 0.06, percent(0.0, 0), ha="center", va="top", fontsize=SMALL, color=INK)
        grid.axes.text(LEFT + width, bottom - 0.06, percent(worst, 1), ha="center", va="top", fontsize=SMALL)
        grid.axes.text(LEFT - 0.15, bottom + 0.06, "share of class", ha="right", va="center", fontsize=SMALL)
