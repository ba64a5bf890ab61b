"""The one sentence in which a fault of the data is told: where, what, expected, found, what to do."""

from pathlib import Path

from modiste.errors import DataError

FETCH_AGAIN = "fetch the file again"


def shown(text: Path | str) -> str:
    """Return ``text`` fit for one line of a terminal: characters that do not print appear as escapes."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in str(text)
    )


def fault(path: Path, problem: str, *, expected: str, found: str, remedy: str = FETCH_AGAIN) -> DataError:
    """Return the error to raise for ``path``; its message is one line."""
    return DataError(f"{shown(path)}: {problem}: expected {expected}, found {found}; {remedy}")
