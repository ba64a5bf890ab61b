"""Errors that a user can fix: each says what is wrong, where, what was expected and found, and what to do.

The command line prints the message alone and exits with the class's exit code. Any other exception is a defect of
Modiste and keeps its traceback.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MOST_LETTERS = 1500


def printable(text: str, most: int | None = None) -> str:
    """Return ``text`` fit for one line of a terminal: escapes for what does not print, the middle of a long one cut.

    Without ``most`` nothing is cut.
    """
    if most is not None and len(text) > most:
        text = f"{text[: most // 2]} ... {text[-most // 2 :]}"
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


class ModisteError(Exception):
    """Base of every fault that is not a defect of Modiste."""

    exit_code = 1

    def __str__(self) -> str:
        """One line of bounded length, though a file's words are in it: none moves a terminal's cursor."""
        return printable(super().__str__(), MOST_LETTERS)


class DataError(ModisteError):
    """The images or labels are missing, damaged, or not what they claim to be."""

    exit_code = 3


class PhotoError(DataError):
    """A picture that cannot be read, or on which nothing can be seen."""


class RecipeError(ModisteError, ValueError):
    """A recipe asks for something that does not exist or cannot be."""

    exit_code = 4


class RunError(ModisteError):
    """A run folder is incomplete, damaged, or belongs to another recipe or other data."""

    exit_code = 4


class MissingExtraError(ModisteError):
    """A feature needs a package that is not installed."""

    exit_code = 4


@contextmanager
def extra_for(feature: str, packages: str, extra: str) -> Iterator[None]:
    """Raise MissingExtraError where an import in the block fails; its install line suits every shell."""
    try:
        yield
    except ImportError as error:
        raise MissingExtraError(f"{feature}: needs {packages}: pip install 'modiste[{extra}]'") from error


class StorageError(ModisteError):
    """The disk refused a read or a write."""

    exit_code = 5


class ReadOnlyError(StorageError):
    """The place may be read, and not written: a read-only disk, or another user's folder."""


class DivergedError(ModisteError):
    """A loss or gradient left the finite numbers; the step is named and was not applied."""

    exit_code = 6


class FolderInUseError(ModisteError):
    """Another process owns the run folder."""

    exit_code = 7


class ClusterError(ModisteError):
    """Other machines that were asked for cannot be reached, or are too small."""

    exit_code = 8


class MemoryShortageError(ModisteError):
    """The machine, or a limit of the shell, gives too little memory."""


class StoppedError(ModisteError):
    """Training stopped on request; everything is saved and the same command goes on from here."""

    exit_code = 75


FETCH_AGAIN = "fetch the file again"
NAME_LETTERS = 400
"""Of a name in a message, so that the rest of it is still read."""


def shown(text: Path | str) -> str:
    """Return a name or a file's words as they can stand in a message; see ``printable``."""
    return printable(str(text), NAME_LETTERS)


def reason_of(error: Exception) -> str:
    """Return what the system says of a failed look at a file: its own words, without number and path."""
    return getattr(error, "strerror", None) or str(error)


def fault(path: Path, problem: str, *, expected: str, found: str, remedy: str = FETCH_AGAIN) -> DataError:
    """Return the error to raise for ``path``; its message is one line."""
    return DataError(f"{shown(path)}: {problem}: expected {expected}, found {found}; {remedy}")
