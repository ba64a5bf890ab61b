"""What every tracker records of a run: an identity, parameters, figures of each epoch, files."""

import secrets
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

from modiste.errors import RunError
from modiste.recipes.plain import flatten, to_plain
from modiste.recipes.recipe import Recipe
from modiste.runs import manifest, run_folder, storage
from modiste.runs.run_folder import EpochRow, Run
from modiste.training.tracking.listener import Timing

IDENTITY = run_folder.TRACKING
FILES = (
    run_folder.WEIGHTS["picked"],
    run_folder.RECIPE,
    run_folder.LOG,
    run_folder.TIMING,
    run_folder.FACTS,
    manifest.NAME,
    "report.html",
)
"""Files of a finished run that trackers keep; the report only where there is one."""

_IDENTIFYING = threading.Lock()
"""Trackers of one run have a thread each, and only one of them may make the identity."""


def identify(folder: Path) -> str:
    """Return the run's identity for trackers, 16 hexadecimal digits, by which a resumed run is the same run to them.

    It is random, and kept in a hidden file of the run folder, which the manifest does not list.

    Raises:
        RunError: The file holds something else.
        StorageError: It cannot be read or written.
    """
    path = folder / IDENTITY
    with _IDENTIFYING:
        if not path.exists():
            storage.write_json(path, {"id": secrets.token_hex(8)})
    plain = storage.read_json(path)
    found = plain.get("id") if isinstance(plain, dict) else None
    if not isinstance(found, str) or not found.isalnum():
        raise RunError(f"{path}: expected the run's identity for trackers, found something else; delete the file")
    return found


def parameters(recipe: Recipe) -> dict[str, Any]:
    """Return every field of the recipe by its path, such as ``optimizer.learning_rate``.

    >>> parameters(Recipe(name="x"))["optimizer.learning_rate"]
    0.001
    """
    return dict(flatten(to_plain(recipe)))


def figures(row: EpochRow, timing: Timing | None = None) -> dict[str, int | float]:
    """Return the figures of an epoch by name, without its number; seconds and memory only if ``timing`` is known."""
    known = asdict(row) | (asdict(timing) if timing else {})
    return {name: value for name, value in known.items() if name != "epoch"}


def summary(run: Run) -> dict[str, int | float]:
    """Return the figures of the selected epoch, whose weights are the model."""
    best = run.picked
    return {
        "selected_epoch": best.epoch,
        "selected_validation_accuracy": best.validation_accuracy,
        "selected_validation_loss": best.validation_loss,
    }


def files(run: Run) -> list[Path]:
    """Return the files of a finished run that trackers keep, those that exist."""
    return [run.folder / name for name in FILES if (run.folder / name).is_file()]
