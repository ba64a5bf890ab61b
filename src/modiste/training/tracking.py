"""Listeners, which are notified of what happens in training: console, log files, TensorBoard. They change nothing."""

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from modiste import machine
from modiste.errors import MissingExtraError, RunError
from modiste.recipes.recipe import Recipe
from modiste.runs import run_folder, storage
from modiste.runs.run_folder import EpochRow, PretrainingRow
from modiste.training.transfer.transfer import TransferReport


@dataclass(frozen=True)
class Timing:
    """Time and memory that an epoch took in this process.

    Attributes:
        seconds: training and validation.
        train_seconds: training alone.
        images_per_second: training images divided by ``train_seconds``.
        peak_memory_bytes: largest resident memory of the process so far.
    """

    seconds: float
    train_seconds: float
    images_per_second: float
    peak_memory_bytes: int

    @classmethod
    def since(cls, started: float, trained: float, images: int) -> "Timing":
        """Return the timing of an epoch that ends now.

        Args:
            started: ``time.perf_counter()`` at the start of the epoch.
            trained: the same at the end of its training.
            images: number of images trained.
        """
        now, train_seconds = time.perf_counter(), trained - started
        rate = images / train_seconds if train_seconds else 0.0
        return cls(now - started, train_seconds, rate, machine.peak_memory_bytes())


class Listener:
    """Base of the listeners. Every method does nothing, so a listener overrides only those that it needs."""

    def transferred(self, report: TransferReport) -> None:
        """Weights of another network were transferred."""

    def pretraining_started(self, name: str, steps: int) -> None:
        """The warm start of this name begins to train; it will take ``steps`` steps."""

    def pretraining_step_done(self, step: int) -> None:
        """``step`` steps of the warm start are done."""

    def pretraining_epoch_done(self, row: PretrainingRow) -> None:
        """A pass of the warm start over the images is done."""

    def started(self, recipe: Recipe, steps_per_epoch: int, history: Sequence[EpochRow], step: int) -> None:
        """Training begins, or resumes after the epochs of ``history`` and ``step`` steps."""

    def step_done(self, step: int) -> None:
        """``step`` steps are done since the start of the run."""

    def epoch_done(self, row: EpochRow, timing: Timing) -> None:
        """An epoch is measured, and saved if it was time to save."""

    def stopped(self) -> None:
        """Training has ended, whether it finished or not."""


@dataclass(frozen=True)
class Listeners(Listener):
    """Several listeners as one: each is called in turn."""

    members: Sequence[Listener]

    def transferred(self, report: TransferReport) -> None:
        """Call every member."""
        for member in self.members:
            member.transferred(report)

    def pretraining_started(self, name: str, steps: int) -> None:
        """Call every member."""
        for member in self.members:
            member.pretraining_started(name, steps)

    def pretraining_step_done(self, step: int) -> None:
        """Call every member."""
        for member in self.members:
            member.pretraining_step_done(step)

    def pretraining_epoch_done(self, row: PretrainingRow) -> None:
        """Call every member."""
        for member in self.members:
            member.pretraining_epoch_done(row)

    def started(self, recipe: Recipe, steps_per_epoch: int, history: Sequence[EpochRow], step: int) -> None:
        """Call every member."""
        for member in self.members:
            member.started(recipe, steps_per_epoch, history, step)

    def step_done(self, step: int) -> None:
        """Call every member."""
        for member in self.members:
            member.step_done(step)

    def epoch_done(self, row: EpochRow, timing: Timing) -> None:
        """Call every member."""
        for member in self.members:
            member.epoch_done(row, timing)

    def stopped(self) -> None:
        """Call every member."""
        for member in self.members:
            member.stopped()


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
        """Keep the lines of the epochs in ``history``; RunError if the file of timings is damaged."""
        self.rows = [asdict(row) for row in history]
        timing = self.folder / run_folder.TIMING
        lines = run_folder.read_lines(timing) if timing.exists() else []
        try:
            self.timings = [line for line in lines if line["epoch"] <= len(history)]
        except (KeyError, TypeError) as error:
            raise RunError(f"{timing}: damaged, a line has no epoch; delete it to go on") from error
        self._write()

    def epoch_done(self, row: EpochRow, timing: Timing) -> None:
        """Add a line to the log and to the timings."""
        self.rows.append(asdict(row))
        self.timings.append({"epoch": row.epoch, **asdict(timing)})
        self._write()

    def _write(self) -> None:
        run_folder.write_lines(self.folder / run_folder.LOG, self.rows)
        run_folder.write_lines(self.folder / run_folder.TIMING, self.timings)


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


class TensorBoardLog(Listener):
    """Writes the figures of each epoch as TensorBoard events to ``tensorboard/`` in the run folder."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingExtraError(
                "--tensorboard needs a package that is not installed: pip install 'modiste[tensorboard]'"
            ) from error
        self.folder, self.make_writer = folder / "tensorboard", SummaryWriter
        self.writer: Any = None

    def started(self, recipe: Recipe, steps_per_epoch: int, history: Sequence[EpochRow], step: int) -> None:
        """Open the file; only now the folder is known to belong to this run."""
        storage.write_text(self.folder / "README", "Open with: tensorboard --logdir .\n")
        self.writer = self.make_writer(str(self.folder), purge_step=step + 1 if step else None)

    def epoch_done(self, row: EpochRow, timing: Timing) -> None:
        """Write one point per curve."""
        for name in (
            "learning_rate",
            "train_loss",
            "train_accuracy",
            "validation_loss",
            "validation_accuracy",
        ):
            self.writer.add_scalar(name, getattr(row, name), row.step)
        self.writer.add_scalar("images_per_second", timing.images_per_second, row.step)

    def stopped(self) -> None:
        """Write pending events and close the file."""
        if self.writer is not None:
            self.writer.close()
