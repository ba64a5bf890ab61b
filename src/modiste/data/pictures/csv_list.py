"""A CSV file of pictures: columns path and label, and split where it says which part of the data each belongs to."""

import csv
import io
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

from modiste.data.pictures.folder_layout import part_called
from modiste.data.pictures.listing import PARTS, Entry, PictureList, make_list, reason_against
from modiste.errors import fault, reason_of, shown

MOST_BYTES = 256 * 2**20
COLUMNS = ("path", "label")
SPLIT = "split"


def read_picture_table(table: Path) -> PictureList:
    """List the pictures that a CSV file names, paths relative to its folder.

    Fields are parted by commas, the first line names the columns; others than path, label and split are left alone.
    Paths may have backslashes, and a split the spellings that folders may have, as val or Training.

    Raises DataError for a path that leaves the folder, a picture named twice, an unknown split, a field left empty.
    """
    entries: dict[str, Entry] = {}
    passed: list[tuple[str, str]] = []
    root = os.path.realpath(table.parent)
    for line, row in rows_of(table):
        entry = entry_of(table, line, row)
        if entry.name in entries:
            raise _fault(table, line, "a picture named twice", "each path once", entry.name)
        entries[entry.name] = entry
    for name in list(entries):
        reason = reason_against(table.parent / name, root)
        if reason:
            passed.append((name, reason))
            del entries[name]
    if not entries:
        found = f"{len(passed):,} paths, the first {passed[0][0]}: {passed[0][1]}" if passed else "no rows"
        remedy = "give paths as seen from the CSV's folder"
        raise fault(table, "no pictures", expected="rows that name files", found=shown(found), remedy=remedy)
    return make_list(table, table.parent, entries.values(), passed)


def rows_of(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the number and the fields of each line below the first; DataError for what is no such table."""
    try:
        rows = csv.DictReader(io.StringIO(text_of(table), newline=""), strict=True)
        names = [name.strip() for name in rows.fieldnames or ()]
        if any(names.count(column) != 1 for column in COLUMNS) or names.count(SPLIT) > 1:
            expected = f"a first line that names {' and '.join(COLUMNS)} once each, parted by a comma"
            raise _fault(table, 1, "columns", expected, ",".join(names)[:80] or "nothing")
        rows.fieldnames = names
        for row in rows:
            if None in row or None in row.values():
                raise _fault(table, rows.line_num, "fields", f"{len(names)} of them", "more or fewer")
            yield rows.line_num, row
    except csv.Error as error:
        raise _fault(table, rows.line_num, "not a CSV file", "fields parted by commas", str(error)) from None


def text_of(table: Path) -> str:
    """Return the table's text; DataError when it is too large, or no UTF-8."""
    try:
        with table.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise _fault(table, 1, "too large", f"at most {MOST_BYTES:,} bytes", "more")
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise _fault(table, line, "not text", "UTF-8", f"byte {error.start} that is not") from None
    except OSError as error:
        found = reason_of(error)
        raise fault(table, "unreadable", expected="a CSV file", found=found, remedy="check the path") from None


def entry_of(table: Path, line: int, row: dict[str, str]) -> Entry:
    """Return what a line names; DataError where it cannot be."""
    name, label, split = row["path"].strip(), row["label"].strip(), row.get(SPLIT, "").strip()
    if not name or not label:
        raise _fault(table, line, "a field left empty", "a path and a label", f'"{name}","{label}"')
    part = part_called(split)
    if SPLIT in row and not part:
        raise _fault(table, line, "an unknown split", " or ".join(PARTS), f'"{split}"')
    path = path_of(table.parent, name)
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise _fault(table, line, "a path that leaves the folder", f"one below {shown(table.parent)}", name)
    return Entry(str(path), label, part)


def path_of(folder: Path, name: str) -> PurePosixPath:
    """Return a path as written, or with slashes for backslashes where no file has that very name."""
    path = PurePosixPath(name)
    if "\\" not in name or "\0" in name or os.path.lexists(folder / path):
        return path
    return PurePosixPath("/" if PureWindowsPath(name).drive else "", PureWindowsPath(name).as_posix())


def _fault(table: Path, line: int, problem: str, expected: str, found: str) -> Exception:
    return fault(
        table, f"line {line:,}: {problem}", expected=expected, found=shown(found), remedy="correct the CSV file"
    )
