"""Telling what happens: to a person at a terminal, to a file of timings, to TensorBoard. Listeners change nothing."""

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
    """What an epoch cost in this process: with validation, of training alone, and the images trained per second."""

    seconds: float
    train_seconds: float
    images_per_second: float
    peak_memory_bytes: int

    @classmethod
    def since(cls, started: float, trained: float, images: int) -> "Timing":
        """Make one from the epoch's start, the end of its training, and the number of images trained."""
        now, train_seconds = time.perf_counter(), trained - started
        return cls(now - started, train_seconds, images / train_seconds, machine.peak_memory_bytes())


class Listener:
    """What the loop calls; does nothing by itself, so that a listener writes only what it listens to."""

    def transferred(self, report: TransferReport) -> None:
        """Weights of another network were taken."""

    def pretraining_started(self, recipe: Recipe, steps: int) -> None:
        """The warm start begins to train; it will take so many steps."""

    def pretraining_step_done(self, step: int) -> None:
        """``step`` steps of the warm start are done."""

    def pretraining_epoch_done(self, row: PretrainingRow) -> None:
        """A pass of the warm start over the images is done."""

    def started(self, recipe: Recipe, steps_per_epoch: int, history: Sequence[EpochRow], step: int) -> None:
        """Training begins, or goes on after ``history`` and ``step`` steps."""

    def step_done(self, step: int) -> None:
        """``step`` steps are done since the start of the run."""

    def epoch_done(self, row: EpochRow, timing: Timing) -> None:
        """An epoch is measured and saved."""

    def stopped(self) -> None:
        """Training is over, whether it finished or not."""


@dataclass(frozen=True)
class Listeners(Listener):
    """Several listeners as one."""

    members: Sequence[Listener]

    def transferred(self, report: TransferReport) -> None:
        """Pass on."""
        for member in self.members:
            member.transferred(report)

    def pretraining_started(self, recipe: Recipe, steps: int) -> None:
        """Pass on."""
        for member in self.members:
            member.pretraining_started(recipe, steps)

    def pretraining_step_done(self, step: int) -> None:
        """Pass on."""
        for member in self.members:
            member.pretraining_step_done(step)

    def pretraining_epoch_done(self, row: PretrainingRow) -> None:
        """Pass on."""
        for member in self.members:
            member.pretraining_epoch_done(row)

    def started(self, recipe: Recipe, steps_per_epoch: int, history: Sequence[EpochRow], step: int) -> None:
        """Pass on."""
        for member in self.members:
            member.started(recipe, steps_per_epoch, history, step)

    def step_done(self, step: int) -> None:
        """Pass on."""
        for member in self.members:
            member.step_done(step)

    def epoch_done(self, row: EpochRow, timing: Timing) -> None:
        """Pass on."""
        for member in self.members:
            member.epoch_done(row, timing)

    def stopped(self) -> None:
        """Pass on."""
        for member in self.members:
            member.stopped()


class FileLog(Listener):
    """Writes the logs; ``timing.jsonl`` depends on the day, the others on recipe and data alone."""

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
        """Take up the lines of the epochs that the training state holds."""
        self.rows = [asdict(row) for row in history]
        timing = self.folder / run_folder.TIMING
        lines = run_folder.read_lines(timing) if timing.exists() else []
        try:
            self.timings = [line for line in lines if line["epoch"] <= len(history)]
        except (KeyError, TypeError) as error:
            raise RunError(f"{timing}: damaged, a line has no epoch; delete it to go on") from error
        self._write()

    def epoch_done(self, row: EpochRow, timing: Timing) -> None:
        """Add a line to each file."""
        self.rows.append(asdict(row))
        self.timings.append({"epoch": row.epoch, **asdict(timing)})
        self._write()

    def _write(self) -> None:
        run_folder.write_lines(self.folder / run_folder.LOG, self.rows)
        run_folder.write_lines(self.folder / run_folder.TIMING, self.timings)


class ConsoleLog(Listener):
    """One row per epoch on standard error; at a terminal also a live line with the time that is left."""

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
        """Show what became of the tensors."""
        self._print(str(report))

    def pretraining_started(self, recipe: Recipe, steps: int) -> None:
        """Show what begins, and a bar of its own."""
        self._print(f"{recipe.warm_start}: {steps:,} steps before the first epoch")
        self.task = self.progress.add_task(recipe.warm_start, total=steps)
        self.progress.start()

    def pretraining_step_done(self, step: int) -> None:
        """Move the bar, and take it away when it is full."""
        self.progress.update(self.task, completed=step)
        self.progress.update(self.task, visible=not self.progress.finished)

    def pretraining_epoch_done(self, row: PretrainingRow) -> None:
        """Show what the pass came to."""
        self._print(f"{row.part}, epoch {row.epoch}: {row.quantity} {row.value:.4f}")

    def started(self, recipe: Recipe, steps_per_epoch: int, history: Sequence[EpochRow], step: int) -> None:
        """Show the header and the rows of earlier epochs."""
        self.epochs = recipe.epochs
        if step:
            self._print(f"going on after step {step}")
        self._print(self.HEADER)
        for row in history:
            self._print(self._figures(row))
        self.task = self.progress.add_task(recipe.name, total=recipe.epochs * steps_per_epoch, completed=step)
        self.progress.start()

    def step_done(self, step: int) -> None:
        """Move the bar."""
        self.progress.update(self.task, completed=step)

    def epoch_done(self, row: EpochRow, timing: Timing) -> None:
        """Show the epoch's row."""
        self._print(f"{self._figures(row)}    {timing.images_per_second:8,.0f}    {timing.seconds:7.1f}")

    def stopped(self) -> None:
        """Take the live line away."""
        self.progress.stop()

    def _figures(self, row: EpochRow) -> str:
        return (
            f"{row.epoch:2d}/{self.epochs:<2d}    {row.train_loss:10.4f}  {row.train_accuracy:8.2%}"
            f"    {row.validation_loss:15.4f}  {row.validation_accuracy:8.2%}"
        )

    def _print(self, line: str) -> None:
        self.progress.console.print(line, highlight=False, markup=False, soft_wrap=True)


class TensorBoardLog(Listener):
    """Writes the same figures as TensorBoard events to ``tensorboard/`` in the run folder."""

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
        """Open the file; not sooner, since only now the folder is known to be this run's."""
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
        """Write what is still in memory."""
        if self.writer is not None:
            self.writer.close()
