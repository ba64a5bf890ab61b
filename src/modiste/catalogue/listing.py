"""The list of a catalogue's pictures: read from a folder or a file, sorted, hashed, and kept in a part for each shard.

However many pictures there are, only a bounded number of names is in memory.
"""

import csv
import hashlib
import heapq
import os
import struct
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO

from modiste.catalogue import parquet
from modiste.data.pictures.folder_layout import SYSTEM_FOLDERS
from modiste.data.pictures.listing import SUFFIXES, UNREAD_SUFFIXES
from modiste.errors import DataError, PhotoError, RunError, StorageError, fault, reason_of, shown
from modiste.runs import storage

SORTED_AT_ONCE = 200_000
"""Names that are sorted in memory; more are sorted in parts, in temporary files, and merged."""
ENDINGS = tuple(os.fsencode(suffix) for suffix in SUFFIXES + UNREAD_SUFFIXES)
HIDDEN = b"."
SLASH = b"/"
UNREADABLE = SLASH
"""Ends the name of a folder that could not be opened; no picture's name ends so."""
BETWEEN = b"\0"
"""Separates names in a part; no system allows it within a name."""
DIGEST_BYTES = 32
LENGTH = struct.Struct("<I")
LISTS = (".csv", ".parquet")
"""Endings of files that list pictures."""


@dataclass(frozen=True)
class Place:
    """Where the pictures of a catalogue are.

    Attributes:
        root: The folder that relative names start from, absolute.
        table: The CSV or parquet file that lists them; None if they are all the pictures below the folder.
    """

    root: Path
    table: Path | None = None

    @classmethod
    def at(cls, path: Path) -> "Place":
        """Return the place with this path; PhotoError if it is neither a folder nor a list."""
        if path.is_dir():
            return cls(path.resolve())
        if path.suffix.lower() in LISTS:
            return cls(path.parent.resolve(), path.resolve())
        raise PhotoError(f"{shown(path)}: expected a folder of pictures, or a list of paths (.csv or .parquet)")

    def names(self, scratch: Path) -> Iterator[bytes]:
        """Yield the names of all pictures: of a folder sorted by path, of a list as it has them.

        Args:
            scratch: Folder for temporary files.

        Raises:
            PhotoError: The folder cannot be opened.
            DataError: The list cannot be read.
            StorageError: The names are too many to sort in memory, and ``scratch`` cannot be written.
        """
        return in_order(self._found(), scratch) if self.table is None else self._found()

    def demand_pictures(self) -> None:
        """Raise PhotoError if there are no pictures; DataError if the list cannot be read as far as its first path."""
        if next(self._found(), None) is None:
            raise self.without_pictures()

    def without_pictures(self) -> PhotoError:
        """Return the error of a place where there are no pictures."""
        return PhotoError(f"{shown(self.table or self.root)}: no pictures; expected files such as .jpg or .png")

    def _found(self) -> Iterator[bytes]:
        """Yield the names as the folder, in no order, or the list has them."""
        if self.table is None:
            return _below(self.root)
        read = parquet.read_paths if self.table.suffix.lower() == ".parquet" else _csv_paths
        return map(os.fsencode, read(self.table))


def write_list(names: Iterable[bytes], folder: Path, rows: int) -> tuple[str, int]:
    """Write names into a folder, ``rows`` in each part; return their hash and number."""
    digest, count, remaining = hashlib.sha256(), 0, iter(names)
    for number in range(2**63):
        part = tuple(islice(remaining, rows))
        if not part:
            break
        _feed(digest, part)
        count += len(part)
        content = zlib.compress(BETWEEN.join(part))
        storage.write_bytes(part_path(folder, number), hashlib.sha256(content).digest() + content)
    return digest.hexdigest(), count


def hash_list(names: Iterable[bytes]) -> tuple[str, int]:
    """Return the hash and number of names, as ``write_list`` does, without writing them."""
    digest, count, remaining = hashlib.sha256(), 0, iter(names)
    while part := tuple(islice(remaining, SORTED_AT_ONCE)):
        _feed(digest, part)
        count += len(part)
    return digest.hexdigest(), count


def read_part(folder: Path, number: int) -> tuple[bytes, ...]:
    """Return the names in a part of the list; RunError if it is missing or damaged."""
    path = part_path(folder, number)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({reason_of(error)}); begin again with another --out") from None
    body = content[DIGEST_BYTES:]
    if hashlib.sha256(body).digest() != content[:DIGEST_BYTES]:
        raise RunError(f"{path}: damaged, its content does not match its hash; begin again with another --out")
    return tuple(zlib.decompress(body).split(BETWEEN))


def part_path(folder: Path, number: int) -> Path:
    """Return the path of the part of the list that belongs to a shard."""
    return folder / f"pictures-{number:06d}"


def in_order(names: Iterable[bytes], scratch: Path) -> Iterator[bytes]:
    """Yield names sorted by their folders and their own name: an external merge sort (Knuth, volume 3, 5.4)."""
    remaining, parts = iter(names), list[IO[bytes]]()
    first = sorted(islice(remaining, SORTED_AT_ONCE), key=_folders)
    while more := sorted(islice(remaining, SORTED_AT_ONCE), key=_folders):
        parts.append(_written(more, scratch))
    yield from heapq.merge(first, *map(_read_back, parts), key=_folders)


def _folders(name: bytes) -> list[bytes]:
    return name.split(SLASH)


def _written(names: Iterable[bytes], scratch: Path) -> IO[bytes]:
    """Return a temporary file that holds the names, each after its length; StorageError if it cannot be written."""
    try:
        file = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 - closed when it has been read
        for name in names:
            file.write(LENGTH.pack(len(name)) + name)
        file.seek(0)
    except OSError as error:
        raise StorageError(
            f"{scratch}: cannot be written ({reason_of(error)}); expected room for the list of pictures while it is "
            "sorted; free space, or choose another --out"
        ) from error
    return file


def _read_back(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while length := file.read(LENGTH.size):
            yield file.read(LENGTH.unpack(length)[0])


def _below(root: Path) -> Iterator[bytes]:
    """Yield the names of the pictures below a folder, relative to it, and of folders that cannot be opened.

    Hidden files, links to folders, and files that are no pictures by their ending are left out.
    """
    base, waiting = os.fsencode(root), [b""]
    while waiting:
        folder = waiting.pop()
        try:
            yield from _pictures_in(base, folder, waiting)
        except OSError as error:
            if not folder:
                raise PhotoError(f"{shown(root)}: cannot be read ({reason_of(error)})") from None
            yield folder


def _pictures_in(base: bytes, folder: bytes, folders: list[bytes]) -> Iterator[bytes]:
    """Yield the names of the pictures in a folder; add the folders in it to ``folders``."""
    for item in _visible_in(os.path.join(base, folder)):  # noqa: PTH118 - bytes
        name = folder + item.name
        if item.is_dir(follow_symlinks=False):
            folders.append(name + SLASH)
        elif name.lower().endswith(ENDINGS):
            yield name


def _visible_in(folder: bytes) -> Iterator["os.DirEntry[bytes]"]:
    with os.scandir(folder) as items:
        for item in items:
            if not item.name.startswith(HIDDEN) and os.fsdecode(item.name) not in SYSTEM_FOLDERS:
                yield item


def _csv_paths(table: Path) -> Iterator[str]:
    """Yield the fields in the column ``path`` of a CSV file; DataError if it has no such column, or a row has no path.

    The first line names the columns; other columns are ignored.
    """
    line = 1
    try:
        for line, row in _csv_rows(table):
            path = (row[parquet.PATH] or "").strip()
            if not path or "\0" in path:
                raise _fault(table, line, "a path", path)
            yield path
    except (OSError, csv.Error) as error:
        raise _fault(table, line, "a CSV file", reason_of(error)) from None


def _csv_rows(table: Path) -> Iterator[tuple[int, dict[str, str | None]]]:
    """Yield the number of the last line of each row, and the row by the names of its columns."""
    with table.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        rows = csv.DictReader(file, strict=True)
        rows.fieldnames = [name.strip() for name in rows.fieldnames or ()]
        if rows.fieldnames.count(parquet.PATH) != 1:
            raise _fault(table, 1, "one column named path", ", ".join(rows.fieldnames))
        for row in rows:
            yield rows.line_num, row


def _fault(table: Path, line: int, expected: str, found: str) -> DataError:
    where = f"line {line:,}: wrong"
    return fault(table, where, expected=expected, found=shown(found) or "nothing", remedy="correct the CSV file")


def _feed(digest: "hashlib._Hash", names: Iterable[bytes]) -> None:
    digest.update(b"".join(name + BETWEEN for name in names))
