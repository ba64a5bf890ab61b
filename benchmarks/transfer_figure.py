"""The figure of the transfer study: accuracy by labels per class, from scratch and from a source."""

from pathlib import Path
from statistics import mean

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from modiste.reports.style import BLUE, INK, SMALL, VERMILLION, WIDTH, drawn, percent_axis, save

Arms = dict[str, dict[int, list[float]]]
"""Accuracy of every seed, by arm and labels per class."""
LOOKS = {"scratch": ("from scratch", BLUE, "--", "s"), "transfer": ("from the source", VERMILLION, "-", "o")}


def draw(panels: dict[str, Arms], path: Path) -> None:
    """Write the figure: one panel for each study, a mark for each seed, a line through the means."""
    save(panels_of(panels), path)


@drawn
def panels_of(panels: dict[str, Arms]) -> Figure:
    """Return a figure with a panel for each study."""
    figure = Figure(figsize=(WIDTH, 2.9 * len(panels)))
    for axes, (title, arms) in zip(figure.subplots(len(panels), 1, squeeze=False)[:, 0], panels.items(), strict=True):
        _draw_arms(axes, arms)
        axes.set_title(title, color=INK, fontsize=SMALL + 1)
        axes.set_ylabel("test accuracy")
    axes.set_xlabel("labelled images per class")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return figure


def _draw_arms(axes: Axes, arms: Arms) -> None:
    for arm, by_labels in arms.items():
        name, colour, line, marker = LOOKS[arm]
        counts = sorted(by_labels)
        axes.plot(counts, [mean(by_labels[count]) for count in counts], line, color=colour, label=name)
        points = [(count, value) for count in counts for value in by_labels[count]]
        axes.plot(*zip(*points, strict=True), marker, color=colour, markersize=4, fillstyle="none", clip_on=False)
    axes.set_xscale("log")
    axes.set_xticks(counts, [f"{count:,}" for count in counts])
    axes.minorticks_off()
    axes.grid(axis="y")
    percent_axis(axes, "y")
