"""Figure 5 of the paper: loss and accuracy of training and validation by epoch."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from modiste.report.style import BLUE, FAINT, INK, SMALL, VERMILLION, WIDTH, drawn, percent_axis
from modiste.run_folder import EpochRow

STEP = 0.05
"""The accuracy axis begins at a multiple of this."""


@drawn
def learning_curves(history: Sequence[EpochRow], picked: EpochRow) -> Figure:
    """Draw loss over accuracy by epoch, marking the picked epoch and that of the lowest validation loss."""
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
        axes.axvline(picked.epoch, color=FAINT, linestyle="-", linewidth=1)
    margin = min(0.9, max(0.4, len(history) / 50))  # never as far as 0, which is no epoch
    losses.set_xlim(history[0].epoch - margin, history[-1].epoch + margin)
    _mark(losses, lowest.epoch, lowest.validation_loss, f"lowest validation loss: epoch {lowest.epoch}")
    _mark(accuracies, picked.epoch, picked.validation_accuracy, f"picked: epoch {picked.epoch}")
    figure.legend(*losses.get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return figure


def accuracy_floor(history: Sequence[EpochRow]) -> float:
    """Return where the accuracy axis begins: the multiple of 5 % below every value; it always ends at 100 %."""
    least = min(min(row.train_accuracy, row.validation_accuracy) for row in history)
    return min(0.95, max(0.0, STEP * math.floor(least / STEP - 0.2)))


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
    """Ring a point, and say above the panel, where no curve runs, what it is."""
    axes.plot([epoch], [value], "o", markersize=9, markerfacecolor="none", markeredgecolor=INK, zorder=5, clip_on=False)
    first, last = axes.get_xlim()
    place = (epoch - first) / (last - first)
    side = "left" if place < 0.3 else "right" if place > 0.7 else "center"
    axes.text(epoch, 1.02, text, transform=axes.get_xaxis_transform(), ha=side, va="bottom", fontsize=SMALL)
