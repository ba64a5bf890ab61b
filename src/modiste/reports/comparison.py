"""One page about several finished runs: accuracies, verdicts, curves, and the images that only one gets right."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from modiste.data.dataset import ImageSet
from modiste.evaluation.assessment import Split
from modiste.evaluation.comparison import Comparison, Contrast, Side, compare_measured, different_paths
from modiste.evaluation.ensemble import MeasuredRuns, measure_runs, read_measured_runs
from modiste.reports import page
from modiste.reports.images import captioned_grid
from modiste.reports.report import duration, load_measured_images, training_date
from modiste.reports.run_figures import PageFigure, page_figure
from modiste.reports.style import BLUE, INK, VERMILLION, WIDTH, drawn, fit, number_of, percent, percent_axis, shorten
from modiste.runs import run_folder, storage
from modiste.runs.run_folder import EpochRow

COMPARISON = "comparison.html"
MOST_IMAGES = 12
"""Images of one side of a contrast that the page shows."""
MOST_CONTRASTS = 3
"""Contrasts whose classes and images the page shows; every contrast has its verdict."""
COLOURS = (BLUE, VERMILLION, "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES = ("-", "--", "-.", ":")
"""Of the sides in turn: their number of colours, markers and dashes differ, so that many sides stay apart."""
LEGEND_SIZE = 9.0
BEST = {"loss": min, "accuracy": max}


def write_comparison(
    folders: Sequence[Path | str],
    *,
    split: Split = "validation",
    out: Path | None = None,
    data_folder: Path | None = None,
    title: str = "",
    author: str = "",
) -> Path:
    """Write one page about several finished runs, and return its path.

    Args:
        folders: Folders of at least two runs with the same classes and the same images.
        split: ``validation``; or ``test``, if every run was already evaluated on test. No evaluation is counted.
        out: Path of the page; by default ``comparison.html`` in the current folder.
        data_folder: Folder of the images, if they are not where ``load_dataset`` looks for them.
        title: Heading of the page.
        author: Name of who hands the page in; empty for none.

    Raises:
        RunError: As ``evaluation.comparison.compare``; or a run was not yet evaluated on test, or ``out`` is part of
            a run.
        DataError: The images are missing or damaged.
        MissingExtraError: There are several seeds, and SciPy is not installed.
        StorageError: The page cannot be written.

    Example::

        write_comparison(["runs/paper", "runs/sprint"])  # comparison.html
    """
    paths = different_paths(folders)
    if out:
        run_folder.demand_no_part_of_a_run(out)
    found = read_measured_runs(paths, split) if split == "test" else measure_runs(paths, data_folder=data_folder)
    path, images = out or Path(COMPARISON), load_measured_images(found.runs[0], split, data_folder)
    storage.write_text(path, render(found, images, title=title, author=author))
    return path


def render(found: MeasuredRuns, images: ImageSet, *, title: str = "", author: str = "") -> str:
    """Return the page as HTML; see ``write_comparison``."""
    full, names = compare_measured(found, found.split), _folder_names(found)
    result = _with_short_names(full, dict(zip((str(run.folder) for run in found.runs), names, strict=True)))
    dates = {training_date(run) for run in found.runs}
    shown = result.contrasts[:MOST_CONTRASTS]
    return page.render(
        "comparison.html",
        title=title or f"Comparison of {number_of(len(found.runs), 'run')}",
        author=author,
        date=dates.pop() if len(dates) == 1 else "",
        folders=", ".join(names),
        result=result,
        rows=_rows(found, full, names),
        cards=[(side, _interval(found, side)) for side in result.sides[:MOST_CONTRASTS]],
        curves=_curves(found, result),
        extra=[name for name, run in zip(names, found.runs, strict=True) if run.recipe.data.extra],
        contrasts=[_ContrastPart(one, _alone(found, images, result, one, number)) for number, one in enumerate(shown)],
    )


@dataclass(frozen=True)
class RunRow:
    """One run in the table: its folder, its side, and its measures as text."""

    folder: str
    side: str
    seed: int
    accuracy: str
    interval: str
    loss: str
    epoch: str
    time: str


@dataclass(frozen=True)
class _ContrastPart:
    """A contrast, and the figures of the images that only its first or its second side classifies correctly."""

    contrast: Contrast
    figures: tuple[PageFigure, ...]


def _folder_names(found: MeasuredRuns) -> list[str]:
    """Return the names of the runs' folders; if two share a name, their paths inside the folder that holds all.

    The paths are whole where no folder holds all, as on two drives.
    """
    names = [run.folder.name for run in found.runs]
    if len(set(names)) == len(names):
        return names
    paths = [run.folder.resolve() for run in found.runs]
    try:
        common = os.path.commonpath(paths)
    except ValueError:
        return list(map(str, paths))
    return [str(path.relative_to(common)) for path in paths]


def _with_short_names(result: Comparison, folders: Mapping[str, str]) -> Comparison:
    """Name every side of a single run by its folder, unless two sides would then share a name."""
    short = {side.name: folders[side.folders[0]] if len(side.folders) == 1 else side.name for side in result.sides}
    if len(set(short.values())) < len(short):
        return result
    return replace(
        result,
        sides=tuple(replace(side, name=short[side.name]) for side in result.sides),
        contrasts=tuple(replace(one, first=short[one.first], second=short[one.second]) for one in result.contrasts),
    )


def _rows(found: MeasuredRuns, result: Comparison, names: Sequence[str]) -> list[RunRow]:
    sides = _sides_by_run(found, result)
    return [
        RunRow(
            folder=name,
            side=side.name,
            seed=run.recipe.seed,
            accuracy=percent(measured.accuracy),
            interval=" to ".join(map(percent, measured.accuracy_interval)),
            loss=f"{measured.loss:.4f}",
            epoch=f"{run.picked.epoch} of {len(run.history)}" if run.recipe.epochs else "none",
            time=duration(sum(row["seconds"] for row in run.timing())),
        )
        for name, side, run, measured in zip(names, sides, found.runs, found.assessments, strict=True)
    ]


def _interval(found: MeasuredRuns, side: Side) -> str:
    """Return the 95 % interval of a side's accuracy: over seeds, or for a single run Wilson's over images."""
    of_run = next(
        measured.accuracy_interval
        for run, measured in zip(found.runs, found.assessments, strict=True)
        if str(run.folder) in side.folders
    )
    return " to ".join(map(percent, side.interval or of_run))


def _sides_by_run(found: MeasuredRuns, result: Comparison) -> list[Side]:
    """Return the side of each run."""
    by_folder = {folder: side for side in result.sides for folder in side.folders}
    return [by_folder[str(run.folder)] for run in found.runs]


def _curves(found: MeasuredRuns, result: Comparison) -> PageFigure:
    positions = [result.sides.index(side) for side in _sides_by_run(found, result)]
    names = [side.name for side in result.sides]
    last = "; ".join(
        f"{name}: {result.split} accuracy {percent(side.mean)}" for name, side in zip(names, result.sides, strict=True)
    )
    return page_figure(
        laid_over([run.history for run in found.runs], positions, names),
        "curves",
        caption="Learning curves on validation, laid over one another; the axes span only their values. A ring marks "
        "the lowest loss and the highest accuracy of each run.",
        description=last,
    )


def _alone(
    found: MeasuredRuns, images: ImageSet, result: Comparison, contrast: Contrast, number: int
) -> tuple[PageFigure, ...]:
    """Return the figures of the images that only the first, and only the second side classifies correctly."""
    sides = {side.name: side for side in result.sides}
    pairs = (
        (contrast.first, contrast.second, contrast.first_alone),
        (contrast.second, contrast.first, contrast.second_alone),
    )
    return tuple(
        _only_one(found, images, (winner, sides[loser]), positions, f"alone{number}{place}")
        for place, (winner, loser, positions) in enumerate(pairs)
        if positions
    )


def _only_one(
    found: MeasuredRuns,
    images: ImageSet,
    names: tuple[str, Side],
    positions: Sequence[int],
    name: str,
) -> PageFigure:
    """Return a figure of images that the loser's runs mostly get wrong, with what they take them for."""
    winner, loser = names
    shown = list(positions[:MOST_IMAGES])
    runs = [logits for run, logits in zip(found.runs, found.logits, strict=True) if str(run.folder) in loser.folders]
    captions = [_caption(index, runs, found) for index in shown]
    count = number_of(len(positions), "image")
    some = f"; the first {len(shown)} are shown" if len(shown) < len(positions) else ""
    return page_figure(
        captioned_grid(images.images[shown], captions),
        name,
        caption=f"{count} that only {winner} gets right{some}. Beneath each image: its number, its class, and what "
        f"{loser.name} takes it for.",
        description="; ".join(" ".join(lines) for lines in captions),
    )


def _caption(index: int, logits: Sequence[Tensor], found: MeasuredRuns) -> list[str]:
    label = int(found.labels[index])
    wrong = [guess for guess in (int(one[index].argmax()) for one in logits) if guess != label]
    usual = max(sorted(set(wrong)), key=wrong.count)
    names = found.class_names
    return [f"image {index}", f"is {shorten(names[label], 15)}", f"read as {shorten(names[usual], 12)}"]


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
    first, last = min(rows[0].epoch for rows in histories), max(rows[-1].epoch for rows in histories)
    margin = min(0.9, max(0.4, last / 50))  # less than 1: epoch 0 is there only if a last layer was fitted at once
    losses.set_xlim(first - margin, last + margin)
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
