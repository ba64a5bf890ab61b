"""What a run shows in a notebook: one output of the cell, which is replaced as training goes on."""

import time
from html import escape
from typing import Any

from modiste.training.tracking.progress import ProgressLog

REDRAW_SECONDS = 0.2
"""Shortest time between two drawings, except at the beginning and at the end."""


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
