"""An experiment as figures: accuracy and loss against what is varied, and the learning curves."""

from statistics import mean

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from modiste.report.style import BLUE, FAINT, INK, SMALL, VERMILLION, WIDTH, drawn
from modiste.reproduction.study import Study

Interval = tuple[float, float] | None
COLOURS = (BLUE, VERMILLION, INK, "#009e73", "#cc79a7")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
"""Five variants at most."""


@drawn
def study_figure(study: Study) -> Figure:
    """Draw validation accuracy over validation loss by variant: every run, the mean, its 95 % interval over seeds."""
    figure = Figure(figsize=(WIDTH, 4.2))
    accuracies, losses = figure.subplots(2, 1, sharex=True)
    _draw(accuracies, study, [(point.accuracies, point.interval) for point in study.points], VERMILLION)
    _draw(losses, study, [(point.losses, point.loss_interval) for point in study.points], BLUE)
    _mark_choice(accuracies, study)
    accuracies.set(ylabel="validation accuracy")
    accuracies.yaxis.set_major_formatter(FuncFormatter(lambda value, _place: f"{100 * value:.1f} %"))
    losses.set(ylabel="validation loss", xlabel=study.experiment.name)
    losses.set_xticks(range(len(study.points)), [point.label for point in study.points])
    losses.set_xlim(-0.5, len(study.points) - 0.5)
    return figure


@drawn
def curves_figure(study: Study) -> Figure:
    """Draw validation accuracy by epoch for each variant, mean over its runs; colours and dashes tell them apart."""
    figure = Figure(figsize=(WIDTH, 3.2))
    axes = figure.subplots()
    for point, colour, dashes in zip(study.points, COLOURS, DASHES, strict=False):
        axes.plot(range(1, len(point.curve) + 1), point.curve, color=colour, linestyle=dashes, label=point.label)
    axes.set(xlabel="epoch", ylabel="validation accuracy")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _place: f"{100 * value:.1f} %"))
    axes.grid(axis="y")
    figure.legend(loc="outside right center", title=study.experiment.name, fontsize=SMALL, title_fontsize=SMALL)
    return figure


def _draw(axes: Axes, study: Study, rows: list[tuple[tuple[float, ...], Interval]], colour: str) -> None:
    for place, (point, (runs, interval)) in enumerate(zip(study.points, rows, strict=True)):
        if point.label == study.experiment.chosen:
            axes.axvline(place, color=FAINT, linestyle=":", linewidth=1, zorder=0)
        if interval:
            axes.plot([place, place], interval, color=colour, linewidth=1.4, zorder=2)
        axes.plot([place], [mean(runs)], "o", markersize=6, color=colour, zorder=3)
        axes.plot([place - 0.08] * len(runs), runs, "o", markersize=3, color=FAINT, zorder=1)
    axes.grid(axis="y")
    axes.yaxis.set_major_locator(MaxNLocator(5))


def _mark_choice(axes: Axes, study: Study) -> None:
    for place, point in enumerate(study.points):
        if point.label == study.experiment.chosen:
            above = axes.get_xaxis_transform()
            axes.text(place, 1.02, "the paper's choice", transform=above, ha="center", va="bottom", fontsize=SMALL)
