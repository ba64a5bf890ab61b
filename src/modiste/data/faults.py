"""The one sentence in which a fault of the data is told: where, what, expected, found, what to do."""

from pathlib import Path

from modiste.errors import DataError, printable

FETCH_AGAIN = "fetch the file again"
MOST_LETTERS = 400
"""Of a name in a message, so that the rest of it is still read."""


def shown(text: Path | str) -> str:
    """Return a name or a file's words as they can stand in a message; see ``printable``."""
    return printable(str(text), MOST_LETTERS)


def reason_of(error: Exception) -> str:
    """Return what the system says of a failed look at a file: its own words, without number and path."""
    return getattr(error, "strerror", None) or str(error)


def fault(path: Path, problem: str, *, expected: str, found: str, remedy: str = FETCH_AGAIN) -> DataError:
    """Return the error to raise for ``path``; its message is one line."""
    return DataError(f"{shown(path)}: {problem}: expected {expected}, found {found}; {remedy}")
