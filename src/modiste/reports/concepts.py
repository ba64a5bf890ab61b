"""Figures 1 and 2 of the paper: the layers of a neural network, and the activation functions."""

from itertools import pairwise

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from modiste.models.layers import ACTIVATIONS
from modiste.reports.style import (
    BLUE,
    FAINT,
    INK,
    ON_LIGHT,
    PALE_BLUE,
    PALE_GREEN,
    PALE_ORANGE,
    SMALL,
    TEXT,
    WIDTH,
    drawn,
    schematic,
)

RADIUS = 0.19
DROP = 0.56
"""Inches between the centres of neighbouring units."""
COLUMNS = (0.9, 2.7, 4.5)
LAYERS = (
    ("Input layer", "x₁ x₂ x₃ … xₙ", PALE_BLUE, "one unit for each feature,\nhere each pixel;\nno activation"),
    ("Hidden layer", "h₁ h₂ h₃ h₄ … hₘ", PALE_GREEN, "each unit takes every\noutput before it;\nthen an activation"),
    ("Output layer", "y₁ y₂ … yₖ", PALE_ORANGE, "one unit for each class;\nsoftmax makes them\nprobabilities"),
)
FORMULAS = {
    "relu": "max(0, z)",
    "sigmoid": "1 / (1 + exp(−z))",
    "tanh": "(exp 2z − 1) / (exp 2z + 1)",
    "linear": "z",
}
SOFTMAX = (
    "softmax has no curve of its own: it takes all outputs together and turns them into\n"
    "exp(zᵢ) / (exp(z₁) + … + exp(zₖ)), positive shares that sum to 1, one for each class."
)


@drawn
def neural_network() -> Figure:
    """Return figure 1: a network of three fully connected layers."""
    figure, axes = schematic(WIDTH, 4.25)
    places = [_places(x, units.split()) for x, (_, units, _, _) in zip(COLUMNS, LAYERS, strict=True)]
    for before, after in pairwise(places):
        _connect(axes, before, after)
    for x, column, (name, _, colour, role) in zip(COLUMNS, places, LAYERS, strict=True):
        _draw_units(axes, column, colour)
        axes.text(x, 4.05, name, ha="center", va="center", fontsize=TEXT + 1, weight="bold")
        axes.text(x, 0.62, role, ha="center", va="top", fontsize=SMALL, linespacing=1.3)
    for left, right in pairwise(COLUMNS):
        axes.annotate("", (right - 0.62, 4.05), (left + 0.62, 4.05), arrowprops={"arrowstyle": "->", "color": FAINT})
    return figure


@drawn
def activation_curves() -> Figure:
    """Return figure 2: the activation functions that recipes can name, on one scale, and a note on softmax."""
    rows = (len(ACTIVATIONS) + 1) // 2
    figure = Figure(figsize=(WIDTH, 2.1 * rows + 0.6))
    panels = figure.subplots(rows, 2, sharex=True, sharey=True, squeeze=False).flatten()
    for axes, name in zip(panels, ACTIVATIONS, strict=False):
        _draw_activation(axes, name)
    for axes in panels[len(ACTIVATIONS) :]:
        axes.set_axis_off()
    for axes in panels[-2:]:
        axes.set_xlabel("z")
    figure.supxlabel(SOFTMAX, fontsize=SMALL, x=0.02, ha="left", linespacing=1.4)
    return figure


def _places(x: float, names: list[str]) -> list[tuple[float, float, str]]:
    top = 2.34 + DROP * (len(names) - 1) / 2
    return [(x, top - DROP * index, name) for index, name in enumerate(names)]


def _connect(axes: Axes, before: list[tuple[float, float, str]], after: list[tuple[float, float, str]]) -> None:
    for x, y, name in before:
        for end_x, end_y, end_name in after:
            if "…" not in (name, end_name):
                axes.plot([x, end_x], [y, end_y], color=FAINT, linewidth=0.6, alpha=0.7, zorder=1)


def _draw_units(axes: Axes, column: list[tuple[float, float, str]], colour: str) -> None:
    for x, y, name in column:
        if name == "…":
            axes.text(x, y, "⋮", ha="center", va="center", fontsize=TEXT + 6)
        else:
            axes.add_patch(Circle((x, y), RADIUS, facecolor=colour, edgecolor=INK, linewidth=0.9, zorder=2))
            axes.text(x, y, name, ha="center", va="center_baseline", color=ON_LIGHT, zorder=3)


def _draw_activation(axes: Axes, name: str) -> None:
    z = torch.linspace(-4, 4, 401)
    axes.axhline(0, color=FAINT, linewidth=0.7)
    axes.axvline(0, color=FAINT, linewidth=0.7)
    axes.plot(z, ACTIVATIONS[name]()(z), color=BLUE, linewidth=2)
    axes.set(xlim=(-4, 4), ylim=(-1.6, 2.6), xticks=range(-4, 5, 2), yticks=range(-1, 3))
    axes.grid()
    axes.set_title(f"{name}: {FORMULAS[name]}" if name in FORMULAS else name)
