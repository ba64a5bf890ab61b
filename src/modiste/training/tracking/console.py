"""What a run shows in a terminal."""

import sys
from collections.abc import Sequence

from modiste.recipes.recipe import Recipe
from modiste.runs.run_folder import EpochRow, PretrainingRow
from modiste.training.tracking.listener import Listener, Timing
from modiste.training.transfer.transfer import TransferReport


class ConsoleLog(Listener):
    """Prints one row per epoch to standard error; at a terminal also a progress bar with the remaining time."""

    HEADER = "epoch    train loss  accuracy    validation loss  accuracy    images/s    seconds"

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("step {task.completed:.0f} of {task.total:.0f}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not sys.stderr.isatty(),
        )

    def transferred(self, report: TransferReport) -> None:
        """Print the transfer report."""
        self._print(str(report))

    def pretraining_started(self, name: str, steps: int) -> None:
        """Print the name of the warm start, and show its progress bar."""
        self._print(f"{name}: {steps:,} steps before the first epoch")
        self.task = self.progress.add_task(name, total=steps)
        self.progress.start()

    def pretraining_step_done(self, step: int) -> None:
        """Update the bar, and hide it when the warm start is done."""
        self.progress.update(self.task, completed=step)
        self.progress.update(self.task, visible=not self.progress.finished)

    def pretraining_epoch_done(self, row: PretrainingRow) -> None:
        """Print the figure of the pass."""
        self._print(f"{row.part}, epoch {row.epoch}: {row.quantity} {row.value:.4f}")

    def started(self, recipe: Recipe, steps_per_epoch: int, history: Sequence[EpochRow], step: int) -> None:
        """Print the header and the rows of earlier epochs, and show the progress bar."""
        self.epochs = recipe.epochs
        if step:
            self._print(f"going on after step {step}")
        self._print(self.HEADER)
        for row in history:
            self._print(self._figures(row))
        self.task = self.progress.add_task(recipe.name, total=recipe.epochs * steps_per_epoch, completed=step)
        self.progress.start()

    def step_done(self, step: int) -> None:
        """Update the bar."""
        self.progress.update(self.task, completed=step)

    def epoch_done(self, row: EpochRow, timing: Timing) -> None:
        """Print the epoch's row."""
        self._print(f"{self._figures(row)}    {timing.images_per_second:8,.0f}    {timing.seconds:7.1f}")

    def stopped(self) -> None:
        """Remove the progress bar."""
        self.progress.stop()

    def _figures(self, row: EpochRow) -> str:
        return (
            f"{row.epoch:2d}/{self.epochs:<2d}    {row.train_loss:10.4f}  {row.train_accuracy:8.2%}"
            f"    {row.validation_loss:15.4f}  {row.validation_accuracy:8.2%}"
        )

    def _print(self, line: str) -> None:
        self.progress.console.print(line, highlight=False, markup=False, soft_wrap=True)
