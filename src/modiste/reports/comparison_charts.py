"""Learning curves of several runs in one chart."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from modiste.reports.style import BLUE, INK, VERMILLION, WIDTH, drawn, fit, percent_axis
from modiste.runs.run_folder import EpochRow

COLOURS = (BLUE, VERMILLION, "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES = ("-", "--", "-.", ":")
"""Of the sides in turn: their number of colours, markers and dashes differ, so that many sides stay apart."""
LEGEND_SIZE = 9.0
BEST = {"loss": min, "accuracy": max}


@drawn
def laid_over(histories: Sequence[Sequence[EpochRow]], sides: Sequence[int], names: Sequence[str]) -> Figure:
    """Return a chart of validation loss and accuracy by epoch, one curve for each run.

    Args:
        histories: One row per epoch, of each run.
        sides: Position in ``names`` of each run; runs of one side share colour, marker and dashes.
        names: Names of the sides, for the legend.
    """
    figure = Figure(figsize=(WIDTH, 5.0))
    losses, accuracies = figure.subplots(2, 1, sharex=True)
    for axes, quantity in ((losses, "loss"), (accuracies, "accuracy")):
        for number, (history, side) in enumerate(zip(histories, sides, strict=True)):
            first_of_side = side not in sides[:number]
            _plot(axes, history, quantity, side, fit(names[side], WIDTH - 0.8, LEGEND_SIZE) if first_of_side else "")
        axes.grid(axis="y")
    losses.set(ylabel="validation loss")
    accuracies.set(xlabel="epoch", ylabel="validation accuracy")
    percent_axis(accuracies, "y")
    accuracies.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    longest = max(map(len, histories))
    margin = min(0.9, max(0.4, longest / 50))  # less than 1: there is no epoch 0
    losses.set_xlim(1 - margin, longest + margin)
    figure.legend(*losses.get_legend_handles_labels(), loc="outside upper left", fontsize=LEGEND_SIZE)
    return figure


def _plot(axes: Axes, history: Sequence[EpochRow], quantity: str, side: int, label: str) -> None:
    epochs = [row.epoch for row in history]
    values = [getattr(row, f"validation_{quantity}") for row in history]
    axes.plot(
        epochs,
        values,
        linestyle=DASHES[side % len(DASHES)],
        marker=MARKERS[side % len(MARKERS)],
        color=COLOURS[side % len(COLOURS)],
        markersize=4,
        markevery=max(1, len(history) // 12),
        label=label,
        clip_on=False,
    )
    best = values.index(BEST[quantity](values))
    axes.plot(
        [epochs[best]],
        [values[best]],
        "o",
        markersize=9,
        markerfacecolor="none",
        markeredgecolor=INK,
        zorder=5,
        clip_on=False,
    )
