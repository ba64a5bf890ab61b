"""Figures of a search: all trials in parallel coordinates, and the importance of each field."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import log10
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from modiste.reports.style import BLUE, FAINT, SMALL, VERMILLION, WIDTH, drawn, percent_axis
from modiste.searches.space import Dimension, Space
from modiste.searches.trial import TrialOutcome

ROOM = 0.06
"""Share of an axis that is left empty at each end."""
TICKS = 5


@drawn
def parallel_coordinates(space: Space, outcomes: Iterable[TrialOutcome]) -> Figure:
    """Draw each trial as a line across one axis for each field and one for validation accuracy.

    Better trials have stronger lines. The best trial, the first of equals, has a thick line in another colour. Trials
    without an accuracy are left out.
    """
    ended = (row for row in outcomes if row.accuracy is not None)
    rows = sorted(ended, key=lambda row: (row.accuracy, -row.number))
    scales = [_scale(dimension) for dimension in space]
    accuracies = [row.accuracy or 0.0 for row in rows]
    low, high = min(accuracies, default=0.0), max(accuracies, default=1.0)
    figure = Figure(figsize=(max(WIDTH, 1.35 * (len(space) + 1)), 3.4))
    axes = figure.subplots()
    for rank, row in enumerate(rows):
        best = rank == len(rows) - 1
        heights = [scale(row.values[field.field]) for field, scale in zip(space, scales, strict=True)]
        heights.append(_within(accuracies[rank], low, high))
        colour, width, strength = (VERMILLION, 2.4, 1.0) if best else (BLUE, 1.1, 0.15 + 0.75 * rank / len(rows))
        axes.plot(range(len(heights)), heights, color=colour, linewidth=width, alpha=strength, zorder=2 + best)
    for position, (dimension, scale) in enumerate(zip(space, scales, strict=True)):
        _axis(
            axes,
            position,
            [(scale(value), f"{value:.3g}" if isinstance(value, float) else str(value)) for value in _marks(dimension)],
        )
    shown = [low + (high - low) * step / (TICKS - 1) for step in range(TICKS)] if high > low else [low]
    _axis(axes, len(space), [(_within(value, low, high), f"{100 * value:.2f} %") for value in shown])
    names = [dimension.field.replace(".", ".\n") for dimension in space]
    axes.set_xticks(range(len(space) + 1), [*names, "validation\naccuracy"])
    axes.set(ylim=(-ROOM, 1 + ROOM), xlim=(-0.2, len(space) + 0.55))
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.tick_params(axis="x", length=0)
    return figure


@drawn
def importance_bars(importances: Mapping[str, float]) -> Figure:
    """Draw the importance of each field as a bar, the largest on top."""
    names = sorted(importances, key=lambda name: importances[name])
    figure = Figure(figsize=(WIDTH, 0.8 + 0.32 * len(names)))
    axes = figure.subplots()
    axes.barh(names, [importances[name] for name in names], color=BLUE, height=0.6)
    axes.set(xlabel="importance", xlim=(0, 1))
    percent_axis(axes, "x")
    axes.grid(axis="x")
    return figure


def _axis(axes: Axes, position: int, marks: Sequence[tuple[float, str]]) -> None:
    """Draw a vertical axis with texts at some heights."""
    axes.axvline(position, color=FAINT, linewidth=1, zorder=1)
    for height, text in marks:
        axes.text(
            position + 0.04,
            height,
            text,
            fontsize=SMALL,
            va="center",
            zorder=4,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.6},
        )


def _scale(dimension: Dimension) -> Callable[[Any], float]:
    """Return a function from the field's values to heights on its axis, 0 to 1."""
    if dimension.kind == "choice":
        order = {str(value): index for index, value in enumerate(dimension.values)}
        return lambda value: _within(order[str(value)], 0, len(order) - 1)
    low, high = dimension.values
    if dimension.kind == "log":
        return lambda value: _within(log10(value), log10(low), log10(high))
    return lambda value: _within(value, low, high)


def _marks(dimension: Dimension) -> Sequence[Any]:
    """Return the values to write on the field's axis."""
    if dimension.kind == "choice":
        return dimension.values
    low, high = dimension.values
    if dimension.kind == "log":
        inner = [10.0**power for power in range(-12, 13) if low < 10.0**power < high]
        return [float(low), *inner, float(high)]
    return [float(low), float((low + high) / 2), float(high)]


def _within(value: float | int, low: float | int, high: float | int) -> float:
    """Return the position of a value between two others, 0 to 1; 0.5 if they are equal."""
    return 0.5 if high == low else (value - low) / (high - low)
