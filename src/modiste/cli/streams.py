"""Standard input, output and error: opened before a command begins, written line by line, flushed at the end.

At a terminal, commands that print as they work show a progress bar on standard error.
"""

import errno
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from io import TextIOWrapper
from typing import Any, TextIO, cast

from modiste.errors import ModisteError, printable

LOGGER = logging.getLogger("modiste")
CONTROL_CHARACTERS = re.compile("\x1b(?!\\[[0-9;]*m)|[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Characters that move a terminal's cursor or change the direction of text; sequences that only set colours pass."""
UNWRITABLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})
"""Error numbers of a write to a stream that takes nothing more."""
ERASE = "\r\x1b[K"
"""Moves a terminal's cursor to the start of the line and clears that line."""
REDRAW_SECONDS = 0.2
BAR_CELLS = 24


def say(*lines: object) -> None:
    """Print lines on standard output at once; characters that would move a terminal's cursor are escaped."""
    for line in lines:
        print(printable(str(line)), flush=True)


def warn(*lines: object) -> None:
    """Print lines on standard error as ``say`` does; drop them if it cannot be written."""
    with suppress(OSError):
        for line in lines:
            print(printable(str(line)), file=sys.stderr, flush=True)


def bare(text: str) -> None:
    """Write text of our own to standard error as it is, without an end of line; drop it if it cannot be written."""
    with suppress(OSError):
        sys.stderr.write(text)
        sys.stderr.flush()


@contextmanager
def escaped_output() -> Iterator[None]:
    """Escape control characters, but not colours, in all that a library prints inside the block."""
    with (
        redirect_stdout(cast(TextIO, _EscapingStream(sys.stdout))),
        redirect_stderr(cast(TextIO, _EscapingStream(sys.stderr))),
    ):
        yield


def open_streams() -> None:
    """Make the standard streams usable, even if the shell closed them or the locale lacks some characters.

    A closed descriptor is opened on ``/dev/null``. Otherwise the next file to be opened would get its number, and
    the output of libraries would be written into that file.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdout = sys.stdout or _open_null()
    sys.stderr = sys.stderr or _open_null()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    LOGGER.addHandler(_HANDLER)
    LOGGER.setLevel(logging.NOTSET)


@contextmanager
def silence(quiet: bool) -> Iterator[None]:
    """If ``quiet``, let Modiste's loggers report only errors inside the block."""
    before = LOGGER.level
    if quiet:
        LOGGER.setLevel(logging.ERROR)
    try:
        yield
    finally:
        LOGGER.setLevel(before)


def flush_streams() -> None:
    """Flush the standard streams; drop what cannot be written, so that Python prints no error when it exits."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _open_null() -> TextIOWrapper:
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 - open until the process ends


class _EscapingStream:
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        written: int = self._stream.write(CONTROL_CHARACTERS.sub(lambda found: ascii(found[0])[1:-1], text))
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _WarningHandler(logging.Handler):
    """Prints the library's warnings as lines on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a warning."""
        warn(record.getMessage())


_HANDLER = _WarningHandler(logging.WARNING)


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
