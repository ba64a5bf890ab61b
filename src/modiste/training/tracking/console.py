"""What a run shows in a terminal."""

import sys

from modiste.training.tracking.progress import ProgressLog


class ConsoleLog(ProgressLog):
    """Prints one row per epoch to standard error; at a terminal also a progress bar with the remaining time.

    Args:
        title: A line above the others; empty for none.
    """

    def __init__(self, title: str = "") -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        super().__init__(title)
        self._progress = Progress(
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

    def write(self, line: str) -> None:
        """Print a line above the bar."""
        self._progress.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def begin_bar(self, name: str, steps: int, done: int) -> None:
        """Show a bar in place of an earlier one."""
        for earlier in self._progress.task_ids:
            self._progress.update(earlier, visible=False)
        self._task = self._progress.add_task(name, total=steps, completed=done)
        self._progress.start()

    def move_bar(self, done: int) -> None:
        """Update the bar."""
        self._progress.update(self._task, completed=done)

    def end_bar(self) -> None:
        """Remove the bar."""
        self._progress.stop()
