"""The page of a test of drift: verdict, advice, and a chart of each quantity before and now."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from modiste.monitoring.drift import LEAST_DISTANCE, LEAST_INDEX, LEVEL, Drift, Share, Shift
from modiste.reports import page
from modiste.reports.run_figures import PageFigure, page_figure
from modiste.reports.style import FAINT, MUTED, SMALL, VERMILLION, WIDTH, drawn, fit, percent, percent_axis
from modiste.runs import run_folder, storage

MOST_ROWS = 25
"""Rows of a chart; of more classes, those that differ most are shown."""
TITLES = {"classes": "Classes", "confidence": "Confidence", "novelty": "Novelty"}
QUESTIONS = {
    "classes": "Does the model answer other classes than before?",
    "confidence": "Is the model less sure than before?",
    "novelty": "Do the pictures look less like those that it learnt from?",
}
CAPTIONS = {
    "classes": "Share of the answers with each class.",
    "confidence": "Share of the answers by largest probability.",
    "novelty": "Share of the answers by novelty score; above 1 a picture shows none of the classes.",
}


def write_drift(found: Drift, path: Path) -> Path:
    """Write the page of a test of drift, and return its path.

    Args:
        found: What ``modiste.drift`` returned.
        path: Path of the HTML file.

    Raises:
        RunError: The path is part of a run.
        StorageError: The page cannot be written.
    """
    run_folder.demand_no_part_of_a_run(path)
    storage.write_text(path, render(found))
    return path


def render(found: Drift) -> str:
    """Return the page as HTML."""
    return page.render(
        "drift.html",
        found=found,
        level=LEVEL,
        least_distance=LEAST_DISTANCE,
        least_index=LEAST_INDEX,
        parts=[(one, TITLES[one.name], QUESTIONS[one.name], _figure(one)) for one in found.shifts],
    )


def _figure(shift: Shift) -> PageFigure:
    shown = _most_changed(shift.shares)
    left_out = len(shift.shares) - len(shown)
    rest = f" The {len(shown)} that differ most; {left_out} more are in the JSON output." if left_out else ""
    return page_figure(
        share_bars(shown),
        shift.name,
        caption=f"{CAPTIONS[shift.name]} Grey: before; orange: now.{rest}",
        description="; ".join(f"{one.bin}: {percent(one.before)} before, {percent(one.now)} now" for one in shown),
    )


def _most_changed(shares: Sequence[Share]) -> list[Share]:
    """Return the MOST_ROWS shares that differ most, in their order."""
    changes = [abs(one.now - one.before) for one in shares]
    largest = sorted(range(len(shares)), key=lambda place: -changes[place])[:MOST_ROWS]
    return [shares[place] for place in sorted(largest)]


@drawn
def share_bars(shares: Sequence[Share]) -> Figure:
    """Return a chart with two bars for each bin: its share before and now."""
    figure = Figure(figsize=(WIDTH, 0.8 + 0.32 * len(shares)))
    axes = figure.subplots()
    rows = range(len(shares))
    axes.barh([row - 0.2 for row in rows], [one.before for one in shares], 0.38, color=MUTED, edgecolor=FAINT)
    axes.barh([row + 0.2 for row in rows], [one.now for one in shares], 0.38, color=VERMILLION, edgecolor=FAINT)
    axes.set_yticks(list(rows), [fit(one.bin, WIDTH / 3, SMALL) for one in shares])
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.grid(axis="x")
    percent_axis(axes, "x")
    return figure
