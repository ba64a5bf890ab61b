"""The reliability diagram: how often the network is right when it says how sure it is."""

from collections.abc import Sequence
from math import ceil

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from modiste.evaluation.calibration import BINS, Bin, expected_calibration_error
from modiste.evaluation.statistics import wilson_interval
from modiste.report.style import BLUE, FAINT, MUTED, SMALL, WIDTH, drawn, percent_axis
from modiste.report.wording import percent


@drawn
def reliability_diagram(bins: Sequence[Bin]) -> Figure:
    """Draw accuracy against confidence with 95 % intervals, over a histogram of the images' confidence."""
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
    axes.plot([0, 1], [0, 1], "--", color=FAINT, linewidth=1, label="as often right as sure")
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
    place = (left[shares.index(highest)], highest)
    axes.annotate(
        percent(highest, 0), place, (-3, -1), textcoords="offset points", ha="right", va="top", fontsize=SMALL
    )
