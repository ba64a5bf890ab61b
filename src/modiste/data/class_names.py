"""What the classes of a data set are called."""

import stat
from pathlib import Path

from modiste.data.faults import fault

FILE_NAME = "classes.txt"
LIMIT_BYTES = 64 * 1024
LIMIT_NAMES = 256
"""A label is one byte."""


def read_class_names(folder: Path) -> tuple[str, ...] | None:
    """Return the names in ``folder/classes.txt``, one a line in UTF-8; None without the file."""
    path = folder / FILE_NAME
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe could wait for ever
            raise _fault(path, "not a file", "a text file", "a folder, pipe or device")
        with path.open("rb") as file:
            content = file.read(LIMIT_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        reason = error.strerror or str(error)
        remedy = "check or remove it"
        raise fault(path, "unreadable", expected="class names", found=reason, remedy=remedy) from None
    if len(content) > LIMIT_BYTES:
        raise _fault(path, "too large", f"at most {LIMIT_BYTES:,} bytes", "more")
    try:
        names = tuple(line.strip() for line in content.decode("utf-8-sig").rstrip().splitlines())
    except UnicodeDecodeError as error:
        raise _fault(path, "not text", "UTF-8", f"byte {error.start} that is not") from None
    _check(path, names)
    return names


def _check(path: Path, names: tuple[str, ...]) -> None:
    if not 2 <= len(names) <= LIMIT_NAMES:
        raise _fault(path, "wrong number of classes", f"2 to {LIMIT_NAMES} names", str(len(names)))
    for line, name in enumerate(names, start=1):
        if not name or not name.isprintable():
            raise _fault(path, "bad name", "a name on every line", f"{name!r} on line {line}")
        if name in names[: line - 1]:
            raise _fault(path, "name used twice", "different names", f"{name!r} again on line {line}")


def _fault(path: Path, problem: str, expected: str, found: str) -> Exception:
    return fault(path, problem, expected=expected, found=found, remedy="one name per line, class 0 first")
