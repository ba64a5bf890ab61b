"""The one sentence in which a fault of the data is told: where, what, expected, found, what to do."""

from pathlib import Path

from modiste.errors import DataError

FETCH_AGAIN = "fetch the file again"


MOST_LETTERS = 400
"""Of a name in a message, so that the rest of it is still read."""


def shown(text: Path | str) -> str:
    """Return ``text`` fit for one line of a terminal: escapes for what does not print, the middle of a long one cut."""
    whole = str(text)
    if len(whole) > MOST_LETTERS:
        whole = f"{whole[: MOST_LETTERS // 2]}...{whole[-MOST_LETTERS // 2 :]}"
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in whole
    )


def fault(path: Path, problem: str, *, expected: str, found: str, remedy: str = FETCH_AGAIN) -> DataError:
    """Return the error to raise for ``path``; its message is one line."""
    return DataError(f"{shown(path)}: {problem}: expected {expected}, found {found}; {remedy}")
