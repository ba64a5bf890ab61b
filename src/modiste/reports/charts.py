"""The charts of a run: learning curves (figure 5 of the paper), confusion matrix, reliability diagram."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from modiste.evaluation.calibration import BINS, Bin, expected_calibration_error
from modiste.evaluation.statistics import wilson_interval
from modiste.reports.style import (
    BLUE,
    FAINT,
    INK,
    MUTED,
    ON_DARK,
    ON_LIGHT,
    RULE,
    SMALL,
    TEXT,
    VERMILLION,
    WIDTH,
    drawn,
    percent,
    percent_axis,
    schematic,
    shorten,
)
from modiste.runs.run_folder import EpochRow

STEP = 0.05
"""The accuracy axis of the learning curves begins at a multiple of this."""

ERRORS = LinearSegmentedColormap.from_list("errors", ["#fdeee2", "#f3a36b", "#d55e00", "#7a3300"])
"""Colours of the confusion matrix off the diagonal."""
DARK = 0.72
"""Share of the colour scale above which the text of a cell is light."""
CELL = 0.46
"""Inches of a cell's side, if there are at most ``LEGIBLE`` classes."""
LEFT, RIGHT, ABOVE, BELOW = 1.45, 0.75, 1.15, 0.75
"""Inches around the matrix: class names, end of the last slanting name, slanting names, colour scale."""
LEGIBLE = 20
"""Up to this many classes every cell shows its numbers; with more, only its colour, and the axes name some classes."""
WRITTEN = 0.005
"""Smallest share of a class that is written beneath a count."""


@drawn
def learning_curves(history: Sequence[EpochRow], selected: EpochRow) -> Figure:
    """Return a chart of loss and accuracy by epoch that marks the selected epoch and the lowest validation loss.

    Args:
        history: One row per epoch.
        selected: The epoch whose weights the run keeps.
    """
    figure = Figure(figsize=(WIDTH, 5.2))
    losses, accuracies = figure.subplots(2, 1, sharex=True)
    lowest = min(history, key=lambda row: row.validation_loss)
    _plot(losses, history, "loss")
    _plot(accuracies, history, "accuracy")
    losses.set(ylabel="loss")
    losses.set_ylim(bottom=0)
    accuracies.set(xlabel="epoch", ylabel="accuracy", ylim=(accuracy_floor(history), 1))
    percent_axis(accuracies, "y")
    accuracies.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    for axes in (losses, accuracies):
        axes.axvline(lowest.epoch, color=FAINT, linestyle=":", linewidth=1)
        axes.axvline(selected.epoch, color=FAINT, linestyle="-", linewidth=1)
    margin = min(0.9, max(0.4, len(history) / 50))  # less than 1: no epoch before the first
    losses.set_xlim(history[0].epoch - margin, history[-1].epoch + margin)
    _mark(losses, lowest.epoch, lowest.validation_loss, f"lowest validation loss: epoch {lowest.epoch}")
    _mark(accuracies, selected.epoch, selected.validation_accuracy, f"selected: epoch {selected.epoch}")
    figure.legend(*losses.get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return figure


def accuracy_floor(history: Sequence[EpochRow]) -> float:
    """Return the start of the accuracy axis, a multiple of 5 % below every value; the axis always ends at 100 %."""
    least = min(min(row.train_accuracy, row.validation_accuracy) for row in history)
    return min(0.95, max(0.0, STEP * floor(least / STEP - 0.2)))


def _plot(axes: Axes, history: Sequence[EpochRow], quantity: str) -> None:
    epochs = [row.epoch for row in history]
    spacing = max(1, len(history) // 12)
    for split, colour, line, marker in (("train", BLUE, "--", "s"), ("validation", VERMILLION, "-", "o")):
        values = [getattr(row, f"{split}_{quantity}") for row in history]
        label = "training (mean over the epoch)" if split == "train" else "validation (epoch's end)"
        axes.plot(
            epochs,
            values,
            line,
            color=colour,
            marker=marker,
            markersize=4,
            markevery=spacing,
            label=label,
            clip_on=False,
        )
    axes.grid(axis="y")


def _mark(axes: Axes, epoch: int, value: float, text: str) -> None:
    """Ring a point and write what it is above the panel, where no curve runs."""
    axes.plot([epoch], [value], "o", markersize=9, markerfacecolor="none", markeredgecolor=INK, zorder=5, clip_on=False)
    first, last = axes.get_xlim()
    place = (epoch - first) / (last - first)
    side = "left" if place < 0.3 else "right" if place > 0.7 else "center"
    axes.text(epoch, 1.02, text, transform=axes.get_xaxis_transform(), ha=side, va="bottom", fontsize=SMALL)


@dataclass(frozen=True)
class _Grid:
    """Position of the cells, in inches from the lower left, and the scale of their colours."""

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
    """Return a figure of a confusion matrix; colours show the share of a row that was predicted as another class.

    Args:
        matrix: Number of images by true class (row) and predicted class (column).
        names: Name of each class.
    """
    classes = len(names)
    cell = CELL * min(1, LEGIBLE / classes)
    shares = [[count / max(1, sum(row)) for count in row] for row in matrix]
    worst = max((share for r, row in enumerate(shares) for c, share in enumerate(row) if r != c), default=0.0)
    figure, axes = schematic(LEFT + max(classes * cell, 2.2) + RIGHT, BELOW + classes * cell + ABOVE)
    grid = _Grid(axes, classes, cell, Normalize(0, worst or 1))
    for row, counts in enumerate(matrix):
        for column, count in enumerate(counts):
            if count or (row == column and any(counts)):  # a class without images has no share
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
    """Draw the colour bar, from 0 % to the largest share of errors."""
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


@drawn
def reliability_diagram(bins: Sequence[Bin]) -> Figure:
    """Return a chart of accuracy against confidence with 95 % intervals, above a histogram of confidence."""
    figure = Figure(figsize=(WIDTH, 5.0))
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    _draw_accuracy(upper, bins)
    _draw_histogram(lower, bins)
    upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
    lower.set(xlabel="confidence (largest probability)", ylabel="images")
    for axes, which in ((upper, "x"), (upper, "y"), (lower, "y")):
        axes.grid(axis=which)
        percent_axis(axes, which)
    figure.legend(*upper.get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return figure


def _draw_accuracy(axes: Axes, bins: Sequence[Bin]) -> None:
    axes.plot([0, 1], [0, 1], "--", color=FAINT, linewidth=1, label="perfect calibration")
    low, high = zip(*(wilson_interval(round(item.accuracy * item.count), item.count) for item in bins), strict=True)
    accuracy = [item.accuracy for item in bins]
    below = [max(0.0, value - edge) for value, edge in zip(accuracy, low, strict=True)]
    above = [max(0.0, edge - value) for value, edge in zip(accuracy, high, strict=True)]
    axes.errorbar(
        [item.confidence for item in bins],
        accuracy,
        yerr=(below, above),
        fmt="-o",
        color=BLUE,
        markersize=5,
        elinewidth=1,
        capsize=2.5,
        label="this network, with 95 % intervals",
        clip_on=False,
    )
    error = expected_calibration_error(list(bins))
    axes.set_title(f"expected calibration error {error:.4f}", fontsize=SMALL)


def _draw_histogram(axes: Axes, bins: Sequence[Bin]) -> None:
    total = sum(item.count for item in bins)
    left = [(min(BINS, max(1, ceil(item.confidence * BINS))) - 1) / BINS for item in bins]
    shares = [item.count / total for item in bins]
    axes.bar(left, shares, width=1 / BINS, align="edge", facecolor=MUTED, edgecolor=FAINT, linewidth=0.7)
    highest = max(shares)
    start = left[shares.index(highest)]
    at_the_left = start < 0.15  # no room between the bar and the axis
    x, shift, side = (start + 1 / BINS, 3, "left") if at_the_left else (start, -3, "right")
    axes.annotate(
        percent(highest, 0), (x, highest), (shift, -1), textcoords="offset points", ha=side, va="top", fontsize=SMALL
    )
