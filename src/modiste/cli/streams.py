"""Standard input, output and error: ready before a command begins, one door for lines, quiet when they fail."""

import errno
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from io import TextIOWrapper
from typing import Any, TextIO, cast

from modiste.errors import printable

LOGGER = logging.getLogger("modiste")
MOVES = re.compile("\x1b(?!\\[[0-9;]*m)|[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Letters that move a terminal's cursor or turn the direction of writing; sequences that only colour are left."""
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})
"""What the system answers to a write where nothing more can be written."""


def say(*lines: object) -> None:
    """Print lines on standard output at once; letters that would move a terminal's cursor are escaped."""
    for line in lines:
        print(printable(str(line)), flush=True)


def warn(*lines: object) -> None:
    """Print lines on standard error in the same way; they are lost where it cannot be written."""
    with suppress(OSError):
        for line in lines:
            print(printable(str(line)), file=sys.stderr, flush=True)


@contextmanager
def guarded() -> Iterator[None]:
    """Escape what moves a cursor, but no colours, in all that a library prints in the block."""
    with redirect_stdout(cast(TextIO, _Guard(sys.stdout))), redirect_stderr(cast(TextIO, _Guard(sys.stderr))):
        yield


def open_streams() -> None:
    """Make the standard streams usable, whatever the shell left closed and whatever letters the locale lacks.

    A closed descriptor is opened on nothing, or else the next file that is written would take its number.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdout = sys.stdout or _nothing()
    sys.stderr = sys.stderr or _nothing()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    LOGGER.addHandler(_HANDLER)
    LOGGER.setLevel(logging.NOTSET)


@contextmanager
def silence(quiet: bool) -> Iterator[None]:
    """Let Modiste's loggers report nothing but faults in the block, if ``quiet``."""
    before = LOGGER.level
    if quiet:
        LOGGER.setLevel(logging.ERROR)
    try:
        yield
    finally:
        LOGGER.setLevel(before)


def settle_streams() -> None:
    """Drop what cannot be written, so that Python does not complain of it at its end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _nothing() -> TextIOWrapper:
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 - open until the process ends


class _Guard:
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        written: int = self._stream.write(MOVES.sub(lambda found: ascii(found[0])[1:-1], text))
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Door(logging.Handler):
    """Warnings of the library, as lines on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a warning."""
        warn(record.getMessage())


_HANDLER = _Door(logging.WARNING)
