"""Errors that a user can fix: each says what is wrong, where, what was expected and found, and what to do.

The command line prints the message alone and exits with the class's exit code. Any other exception is a defect of
Modiste and keeps its traceback.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MOST_LETTERS = 1500
"""Longest message, in characters."""
NAME_LETTERS = 400
"""Longest name within a message, so that the rest of the message stays readable."""
FETCH_AGAIN = "fetch the file again"


class ModisteError(Exception):
    """Base of every error that is not a defect of Modiste."""

    exit_code = 1

    def __str__(self) -> str:
        """One printable line of bounded length, even if the message quotes a file's content."""
        return printable(super().__str__(), MOST_LETTERS)


class DataError(ModisteError):
    """The images or labels are missing, damaged, or not what they claim to be."""

    exit_code = 3


class PhotoError(DataError):
    """A picture cannot be read, or shows nothing."""


class RecipeError(ModisteError, ValueError):
    """A recipe asks for something that does not exist or is impossible."""

    exit_code = 4


class RunError(ModisteError):
    """A run folder is incomplete, damaged, or belongs to another recipe or other data."""

    exit_code = 4


class MissingExtraError(ModisteError):
    """A feature needs a package that is not installed."""

    exit_code = 4


class StorageError(ModisteError):
    """The disk refused a read or a write."""

    exit_code = 5


class ReadOnlyError(StorageError):
    """The folder can be read but not written: a read-only disk, or another user's folder."""


class DivergedError(ModisteError):
    """A loss or gradient is no longer finite; the message names the step, which was not applied."""

    exit_code = 6


class FolderInUseError(ModisteError):
    """Another process owns the run folder."""

    exit_code = 7


class ClusterError(ModisteError):
    """The requested machines cannot be reached, or are too small."""

    exit_code = 8


class MemoryShortageError(ModisteError):
    """The machine, or a limit of the shell, gives too little memory."""


class StoppedError(ModisteError):
    """Training stopped on request; everything is saved, and the same command continues from here."""

    exit_code = 75


@contextmanager
def extra_for(feature: str, packages: str, extra: str) -> Iterator[None]:
    """Raise MissingExtraError if an import in the block fails.

    The message says that ``feature`` needs ``packages``, and how to install ``extra``; every shell accepts the command.
    """
    try:
        yield
    except ImportError as error:
        raise MissingExtraError(f"{feature}: needs {packages}: pip install 'modiste[{extra}]'") from error


def fault(path: Path, problem: str, *, expected: str, found: str, remedy: str = FETCH_AGAIN) -> DataError:
    """Return the error to raise for ``path``; its message is one line."""
    return DataError(f"{shown(path)}: {problem}: expected {expected}, found {found}; {remedy}")


def reason_of(error: Exception) -> str:
    """Return the system's own words for an error, without its number and path."""
    return getattr(error, "strerror", None) or str(error)


def shown(text: Path | str) -> str:
    """Return a name or a quotation from a file in a form fit for a message; see ``printable``."""
    return printable(str(text), NAME_LETTERS)


def printable(text: str, most: int | None = None) -> str:
    """Return ``text`` fit for one line of a terminal: unprintable characters are escaped.

    Text longer than ``most`` characters loses its middle; with None nothing is cut.
    """
    if most is not None and len(text) > most:
        text = f"{text[: most // 2]} ... {text[-most // 2 :]}"
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
