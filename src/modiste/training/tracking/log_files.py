"""The log files of a run folder."""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from modiste.errors import RunError
from modiste.recipes.recipe import Recipe
from modiste.runs import run_folder
from modiste.runs.run_folder import EpochRow, PretrainingRow
from modiste.training.tracking.listener import Listener, Timing


class FileLog(Listener):
    """Writes the log files. ``timing.jsonl`` differs between runs; the others depend on recipe and data alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[dict[str, Any]] = []
        self.timings: list[dict[str, Any]] = []
        self.pretraining: list[dict[str, Any]] = []

    def pretraining_epoch_done(self, row: PretrainingRow) -> None:
        """Add a line to the log of the warm start."""
        self.pretraining.append(asdict(row))
        run_folder.write_lines(self.folder / run_folder.PRETRAINING, self.pretraining)

    def started(self, recipe: Recipe, steps_per_epoch: int, history: Sequence[EpochRow], step: int) -> None:
        """Keep the lines of the epochs in ``history``, without their timings if that file is damaged."""
        self.rows = [asdict(row) for row in history]
        self.timings = self._earlier_timings(len(history))
        self._write()

    def epoch_done(self, row: EpochRow, timing: Timing) -> None:
        """Add a line to the log and to the timings."""
        self.rows.append(asdict(row))
        self.timings.append({"epoch": row.epoch, **asdict(timing)})
        self._write()

    def _earlier_timings(self, epochs: int) -> list[dict[str, Any]]:
        """Return the timings of the first epochs; none, with a warning, if their file is damaged."""
        path = self.folder / run_folder.TIMING
        try:
            lines = run_folder.read_lines(path) if path.exists() else []
            return [line for line in lines if line["epoch"] <= epochs]
        except (KeyError, TypeError):
            reason = f"{path}: damaged, a line has no epoch"
        except RunError as error:
            reason = str(error)
        logging.getLogger(__name__).warning("%s; the timings of earlier epochs are lost", reason)
        return []

    def _write(self) -> None:
        run_folder.write_lines(self.folder / run_folder.LOG, self.rows)
        run_folder.write_lines(self.folder / run_folder.TIMING, self.timings)
