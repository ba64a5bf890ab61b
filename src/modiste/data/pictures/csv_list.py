"""Lists the pictures that a CSV file, or a file of JSON lines, names: path and label, and optionally split."""

import csv
import io
import json
import os
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

from modiste.data.paths import kind_at
from modiste.data.pictures.folder_layout import split_named
from modiste.data.pictures.listing import (
    SPLITS,
    SUFFIXES,
    Entry,
    PictureList,
    make_list,
    reason_against,
)
from modiste.errors import fault, reason_of, shown

MOST_BYTES = 256 * 2**20
PATH_COLUMNS, LABEL_COLUMN = ("path", "file_name", "image_id"), "label"
"""Columns of paths: ours, then those of other tools. The first that a table has counts; a path without an extension is
completed."""
METADATA = ("metadata.csv", "metadata.jsonl")
"""Tables that lie in the folder of their pictures, as Hugging Face has them."""
JSON_LINES = ".jsonl"
SPLIT_COLUMN = "split"


def metadata_in(folder: Path) -> Path | None:
    """Return the table in a folder that names the folder's pictures with labels; None if there is none."""
    for name in METADATA:
        if kind_at(folder / name) == "file":
            first = _text(folder / name).partition("\n")[0]
            if "label" in first and any(column in first for column in PATH_COLUMNS):
                return folder / name
    return None


def read_picture_table(table: Path, *, for_training: bool = True) -> PictureList:
    """List the pictures that a CSV file names by paths relative to its folder.

    Commas separate the fields. The first line names the columns; columns other than the first of PATH_COLUMNS, label
    and split are ignored. A file of JSON lines has an object with these names in each line. Paths may have backslashes.
    A split may have any spelling that a folder may have, such as val or Training.

    Raises:
        DataError: A path leaves the folder, a picture is named twice, a split is unknown, or a field is empty.
    """
    entries: dict[str, Entry] = {}
    skipped: list[tuple[str, str]] = []
    root = os.path.realpath(table.parent)
    for line, row in _json_rows(table) if table.suffix.lower() == JSON_LINES else _rows(table):
        entry = _entry(table, line, row)
        if entry.name in entries:
            raise _fault(table, line, "a picture named twice", "each path once", entry.name)
        entries[entry.name] = entry
    for name in list(entries):
        reason = reason_against(table.parent / name, root)
        if reason:
            skipped.append((name, reason))
            del entries[name]
    if not entries:
        found = f"{len(skipped):,} paths, the first {skipped[0][0]}: {skipped[0][1]}" if skipped else "no rows"
        remedy = "give paths relative to the CSV's folder"
        raise fault(table, "no pictures", expected="rows that name files", found=shown(found), remedy=remedy)
    return make_list(table, table.parent, entries.values(), skipped, for_training=for_training)


def _rows(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the number and the fields of each line after the first; DataError if this is no such table."""
    try:
        rows = csv.DictReader(io.StringIO(_text(table), newline=""), strict=True)
        names = [name.strip() for name in rows.fieldnames or ()]
        path = _path_column(names)
        if any(names.count(column) != 1 for column in (path, LABEL_COLUMN)) or names.count(SPLIT_COLUMN) > 1:
            expected = f"a first line that names {path} and {LABEL_COLUMN} once each, separated by a comma"
            raise _fault(table, 1, "wrong columns", expected, ",".join(names)[:80] or "nothing")
        rows.fieldnames = names
        for row in rows:
            if None in row or None in row.values():
                raise _fault(table, rows.line_num, "wrong number of fields", f"{len(names)}", "more or fewer")
            yield rows.line_num, row | {"path": row[path]}
    except csv.Error as error:
        raise _fault(table, rows.line_num, "not a CSV file", "fields separated by commas", str(error)) from None


def _json_rows(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the number and the fields of each line of JSON; DataError if a line is no object with path and label."""
    expected = 'an object such as {"file_name": "1.png", "label": "coat"}'
    for number, line in enumerate(_text(table).split("\n"), start=1):  # JSON's text may hold other ends of lines
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise _fault(table, number, "not JSON", expected, str(error)) from None
        row = {name: value for name, value in row.items() if value is not None} if isinstance(row, dict) else {}
        path = _path_column(row)
        values = {name: row[name] for name in (path, LABEL_COLUMN, SPLIT_COLUMN) if name in row}
        if not {path, LABEL_COLUMN} <= set(values) or not all(type(value) in (str, int) for value in values.values()):
            raise _fault(table, number, "no path or no label", expected, line[:80])
        yield number, {name: str(value) for name, value in values.items()} | {"path": str(row[path])}


def _path_column(names: Collection[str]) -> str:
    """Return the column of the paths: the first of PATH_COLUMNS that there is, or else the first of all."""
    return next((column for column in PATH_COLUMNS if column in names), PATH_COLUMNS[0])


def _text(table: Path) -> str:
    """Return the table's text; DataError if it is too large or not UTF-8."""
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


def _entry(table: Path, line: int, row: dict[str, str]) -> Entry:
    """Return the picture that a line names; DataError if the line is invalid."""
    name, label, value = row["path"].strip(), row["label"].strip(), row.get(SPLIT_COLUMN, "").strip()
    if not name or not label:
        raise _fault(table, line, "an empty field", "a path and a label", f'"{name}","{label}"')
    split = split_named(value)
    if SPLIT_COLUMN in row and not split:
        raise _fault(table, line, "an unknown split", " or ".join(SPLITS), f'"{value}"')
    path = _path(table.parent, name)
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise _fault(table, line, "a path that leaves the folder", f"one below {shown(table.parent)}", name)
    return Entry(str(_completed(table.parent, path)), label, split)


def _completed(folder: Path, path: PurePosixPath) -> PurePosixPath:
    """Return a path with the extension of the picture that has this name, if it has no extension itself."""
    if path.suffix.lower() in SUFFIXES or os.path.lexists(folder / path):
        return path
    whole = (path.with_name(path.name + suffix) for suffix in SUFFIXES)
    return next((one for one in whole if os.path.lexists(folder / one)), path)


def _path(folder: Path, name: str) -> PurePosixPath:
    """Return a path as written; if no file has that exact name, with slashes for backslashes."""
    path = PurePosixPath(name)
    if "\\" not in name or "\0" in name or os.path.lexists(folder / path):
        return path
    return PurePosixPath("/" if PureWindowsPath(name).drive else "", PureWindowsPath(name).as_posix())


def _fault(table: Path, line: int, problem: str, expected: str, found: str) -> Exception:
    return fault(
        table, f"line {line:,}: {problem}", expected=expected, found=shown(found), remedy="correct the CSV file"
    )
