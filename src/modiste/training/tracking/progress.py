"""The progress of a run for people: a row for each epoch, and a bar with the remaining time where one can be shown."""

import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from html import escape
from typing import Any

from modiste.errors import printable
from modiste.recipes.recipe import Recipe
from modiste.runs.run_folder import EpochRow, PretrainingRow
from modiste.training.tracking.listener import Listener, Timing
from modiste.training.transfer.transfer import TransferReport

REDRAW_SECONDS = 0.2
"""Shortest time between two drawings in a notebook, except at the beginning and at the end."""


def make_progress(title: str = "") -> "ProgressLog":
    """Return what shows the progress of a run here: in the notebook whose kernel this is, else in the terminal.

    Args:
        title: A line above the others, such as ``seed 3``; empty for none.
    """
    return NotebookLog(title) if in_notebook() else ConsoleLog(title)


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook, which shows HTML and can replace it."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


class ProgressLog(Listener):
    """Base: turns the events of a run into lines and a bar. A subclass says where these are shown.

    Args:
        title: A line above the others; empty for none.
    """

    HEADER = "epoch    train loss  accuracy    validation loss  accuracy    images/s    seconds"

    def __init__(self, title: str = "") -> None:
        self._title = title

    def write(self, line: str) -> None:
        """Show a line beneath those before."""
        raise NotImplementedError

    def begin_bar(self, name: str, steps: int, done: int) -> None:
        """Show a bar of ``steps`` steps, of which ``done`` are done; it takes the place of an earlier one."""
        raise NotImplementedError

    def move_bar(self, done: int) -> None:
        """Set the steps that are done."""
        raise NotImplementedError

    def end_bar(self) -> None:
        """Remove the bar."""
        raise NotImplementedError

    def transferred(self, report: TransferReport) -> None:
        """Show the transfer report."""
        self._show(str(report))

    def pretraining_started(self, name: str, steps: int) -> None:
        """Show the name of the warm start, and its bar."""
        self._show(f"{name}: {steps:,} steps before the first epoch")
        self.begin_bar(name, steps, 0)

    def pretraining_step_done(self, step: int) -> None:
        """Move the bar."""
        self.move_bar(step)

    def pretraining_epoch_done(self, row: PretrainingRow) -> None:
        """Show the figure of the pass."""
        self._show(f"{row.part}, epoch {row.epoch}: {row.quantity} {row.value:.4f}")

    def started(self, recipe: Recipe, steps_per_epoch: int, history: Sequence[EpochRow], step: int) -> None:
        """Show the header, the rows of earlier epochs, and the bar."""
        self._epochs = recipe.epochs
        if step:
            self._show(f"going on after step {step}")
        self._show(self.HEADER)
        for row in history:
            self._show(self._figures(row))
        self.begin_bar(recipe.name, recipe.epochs * steps_per_epoch, step)

    def step_done(self, step: int) -> None:
        """Move the bar."""
        self.move_bar(step)

    def epoch_done(self, row: EpochRow, timing: Timing) -> None:
        """Show the epoch's row."""
        self._show(f"{self._figures(row)}    {timing.images_per_second:8,.0f}    {timing.seconds:7.1f}")

    def stopped(self) -> None:
        """Remove the bar."""
        self.end_bar()

    def _show(self, line: str) -> None:
        """Show a line, and the title above the first; a line may name tensors of a file from anybody."""
        if self._title:
            self.write(self._title)
            self._title = ""
        self.write(printable(line))

    def _figures(self, row: EpochRow) -> str:
        return (
            f"{row.epoch:2d}/{self._epochs:<2d}    {row.train_loss:10.4f}  {row.train_accuracy:8.2%}"
            f"    {row.validation_loss:15.4f}  {row.validation_accuracy:8.2%}"
        )


class ConsoleLog(ProgressLog):
    """Prints one row per epoch to standard error; at a terminal also a progress bar with the remaining time.

    Where standard error cannot be written any more, the rows are lost and training goes on.

    Args:
        title: A line above the others; empty for none.
    """

    def __init__(self, title: str = "") -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        super().__init__(title)
        console = Console(stderr=True)
        console.on_broken_pipe = partial(setattr, console, "quiet", True)  # type: ignore[method-assign]
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("step {task.completed:.0f} of {task.total:.0f}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not sys.stderr.isatty(),
        )

    def write(self, line: str) -> None:
        """Print a line above the bar."""
        with suppress(OSError):
            self._progress.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def begin_bar(self, name: str, steps: int, done: int) -> None:
        """Show a bar in place of an earlier one."""
        with suppress(OSError):
            for earlier in self._progress.task_ids:
                self._progress.update(earlier, visible=False)
            self._progress.add_task(name, total=steps, completed=done)
            self._progress.start()

    def move_bar(self, done: int) -> None:
        """Update the bar."""
        with suppress(OSError):
            for newest in self._progress.task_ids[-1:]:
                self._progress.update(newest, completed=done)

    def end_bar(self) -> None:
        """Remove the bar."""
        with suppress(OSError):
            self._progress.stop()


class NotebookLog(ProgressLog):
    """Shows one row per epoch, and beneath them a bar with the remaining time while the run trains.

    It needs nothing in the browser but HTML. In a notebook that is saved as text, the rows stand as they are.

    Args:
        title: A line above the others; empty for none.
    """

    def __init__(self, title: str = "") -> None:
        from IPython.display import display

        super().__init__(title)
        self._display: Any = display
        self._handle: Any = None
        self._lines: list[str] = []
        self._name, self._steps, self._done = "", 0, 0
        self._first, self._began, self._drawn = 0, 0.0, 0.0

    def write(self, line: str) -> None:
        """Add a row, and draw if it is time."""
        self._lines.append(line)
        self._draw_in_time()

    def begin_bar(self, name: str, steps: int, done: int) -> None:
        """Draw with a new bar."""
        self._name, self._steps, self._done = name, steps, done
        self._first, self._began = done, time.monotonic()
        self._draw()

    def move_bar(self, done: int) -> None:
        """Draw again if it is time."""
        self._done = done
        self._draw_in_time()

    def end_bar(self) -> None:
        """Draw without the bar."""
        self._steps = 0
        if self._lines:
            self._draw()

    def _draw_in_time(self) -> None:
        """Draw if the last drawing is not too fresh; beginning and end of the bar are always drawn."""
        if time.monotonic() - self._drawn >= REDRAW_SECONDS:
            self._draw()

    def _draw(self) -> None:
        """Show the rows and the bar, in place of what was drawn before."""
        content = {"text/plain": "\n".join(self._lines), "text/html": self._as_html()}
        if self._handle is None:
            self._handle = self._display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)
        self._drawn = time.monotonic()

    def _as_html(self) -> str:
        rows = f"<pre>{escape(chr(10).join(self._lines))}</pre>"
        if not self._steps:
            return rows
        bar = f'<progress value="{self._done}" max="{self._steps}" style="width:20em"></progress>'
        return f"{rows}<div>{bar} {escape(self._name)}: step {self._done:,} of {self._steps:,}{self._left()}</div>"

    def _left(self) -> str:
        """Return the remaining time as text; empty before the first step."""
        new = self._done - self._first
        if not new:
            return ""
        seconds = (time.monotonic() - self._began) / new * (self._steps - self._done)
        return f", {seconds:,.0f} s left"
