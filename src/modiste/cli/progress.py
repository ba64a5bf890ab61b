"""The progress bar of commands that print as they work: one line of standard error, at a terminal only."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from modiste.cli.streams import bare
from modiste.errors import ModisteError

ERASE = "\r\x1b[K"
"""Moves a terminal's cursor to the start of the line and clears that line."""
REDRAW_SECONDS = 0.2
BAR_CELLS = 24


class ProgressBar:
    """Shows how many pictures are done, how fast, and how long the rest will take.

    Call ``clear`` before other lines are printed on the same terminal, and ``step`` after each picture.

    Args:
        count: Returns the number of all pictures. It runs in a thread, and the bar does without the total until then.
    """

    def __init__(self, count: Callable[[], int] = lambda: 0) -> None:
        self._done, self._begun = 0, 0
        self._total, self._count = 0, count
        self._since, self._drawn = time.monotonic(), 0.0
        self._is_visible, self.is_active = False, bool(sys.stderr) and sys.stderr.isatty()

    @contextmanager
    def shown(self) -> Iterator["ProgressBar"]:
        """Show the bar while the block runs."""
        if self.is_active:
            threading.Thread(target=self._count_all, daemon=True).start()
        try:
            yield self
        finally:
            self.clear()

    def step(self, pictures: int = 1) -> None:
        """Count pictures as done, and redraw the bar if it is time."""
        self._done += pictures
        now = time.monotonic()
        if self.is_active and now - self._drawn >= REDRAW_SECONDS:
            self._drawn, self._is_visible = now, True
            bare(ERASE + self.line(now - self._since))

    def move_to(self, done: int, total: int) -> None:
        """Set the pictures that are done, and all of them; what the first call calls done was done before."""
        if not self._total:
            self._begun, self._since = done, time.monotonic()
        self._done, self._total = done, total
        self.step(0)

    def clear(self) -> None:
        """Remove the bar from the terminal until the next step."""
        if self._is_visible:
            bare(ERASE)
            self._is_visible, self._drawn = False, 0.0

    def line(self, seconds: float) -> str:
        """Return the bar as text, ``seconds`` after the start."""
        rate = (self._done - self._begun) / max(seconds, 1e-9)
        if not self._total or self._total < self._done:
            return f"{self._done:,} pictures, {rate:,.0f} a second"
        cells = BAR_CELLS * self._done // self._total
        left = f", {(self._total - self._done) / rate:,.0f} s left" if rate else ""
        bar = "#" * cells + "." * (BAR_CELLS - cells)
        return f"[{bar}] {self._done:,} of {self._total:,} pictures, {rate:,.0f} a second{left}"

    def _count_all(self) -> None:
        with suppress(ModisteError):  # the command itself reports it
            self._total = self._count()
