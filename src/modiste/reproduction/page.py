"""The page of the reproduction: as self-contained HTML, and as Markdown with figures in a folder."""

import modiste.reports  # noqa: F401 - before matplotlib: it checks the packages and tolerates any MPLBACKEND

# isort: split
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from modiste.data.dataset import Development
from modiste.evaluation.comparison import LEVEL
from modiste.evaluation.statistics import Difference
from modiste.reports import page
from modiste.reports.concepts import activation_curves, neural_network
from modiste.reports.figures import curves_figure, network_figure, samples_figure
from modiste.reports.run_figures import page_figure
from modiste.reports.style import (
    BLUE,
    FAINT,
    INK,
    SMALL,
    SPACE,
    VERMILLION,
    WIDTH,
    drawn,
    number_of,
    percent_axis,
    save,
)
from modiste.reproduction.experiments import EXPERIMENTS, Scope
from modiste.reproduction.impact import EARLY, sentences
from modiste.reproduction.paper import Evidence, Finding, mean_and_spread
from modiste.reproduction.study import EpochDifference, Interval, Point, Study
from modiste.reproduction.verdicts import MARGIN, p_value, points, signed
from modiste.runs import storage
from modiste.runs.run_folder import Run

HTML, MARKDOWN, FIGURES = "reproduction.html", "README.md", "figures"
DPI = 150
HEADINGS = ("best epoch", "n", "against the choice", "p", "one-sided bounds")
LAST_HEADINGS = ("last epoch", "against the choice", "gap")
METHOD = (
    "Everything except the named setting is as in the paper. Accuracy is measured on validation, with the weights of "
    "the best epoch, which are selected there: mean ± standard deviation over seeds, and in brackets Student's 95 % "
    "interval of the mean. Each variant is compared with the paper's choice, in points. The interval of the difference "
    "treats both seeds and images as samples; p is corrected by Holm's method over the variants of the experiment. The "
    "difference is beyond each one-sided bound with a probability of 5 %. Intervals after the last epoch treat only "
    "seeds as a sample. The gap is training minus validation accuracy, in points; training accuracy is that during the "
    "epoch, with dropout. In the figures, small points are runs, large points are means, and lines and areas are 95 % "
    "intervals."
)
VERDICTS = (
    "The paper's choice does not hold if a variant is significantly better. It holds if every variant is shown not to "
    f"be better by {points(MARGIN)} points or more: all upper bounds are below this margin. Otherwise it is undecided. "
    "The margin is about half the width of the 95 % interval of the paper's own accuracy on 10,000 images. Where the "
    "paper calls a variant worse, this holds if the variant is significantly worse; it does not hold if the lower "
    "bound is above minus the margin. Experiments with shortened training are not judged."
)
COLOURS = (BLUE, VERMILLION, INK, "#009e73", "#cc79a7")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
"""Colours and dashes of the variants; an experiment has at most five."""


@dataclass(frozen=True)
class Content:
    """The content of the page.

    Attributes:
        scope: How much of the paper's training was done.
        finals: The runs of the final model.
        evidence: The results of those runs, on test too.
        claims: Section, statement and finding of every claim but those of the experiments.
        studies: The results of every experiment, and the finding on it.
        development: The images, for figure 4.
        failures: Runs that did not finish, with the reasons.
        missing: Names of the runs that are not finished yet.
    """

    scope: Scope
    finals: tuple[Run, ...]
    evidence: tuple[Evidence, ...]
    claims: tuple[tuple[str, str, Finding], ...]
    studies: tuple[tuple[Study, Finding], ...]
    development: Development
    failures: tuple[str, ...]
    missing: tuple[str, ...] = ()

    @property
    def findings(self) -> list[tuple[str, str, Finding]]:
        """Section, statement and finding of every claim, those of the experiments last."""
        return [
            *self.claims,
            *((study.experiment.section, study.experiment.statement, found) for study, found in self.studies),
        ]

    def notices(self) -> list[str]:
        """Return sentences on what differs from the paper and what is missing."""
        notices = []
        scope = self.scope
        if not scope.is_whole:
            images = f", {scope.images_per_class:,} training images of each class" if scope.images_per_class else ""
            notices.append(
                f"{'This is the quick reproduction' if scope.images_per_class else 'Shortened'}: "
                f"{number_of(scope.study_epochs, 'epoch')} for the experiments, {scope.epochs} for the final model"
                f"{images}. The paper has 50 epochs and 50,000 images. "
                "Claims about shortened training are measured, not judged."
            )
        used = sorted({run.recipe.precision for run in self.finals})
        if used != ["float32"]:
            notices.append(f"Trained in {' and '.join(used)}; the paper has float32.")
        if len(self.studies) < len(EXPERIMENTS):
            names = ", ".join(study.experiment.name for study, _ in self.studies)
            notices.append(
                f"Of the paper's {len(EXPERIMENTS)} experiments, this page has {len(self.studies)}: {names}."
            )
        if self.missing:
            notices.append(
                f"This page is about an unfinished reproduction. {number_of(len(self.missing), 'run')} "
                f"{'is' if len(self.missing) == 1 else 'are'} missing: {_by_recipe(self.missing)}. Claims that need "
                "them are not judged, and the test set is not opened."
            )
        notices += [f"Not finished: {failure}" for failure in self.failures]
        return notices

    def summary(self) -> str:
        """Return the final model's accuracy on test, and how often the test set was opened, in sentences."""
        selected = [item.picked for item in self.evidence]
        if not selected:
            return "The final model, Listing 1, has not been evaluated on test yet."
        openings = sum(item.last.test_openings for item in self.evidence)
        return (
            f"The final model, Listing 1, {number_of(len(selected), 'seed')}: "
            f"{mean_and_spread([item.accuracy for item in selected])} on test (the paper: 91.32 %). The test set was "
            f"opened {number_of(openings, 'time')}: for each of these runs, with the weights selected on validation "
            "and with those of the last epoch. No other run was evaluated on test."
        )

    def machines(self) -> list[str]:
        """Return a description of each machine that trained; several say which experiments they trained."""
        work = {_machine(self.finals[0].facts()[-1]): ["the final model"]}
        for study, _ in self.studies:
            if study.machine:
                work.setdefault(_machine(study.machine), []).append(study.experiment.name)
        if len(work) == 1:
            return list(work)
        return [f"{', '.join(names).capitalize()}: {machine}" for machine, names in work.items()]

    @cached_property
    def paper_figures(self) -> list[tuple[str, Figure, str]]:
        """Name, figure and caption of the paper's five figures."""
        model, info = self.finals[0].load_model()
        return [
            ("figure-1-layers", neural_network(), "Layers of a network."),
            ("figure-2-activations", activation_curves(), "Activation functions."),
            ("figure-3-network", network_figure(model, info.task.image_shape), "The network."),
            ("figure-4-samples", samples_figure(self.development), "Training images."),
            ("figure-5-curves", curves_figure(self.finals[0]), "Learning curves of the final model, first seed."),
        ]


def write(folder: Path, content: Content) -> tuple[Path, Path]:
    """Write the page in both formats and every figure as a file; return the paths of the page."""
    storage.write_text(folder / HTML, as_html(content))
    for study, _ in content.studies:
        save(study_figure(study), folder / FIGURES / f"{study.experiment.slug}.png", dpi=DPI)
        save(study_curves_figure(study), folder / FIGURES / f"{study.experiment.slug}-curves.png", dpi=DPI)
    for name, figure, _ in content.paper_figures:
        save(figure, folder / FIGURES / f"{name}.png", dpi=DPI)
    storage.write_text(folder / MARKDOWN, as_markdown(content))
    return folder / HTML, folder / MARKDOWN


def as_html(content: Content) -> str:
    """Return the page as HTML."""
    studies = [
        (
            study,
            impact(study, found),
            page_figure(
                study_figure(study),
                study.experiment.slug,
                caption=f"Accuracy and loss by {study.experiment.name}.",
                description=found.measured,
            ),
            page_figure(
                study_curves_figure(study),
                f"{study.experiment.slug}-curves",
                caption=f"Learning curves by {study.experiment.name}, and differences to the paper's choice (the first "
                "epochs may lie outside).",
                description="Validation accuracy of each variant by epoch, averaged over seeds; below it the "
                "difference to the paper's choice in points, with 95 % intervals over seeds.",
            ),
        )
        for study, found in content.studies
    ]
    figures = [
        page_figure(figure, name, caption=caption, description=caption)
        for name, figure, caption in content.paper_figures
    ]
    return page.render(
        "reproduction.html",
        notices=content.notices(),
        summary=content.summary(),
        findings=content.findings,
        method=(METHOD, VERDICTS),
        tables=((HEADINGS, rows), (LAST_HEADINGS, last_rows)),
        studies=studies,
        code=code,
        paper_figures=figures,
        machines=content.machines(),
    )


def code(text: str) -> Markup:
    """Return text as HTML, in which words between backticks are code, as in Markdown.

    >>> print(code("`a < b` holds"))
    <code>a &lt; b</code> holds
    """
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def as_markdown(content: Content) -> str:
    """Return the page as Markdown."""
    parts = ["# The paper, reproduced", *(f"> {line}" for line in content.notices()), content.summary()]
    claims = [
        (section, statement, found.text, f"**{found.verdict}**") for section, statement, found in content.findings
    ]
    parts += ["## Claims", _table(("section", "the paper", "measured", "verdict"), claims)]
    parts += ["## Experiments", METHOD, VERDICTS]
    for study, found in content.studies:
        experiment = study.experiment
        parts += [
            f"### {experiment.name.capitalize()}",
            f"The paper: {experiment.statement}.",
            "\n".join(f"- {sentence}" for sentence in impact(study, found)),
            _table((experiment.name, *HEADINGS), rows(study)),
            _table((experiment.name, *LAST_HEADINGS), last_rows(study)),
            f"![Accuracy and loss by {experiment.name}]({FIGURES}/{experiment.slug}.png)",
            f"![Learning curves by {experiment.name}]({FIGURES}/{experiment.slug}-curves.png)",
        ]
    parts += ["## The paper's figures"]
    parts += [f"![{caption}]({FIGURES}/{name}.png)" for name, _, caption in content.paper_figures]
    return "\n\n".join([*parts, "## Machine", *content.machines()]) + "\n"


def impact(study: Study, found: Finding) -> list[str]:
    """Return what the setting changes, and the verdict with its reason, as sentences."""
    reason = f": {found.reason}" if found.reason else ""
    return [*sentences(study), f"{found.verdict.capitalize()}{reason}."]


def rows(study: Study) -> list[tuple[str, ...]]:
    """Return the rows of an experiment's table at the best epoch: the variant, then what ``HEADINGS`` names."""
    return [
        (
            _named(study, point),
            _accuracy(point.accuracies, point.interval),
            str(len(point.accuracies)),
            "" if point.against_chosen is None else _points(point.against_chosen),
            p_value(point).replace(" ", SPACE),
            "" if point.over_seeds is None else " and ".join(map(signed, point.over_seeds.bounds(LEVEL))),
        )
        for point in study.points
    ]


def last_rows(study: Study) -> list[tuple[str, ...]]:
    """Return the rows of its table after the last epoch: the variant, then what ``LAST_HEADINGS`` names."""
    return [
        (
            _named(study, point),
            f"{point.curve[-1]:.2%}",
            _points(point.trend[-1]) if point.trend else "",
            signed(mean(point.gaps)),
        )
        for point in study.points
    ]


def _named(study: Study, point: Point) -> str:
    return f"{point.label} (the paper's)" if point.label == study.experiment.chosen else point.label


def _machine(facts: Mapping[str, Any]) -> str:
    return (
        f"{facts['processor']}, {facts['cores']} cores, {number_of(facts['threads'], 'thread')} a run, "
        f"{facts['memory_bytes'] / 2**30:.0f} GiB; {facts['system']}, Python {facts['python']}, "
        f"torch {facts['torch']}, commit {facts['commit']}."
    )


def _by_recipe(names: Sequence[str]) -> str:
    """Return the names of runs, with the seeds of each recipe together: ``paper (3, 4), dropout-0 (0)``."""
    seeds: dict[str, list[str]] = {}
    for name in names:
        recipe, _, seed = name.rpartition("-seed-")
        seeds.setdefault(recipe, []).append(seed)
    return ", ".join(f"{recipe} (seed {', '.join(numbers)})" for recipe, numbers in seeds.items())


def _accuracy(values: Sequence[float], interval: tuple[float, float] | None) -> str:
    average = f"{sum(values) / len(values):.2%}"
    return average if interval is None else f"{average} ± {stdev(values):.2%} ({interval[0]:.2%} to {interval[1]:.2%})"


def _points(found: Difference | EpochDifference) -> str:
    interval = "" if found.interval is None else f" ({' to '.join(map(signed, found.interval))})"
    return signed(found.difference) + interval


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *lines))


@drawn
def study_figure(study: Study) -> Figure:
    """Return a chart of validation accuracy and loss by variant: runs, their mean, its 95 % interval over seeds."""
    figure = Figure(figsize=(WIDTH, 4.2))
    accuracies, losses = figure.subplots(2, 1, sharex=True)
    _draw(accuracies, study, [(point.accuracies, point.interval) for point in study.points], VERMILLION)
    _draw(losses, study, [(point.losses, point.loss_interval) for point in study.points], BLUE)
    _mark_choice(accuracies, study)
    accuracies.set(ylabel="validation accuracy")
    percent_axis(accuracies, "y")
    losses.set(ylabel="validation loss", xlabel=study.experiment.name)
    losses.set_xticks(range(len(study.points)), [point.label for point in study.points])
    losses.set_xlim(-0.5, len(study.points) - 0.5)
    return figure


@drawn
def study_curves_figure(study: Study) -> Figure:
    """Return charts by epoch: validation accuracy of each variant, and its difference to the paper's choice."""
    figure = Figure(figsize=(WIDTH, 4.6))
    accuracies, differences = figure.subplots(2, 1, sharex=True)
    for point, colour, dashes in zip(study.points, COLOURS, DASHES, strict=False):
        style = {"color": colour, "linestyle": dashes, "marker": "o" if len(point.curve) == 1 else ""}
        accuracies.plot(range(1, len(point.curve) + 1), point.curve, label=point.label, **style)
        _draw_trend(differences, point.trend, style)
    differences.axhline(0, color=FAINT, linestyle=":", linewidth=1, zorder=0)
    if span := _span(study.others):
        differences.set_ylim(*span)
    accuracies.set(ylabel="validation accuracy")
    percent_axis(accuracies, "y")
    differences.set(xlabel="epoch", ylabel="against the choice, points")
    differences.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    for axes in (accuracies, differences):
        axes.grid(axis="y")
    figure.legend(
        *accuracies.get_legend_handles_labels(),
        loc="outside right center",
        title=study.experiment.name,
        fontsize=SMALL,
        title_fontsize=SMALL,
    )
    return figure


def _draw_trend(axes: Axes, trend: Sequence[EpochDifference], style: dict[str, Any]) -> None:
    epochs = range(1, len(trend) + 1)
    axes.plot(epochs, [100 * one.difference for one in trend], **style)
    intervals = [one.interval for one in trend]
    if len(trend) > 1 and None not in intervals:
        lows, highs = ([100 * end for end in side] for side in zip(*filter(None, intervals), strict=True))
        axes.fill_between(epochs, lows, highs, color=style["color"], alpha=0.15, linewidth=0)


def _span(variants: Sequence[Point]) -> tuple[float, float] | None:
    """Return the limits of the axis of differences: those after the first tenth of the epochs fit, with 0."""
    late = [one for point in variants for one in point.trend[len(point.trend) // EARLY :]]
    if not late:
        return None
    values = [100 * value for one in late for value in (one.difference, *(one.interval or ()))]
    low, high = min(0.0, *values), max(0.0, *values)
    room = 0.06 * (high - low) or 1.0
    return low - room, high + room


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
