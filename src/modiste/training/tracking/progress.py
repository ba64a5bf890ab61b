"""The progress of a run for people: a row for each epoch, and a bar with the remaining time where one can be shown."""

import sys
from collections.abc import Sequence

from modiste.recipes.recipe import Recipe
from modiste.runs.run_folder import EpochRow, PretrainingRow
from modiste.training.tracking.listener import Listener, Timing
from modiste.training.transfer.transfer import TransferReport


def make_progress(title: str = "") -> "ProgressLog":
    """Return what shows the progress of a run here: in the notebook whose kernel this is, else in the terminal.

    Args:
        title: A line above the others, such as ``seed 3``; empty for none.
    """
    if in_notebook():
        from modiste.training.tracking.notebook import NotebookLog

        return NotebookLog(title)
    from modiste.training.tracking.console import ConsoleLog

    return ConsoleLog(title)


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
        """Show a line, and the title above the first."""
        if self._title:
            self.write(self._title)
            self._title = ""
        self.write(line)

    def _figures(self, row: EpochRow) -> str:
        return (
            f"{row.epoch:2d}/{self._epochs:<2d}    {row.train_loss:10.4f}  {row.train_accuracy:8.2%}"
            f"    {row.validation_loss:15.4f}  {row.validation_accuracy:8.2%}"
        )
