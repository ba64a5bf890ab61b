"""Runs in TensorBoard: event files in ``tensorboard/`` of the run folder."""

from collections.abc import Sequence
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
    "images_per_second",
)


class TensorBoardTracker(Listener):
    """Writes the recipe as text, and one point per figure and epoch, by step."""

    def __init__(self, folder: Path, _recipe: Recipe) -> None:
        with extra_for("--track tensorboard", "TensorBoard", "tensorboard"):
            from torch.utils.tensorboard import SummaryWriter
        self._folder, self._make_writer = folder / "tensorboard", SummaryWriter
        self._writer: Any = None

    def started(self, recipe: Recipe, steps_per_epoch: int, history: Sequence[EpochRow], step: int) -> None:
        """Open the file; only now the folder is known to belong to this run."""
        storage.write_text(self._folder / "README", "Open with: tensorboard --logdir .\n")
        self._writer = self._make_writer(str(self._folder), purge_step=step + 1 if step else None)
        rows = "".join(f"| {name} | {value} |\n" for name, value in parameters(recipe).items())
        self._writer.add_text("recipe", f"| field | value |\n|---|---|\n{rows}", step)

    def epoch_done(self, row: EpochRow, timing: Timing) -> None:
        """Write one point per curve."""
        known = figures(row, timing)
        for name in FIGURES:
            self._writer.add_scalar(name, known[name], row.step)
        self._writer.flush()

    def closed(self) -> None:
        """Write pending events and close the file."""
        if self._writer is not None:
            self._writer.close()
