"""Runs in TensorBoard: event files in ``tensorboard/`` of the run folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modiste.errors import extra_for
from modiste.recipes.recipe import Recipe
from modiste.runs import storage
from modiste.runs.run_folder import EpochRow
from modiste.training.tracking.listener import Listener, Timing
from modiste.training.tracking.tracked_run import figures, parameters

FIGURES = (
    "learning_rate",
    "train_loss",
    "train_accuracy",
    "validation_loss",
    "validation_accuracy",
    "seconds",
    "images_per_second",
    "peak_memory_bytes",
)
WITNESS = "validation_accuracy"
"""Figure whose points show which epochs the files have."""


class TensorBoardTracker(Listener):
    """Writes the recipe as text, and one point per figure and epoch, by step."""

    def __init__(self, folder: Path, _recipe: Recipe) -> None:
        with extra_for("--track tensorboard", "TensorBoard", "tensorboard"):
            from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
                EventAccumulator,
            )
            from torch.utils.tensorboard import SummaryWriter
        self._read: Any = EventAccumulator
        self._folder, self._make_writer = folder / "tensorboard", SummaryWriter
        self._writer: Any = None

    def started(self, recipe: Recipe, steps_per_epoch: int, history: Sequence[EpochRow], step: int) -> None:
        """Open the file, and add the epochs that earlier files lack; only now the folder is known to be this run's.

        Epochs that earlier files hold, but no saved state, are dropped: they are trained again.
        """
        storage.write_text(self._folder / "README", "Open with: tensorboard --logdir .\n")
        known = self._steps()
        self._writer = self._make_writer(str(self._folder), purge_step=step + 1)
        rows = "".join(f"| {name} | {value} |\n" for name, value in parameters(recipe).items())
        self._writer.add_text("recipe", f"| field | value |\n|---|---|\n{rows}", step)
        for row in history:
            if row.step not in known:
                self._write(figures(row), row.step)

    def epoch_done(self, row: EpochRow, timing: Timing) -> None:
        """Write one point per curve."""
        self._write(figures(row, timing), row.step)

    def _write(self, known: Mapping[str, int | float], step: int) -> None:
        for name in FIGURES:
            if name in known:
                self._writer.add_scalar(name, known[name], step)
        self._writer.flush()

    def _steps(self) -> set[int]:
        """Return the steps of the epochs that earlier files hold."""
        found = self._read(str(self._folder), size_guidance={"scalars": 0})  # all of them
        found.Reload()
        return {event.step for event in found.Scalars(WITNESS)} if WITNESS in found.Tags()["scalars"] else set()

    def closed(self) -> None:
        """Write pending events and close the file."""
        if self._writer is not None:
            self._writer.close()
