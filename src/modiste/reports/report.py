"""The report of a run: one HTML page that loads nothing else, without JavaScript."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from modiste.data.dataset import Development, ImageSet, shown_once
from modiste.errors import RunError
from modiste.evaluation.assessment import Assessment, Split, assess_stored, load_split
from modiste.evaluation.run_images import development_of, load_same_development
from modiste.evaluation.unfinished import UnfinishedRun, is_unfinished, open_unfinished
from modiste.models.registry import count_parameters
from modiste.recipes import claims
from modiste.reports import page, run_figures
from modiste.reports.interpretation import read_fit
from modiste.reports.recipe_table import as_text, changed_fields, main_fields, recipe_parts, usual_name
from modiste.reports.style import SPACE, percent
from modiste.runs import run_folder, storage
from modiste.runs.run_folder import Run

REPORT, UNFINISHED = "report.html", "{}-unfinished.html"
"""Names of the page: in the run's folder, and of a run that has not finished in the current folder."""
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
SELECTED_BY = {
    "best-accuracy": "the epoch with the highest validation accuracy",
    "best-loss": "the epoch with the lowest validation loss",
    "last": "the last epoch, regardless of validation",
}
"""By the recipe's field ``pick``: whose weights the run keeps."""
PAPER = "paper"
"""Name of the recipe whose runs have the paper's figures beside their own."""
NOT_MEASURED = "not evaluated"


def write_report(
    folder: Path,
    *,
    data: Any = None,
    data_folder: Path | None = None,
    out: Path | None = None,
    title: str = "",
    author: str = "",
) -> Path:
    """Write the report of a run, and return the file's path.

    The test set is not opened: test figures come from the logits that ``modiste evaluate --split test`` stored.
    Pictures are training and validation images. The report of a run that has not finished is of its newest training
    state, and a warning says so; its folder stays as it is, so that the run can go on to the same bytes.

    Args:
        folder: Folder of a run.
        data: The data in memory that the run was trained on, as ``modiste.train`` takes them.
        data_folder: Folder of the images, if they are not where ``load_dataset`` looks for them.
        out: Path of the page; by default ``report.html`` in the folder, or ``NAME-unfinished.html`` in the current one.
        title: Heading of the page; by default the name of the recipe.
        author: Name of who hands the report in; empty for none.

    Raises:
        RunError: The run is damaged, has not finished an epoch, or was trained on other images; or ``out`` is part of a
            run.
        DataError: The images are missing or damaged.
        StorageError: The page cannot be written.

    Example::

        write_report(Path("runs/sprint"), author="Ada")  # runs/sprint/report.html
    """
    if out:
        run_folder.demand_no_part_of_a_run(out)
    if is_unfinished(folder):
        return _write_unfinished(folder, data, data_folder, out, title=title, author=author)
    run = run_folder.open_run(folder)
    path = out or run.folder / REPORT
    storage.write_text(path, render(run, load_images(run, data_folder, data), title=title, author=author))
    return path


def _write_unfinished(
    folder: Path, data: Any, data_folder: Path | None, out: Path | None, *, title: str, author: str
) -> Path:
    """Write the report of a run that has not finished; arguments and errors as ``write_report``."""
    path = out or Path(UNFINISHED.format(folder.resolve().name))
    if path.resolve().is_relative_to(folder.resolve()):
        raise RunError(f"{path}: lies in the folder of a run that has not finished; write the report elsewhere")
    run, development = open_unfinished(folder, data=data, data_folder=data_folder)
    if not run.history:
        raise RunError(f"{folder}: has not finished its first epoch, and a report needs one; continue its training")
    done = f"epoch {len(run.history)} of {run.recipe.epochs}"
    logging.getLogger(__name__).warning("%s has not finished: the report shows it after %s", folder, done)
    storage.write_text(path, render(run, _each_once(run, development), title=title, author=author))
    return path


def render(run: Run, development: Development, *, title: str = "", author: str = "") -> str:
    """Return the page as HTML; see ``write_report``."""
    validation = assess_stored(run, split="validation")
    tested = run_folder.is_listed(run, run_folder.logits_name("test"))
    test = assess_stored(run, split="test") if tested else None
    parts = recipe_parts(run.recipe)
    return page.render(
        "run.html",
        run=run,
        unfinished=run if isinstance(run, UnfinishedRun) else None,
        title=title or run.recipe.name,
        author=author,
        date=training_date(run),
        selected_by=SELECTED_BY[run.recipe.pick],
        validation=validation,
        test=test,
        reading=read_fit(run.history, run.recipe),
        usual=usual_name(run.recipe),
        recipe_parts=parts,
        changed=changed_fields(parts),
        main_fields=main_fields(parts),
        paper=published_beside(run, validation, test),
        starts=[dict(_describe_start(start)) for start in run.facts()],
        timing=describe_timing(run.timing()),
        **_draw(run, development, validation),
    )


def load_images(run: Run, data_folder: Path | None, data: Any = None) -> Development:
    """Load the run's images, each training image once; RunError if the validation labels are not those of the run."""
    if data is not None:
        development = load_same_development(run.recipe, run.load_info().fingerprint, run.folder, data=data)
        return _each_once(run, development)
    development = development_of(run, data_folder)
    if not run.measured().labels.equal(development.validation.labels):
        raise RunError(
            f"{run.folder}: the data found are not those it was trained on; restore them or use --data-folder"
        )
    return _each_once(run, development)


def _each_once(run: Run, development: Development) -> Development:
    """Return the images without the repeats that an epoch shows."""
    return replace(development, train=shown_once(development.train, run.recipe.data))


def load_measured_images(run: Run, split: Split, data_folder: Path | None) -> ImageSet:
    """Load the images of a split on which the run was measured already; nothing is measured or counted.

    Raises:
        RunError: The run was not measured on this split, or the images are others.
        DataError: The images are missing or damaged.
    """
    measured = run.measured(split)  # before the images: a test set that was not opened stays closed
    if split == "validation":
        return load_images(run, data_folder).validation
    images = load_split(run, split, data_folder)
    if not measured.labels.equal(images.labels) or measured.images not in ("", images.identity()):
        raise RunError(
            f"{run.folder}: the test images found are not those it was measured on; restore them or use --data-folder"
        )
    return images


def training_date(run: Run) -> str:
    """Return the day (UTC) on which the run was last started, as ``28 November 2026``; empty if not recorded."""
    try:
        started = datetime.fromisoformat(str(run.facts()[-1].get("time", "")))
    except ValueError:
        return ""
    return f"{started.day} {MONTHS[started.month - 1]} {started.year}"


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
            yield name.replace("_", " "), as_text(value)


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


@dataclass(frozen=True)
class Beside:
    """The paper's figures beside a run's.

    Attributes:
        rows: What, the paper's figure, the run's figure.
        classes: Class name, the paper's F1 on test, the run's F1.
        split: The images of the run's F1: ``test`` if the run was evaluated on test, else ``validation``.
    """

    rows: tuple[tuple[str, str, str], ...]
    classes: tuple[tuple[str, str, str], ...]
    split: str


def published_beside(run: Run, validation: Assessment, test: Assessment | None) -> Beside | None:
    """Return the paper's figures beside a run's; None unless it is of recipe ``paper`` on the paper's classes."""
    if run.recipe.name != PAPER or tuple(validation.per_class) != tuple(claims.PAPER_TABLE_2):
        return None
    measured = test or validation
    classes = tuple(
        (name, f"{figures[2]:.2f}", "no images" if f1 is None else f"{f1:.4f}")
        for (name, figures), f1 in zip(
            claims.PAPER_TABLE_2.items(), (scores.f1 for scores in measured.per_class.values()), strict=True
        )
    )
    return Beside((*_training_rows(run), *_test_rows(run, test)), classes, measured.split)


def _training_rows(run: Run) -> tuple[tuple[str, str, str], ...]:
    last = run.history[-1]
    parameters = count_parameters(run.load_model()[0])
    return (
        ("trainable parameters", f"{claims.PAPER_PARAMETERS:,}", f"{parameters:,}"),
        ("epochs", str(claims.PAPER_EPOCHS), str(last.epoch)),
        ("training accuracy, last epoch", percent(claims.PAPER_TRAIN_ACCURACY), percent(last.train_accuracy)),
        ("training loss, last epoch", f"{claims.PAPER_TRAIN_LOSS:.4f}", f"{last.train_loss:.4f}"),
        (
            "validation accuracy, last epoch",
            percent(claims.PAPER_VALIDATION_ACCURACY),
            percent(last.validation_accuracy),
        ),
        ("validation loss, last epoch", f"{claims.PAPER_VALIDATION_LOSS:.4f}", f"{last.validation_loss:.4f}"),
    )


def _test_rows(run: Run, test: Assessment | None) -> tuple[tuple[str, str, str], ...]:
    epoch = run.picked.epoch
    return (
        (
            f"test accuracy, this run at epoch {epoch}",
            percent(claims.PAPER_TEST_ACCURACY),
            percent(test.accuracy) if test else NOT_MEASURED,
        ),
        (
            f"test loss, this run at epoch {epoch}",
            f"{claims.PAPER_TEST_LOSS:.4f}",
            f"{test.loss:.4f}" if test else NOT_MEASURED,
        ),
    )
