"""The report of a run: one HTML page that loads nothing else, without JavaScript."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from modiste.data.dataset import Development
from modiste.errors import RunError
from modiste.evaluation.assessment import Assessment, assess_stored
from modiste.evaluation.run_images import development_of
from modiste.recipes import named
from modiste.recipes.plain import to_plain
from modiste.recipes.recipe import Recipe
from modiste.reports import page, run_figures
from modiste.reports.interpretation import read_fit
from modiste.reports.style import SPACE
from modiste.runs import run_folder, storage
from modiste.runs.run_folder import Run

REPORT = "report.html"
SELECTED_BY = {
    "best-accuracy": "the epoch with the highest validation accuracy",
    "best-loss": "the epoch with the lowest validation loss",
    "last": "the last epoch, regardless of validation",
}
"""By the recipe's field ``pick``: whose weights the run keeps."""


def write_report(folder: Path, *, data_folder: Path | None = None) -> Path:
    """Write ``report.html`` into the folder of a finished run and return the file's path.

    The test set is not opened: test figures come from the logits that ``modiste evaluate --split test`` stored.
    Pictures are training and validation images.

    Args:
        folder: folder of a finished run.
        data_folder: folder of the images, if they are not where ``load_dataset`` looks for them.

    Raises:
        RunError: the run is unfinished or damaged, or was trained on other images.
        DataError: the images are missing or damaged.
        StorageError: the page cannot be written.

    Example::

        write_report(Path("runs/sprint"))  # runs/sprint/report.html
    """
    run = run_folder.open_run(folder)
    path = run.folder / REPORT
    storage.write_text(path, render(run, _development(run, data_folder)))
    return path


def render(run: Run, development: Development) -> str:
    """Return the page as HTML."""
    validation = assess_stored(run, split="validation")
    tested = run_folder.is_listed(run, run_folder.logits_name("test"))
    test = assess_stored(run, split="test") if tested else None
    return page.render(
        "run.html",
        run=run,
        selected_by=SELECTED_BY[run.recipe.pick],
        validation=validation,
        test=test,
        reading=read_fit(run.history, run.recipe),
        recipe_parts=recipe_parts(run.recipe),
        starts=[dict(_describe_start(start)) for start in run.facts()],
        timing=describe_timing(run.timing()),
        **_draw(run, development, validation),
    )


def _development(run: Run, data_folder: Path | None) -> Development:
    """Load the run's images; raises RunError if their validation labels are not those of the run."""
    development = development_of(run, data_folder)
    if not run.measured().labels.equal(development.validation.labels):
        raise RunError(
            f"{run.folder}: the data found are not those it was trained on; restore them or use --data-folder"
        )
    return development


def _draw(run: Run, development: Development, validation: Assessment) -> dict[str, Any]:
    measured = run.measured()
    logits, labels = measured.logits, measured.labels
    return {
        "curves": run_figures.curves(run, read_fit(run.history, run.recipe)),
        "confusion": run_figures.confusion(validation),
        "reliability": run_figures.reliability(validation),
        "mistakes": run_figures.mistakes(development, logits, labels),
        "cells": run_figures.cells(development, logits, labels),
        "samples": run_figures.samples(development),
        "augmented": run_figures.augmented(run, development),
        "network": run_figures.network(run),
        "part": run_figures.part(run),
        "views": run_figures.views(run, development),
    }


@dataclass(frozen=True)
class Field:
    """One field of a recipe.

    Attributes:
        name: its name.
        value: its value in this run.
        usual: its value in the recipe of the same name; None if that is the same.
    """

    name: str
    value: str
    usual: str | None


def recipe_parts(recipe: Recipe) -> dict[str, list[Field]]:
    """Return the fields of every part of a recipe, compared with the built-in recipe of the same name.

    A recipe with another name is compared with the defaults.
    """
    usual = named.RECIPES[recipe.name]() if recipe.name in named.RECIPES else Recipe(name=recipe.name)
    before, plain = to_plain(usual), to_plain(recipe)
    nested = {name: _compare(part, before[name]) for name, part in plain.items() if isinstance(part, Mapping)}
    return {"training": _compare(plain, before), **nested}


def _compare(part: Mapping[str, Any], before: Mapping[str, Any]) -> list[Field]:
    return [
        Field(name, _as_text(value), None if before.get(name) == value else _as_text(before.get(name, "no such field")))
        for name, value in part.items()
        if not isinstance(value, Mapping)
    ]


def describe_timing(epochs: list[dict[str, Any]]) -> dict[str, str]:
    """Return total time, median time and speed of an epoch, and peak memory, as text."""
    if not epochs:
        return {"whole training": "not recorded"}
    seconds = [epoch["seconds"] for epoch in epochs]
    return {
        "whole training": duration(sum(seconds)),
        "an epoch, median": duration(median(seconds)),
        "training speed, median": f"{median(epoch['images_per_second'] for epoch in epochs):,.0f} images a second",
        "peak memory": gibibytes(max(epoch["peak_memory_bytes"] for epoch in epochs)),
    }


def _describe_start(start: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in start.items():
        if name.endswith("_bytes"):
            yield name.removesuffix("_bytes"), gibibytes(value)
        else:
            yield name.replace("_", " "), _as_text(value)


def duration(seconds: float) -> str:
    """Return a time as ``12.4 s``, ``3 min 5 s`` or ``2 h 10 min``."""
    if seconds < 60:
        return f"{seconds:.1f}{SPACE}s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}{SPACE}min {whole % 60}{SPACE}s"
    return f"{whole // 3600}{SPACE}h {whole % 3600 // 60}{SPACE}min"


def gibibytes(size_bytes: int) -> str:
    """Return a size as ``23.5 GiB``."""
    return f"{size_bytes / 2**30:.1f}{SPACE}GiB"


def _as_text(value: Any) -> str:
    """Return a plain value as text for a reader."""
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
