"""Errors that a user can fix; each message says what is wrong, where, what was expected and found, and what to do.

The command line prints only the message and exits with the class's exit code. Any other exception is a defect of
Modiste and keeps its traceback.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MOST_LETTERS = 1500


def printable(text: str, most: int | None = None) -> str:
    """Return ``text`` for one line of a terminal: unprintable characters become escapes.

    If it is longer than ``most`` characters, its middle is cut; None cuts nothing.
    """
    if most is not None and len(text) > most:
        text = f"{text[: most // 2]} ... {text[-most // 2 :]}"
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


class ModisteError(Exception):
    """Base of all errors that are not a defect of Modiste."""

    exit_code = 1

    def __str__(self) -> str:
        """Return one line of bounded length that is safe to print, even if it quotes a file's content."""
        return printable(super().__str__(), MOST_LETTERS)


class DataError(ModisteError):
    """The images or labels are missing, damaged, or not what they claim to be."""

    exit_code = 3


class PhotoError(DataError):
    """A picture cannot be read, or shows nothing."""


class RecipeError(ModisteError, ValueError):
    """A recipe asks for something that does not exist or is not possible."""

    exit_code = 4


class RunError(ModisteError):
    """A run folder is incomplete, damaged, or belongs to another recipe or other data."""

    exit_code = 4


class MissingExtraError(ModisteError):
    """A feature needs a package that is not installed."""

    exit_code = 4


@contextmanager
def extra_for(feature: str, packages: str, extra: str) -> Iterator[None]:
    """Raise MissingExtraError, with the command that installs ``extra``, if an import in the block fails."""
    try:
        yield
    except ImportError as error:
        raise MissingExtraError(f"{feature}: needs {packages}: pip install 'modiste[{extra}]'") from error


class StorageError(ModisteError):
    """The disk refused a read or a write."""

    exit_code = 5


class ReadOnlyError(StorageError):
    """The folder can be read but not written: a read-only disk, or another user's folder."""


class DivergedError(ModisteError):
    """A loss or gradient is not finite; the message names the step, which was not applied."""

    exit_code = 6


class FolderInUseError(ModisteError):
    """Another process owns the run folder."""

    exit_code = 7


class ClusterError(ModisteError):
    """A requested cluster cannot be reached, or its machines are too small."""

    exit_code = 8


class MemoryShortageError(ModisteError):
    """The machine has too little memory, or a limit of the shell allows too little."""


class StoppedError(ModisteError):
    """Training stopped on request; everything is saved, and the same command continues."""

    exit_code = 75


FETCH_AGAIN = "download the file again"
NAME_LETTERS = 400
"""Most characters of a name in a message, so that the rest of the message remains visible."""


def shown(text: Path | str) -> str:
    """Return a path, or text from a file, for a message; see ``printable``."""
    return printable(str(text), NAME_LETTERS)


def reason_of(error: Exception) -> str:
    """Return the system's reason for a failed access to a file, without number and path."""
    return getattr(error, "strerror", None) or str(error)


def fault(path: Path, problem: str, *, expected: str, found: str, remedy: str = FETCH_AGAIN) -> DataError:
    """Return the error to raise for ``path``, with a message of one line."""
    return DataError(f"{shown(path)}: {problem}: expected {expected}, found {found}; {remedy}")
