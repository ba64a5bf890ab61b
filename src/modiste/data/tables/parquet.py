"""Parquet files of images and labels, as Hugging Face has them. Lists of paths in parquet: ``catalogue.parquet``."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from modiste.data.idx.reader import LIMIT_BYTES
from modiste.data.paths import kind_at
from modiste.data.tables.arrays import decode_picture, is_turned, refusal, to_labels
from modiste.data.tables.contents import Contents, Part, PartName, TableSource, files_in, parts_in
from modiste.errors import PhotoError, extra_for, fault, reason_of, shown

EXTRA = ("data in parquet", "pyarrow and Pillow", "parquet")
"""Arguments of ``extra_for``."""
ENDING = ".parquet"
MAGIC = b"PAR1"
IMAGES, LABELS = ("image", "img", "images"), ("label", "labels", "fine_label", "target")
ROWS_AT_ONCE = 4_096
SHARD = re.compile(r"-(\d{3,6})-of-(\d{3,6})$")
INSIDE = ("", "data")
"""Folders within a person's, where the files may be."""


@dataclass(frozen=True)
class _Columns:
    """Names of the columns of images and labels, and of the labels' classes if the file says them."""

    image: str
    label: str
    class_names: tuple[str, ...] | None


def detect(path: Path) -> bool:
    """Return whether ``path`` is a parquet file, or a folder that holds some."""
    if kind_at(path) == "file":
        return path.suffix.lower() == ENDING
    return kind_at(path) == "folder" and bool(_files(path))


def read(path: Path) -> Contents:
    """Return what a file, or the files of a folder, hold: train-*.parquet, test-*.parquet, or all for training.

    A file that is named itself is for training, whatever its name says.

    Raises:
        DataError: A folder has no training part, a shard is missing, or a file's name says two parts; a file is
            damaged, or has no such columns.
        MissingExtraError: pyarrow is not installed.
    """
    is_folder = kind_at(path) == "folder"
    files = _files(path) if is_folder else [path]
    parts: dict[PartName, list[Path]] = {}
    for file in files:
        parts.setdefault(_part_of(file) if is_folder else "train", []).append(file)
    if "train" not in parts:
        found, remedy = ", ".join(file.name for file in files), "add it, or name one file"
        raise fault(path, "no training part", expected="train-*.parquet", found=shown(found), remedy=remedy)
    if is_folder:
        for shards in parts.values():
            _check_shards(shards)
    columns = [_columns(file) for file in files]
    named = {one.class_names for one in columns}
    if len(named) > 1:
        found = f"different ones in {len(named)} files"
        raise fault(path, "class names differ", expected="the same in all files", found=found, remedy="write them anew")
    readers: dict[PartName, partial[Part]] = {part: partial(_read_part, shards) for part, shards in parts.items()}
    return Contents(shown(path.resolve().name.removesuffix(ENDING)) or "images", str(path), readers, named.pop())


SOURCE = TableSource("parquet", "a .parquet file, or a folder of train-*.parquet and test-*.parquet", detect, read)


def _files(folder: Path) -> list[Path]:
    for inside in INSIDE:
        if files := files_in(folder / inside, ENDING):
            return files
    return []


def _part_of(file: Path) -> PartName:
    """Return the part that a file's name stands for; train if it says none. DataError if it says several."""
    found = parts_in(file)
    if len(found) > 1:
        raise fault(
            file,
            "a name of several parts",
            expected="train, validation or test in it",
            found=" and ".join(sorted(found)),
            remedy="rename the file",
        )
    return found.pop() if found else "train"


def _check_shards(files: list[Path]) -> None:
    """Raise DataError if shards that count themselves are not all there."""
    matches = [match for match in (SHARD.search(file.stem) for file in files) if match]
    if not matches:
        return
    wanted, found = set(range(int(matches[0].group(2)))), {int(match.group(1)) for match in matches}
    if len(matches) < len(files) or found != wanted:
        absent = sorted(wanted - found)[:3]
        raise fault(
            files[0].parent,
            "shards missing",
            expected=f"{len(wanted):,} files such as {shown(files[0].name)}",
            found=f"{len(files):,}" + (f", without number {absent[0]}" if absent else ""),
            remedy="fetch all of them",
        )


def _columns(path: Path) -> _Columns:
    """Return the names of the columns; DataError unless they hold images and labels."""
    with _opened(path) as file:
        schema = file.schema_arrow
        image, label = (_one_of(path, schema.names, names) for names in (IMAGES, LABELS))
        kind = schema.field(image).type
        fields = {kind.field(number).name: str(kind.field(number).type) for number in range(kind.num_fields)}
        own = fields.get("bytes", "") if fields else str(kind)
        if own not in ("binary", "large_binary", "binary_view"):
            raise refusal(
                f"{shown(path)}: column {image}",
                "not pictures",
                expected="the bytes of picture files, or a struct with bytes",
                found=f"type {kind}",
                remedy="write it with datasets.Image()",
            )
        found = str(schema.field(label).type)
        if not re.fullmatch(r"u?int\d+|bool|(large_)?string(_view)?|dictionary<values=string.*>", found):
            raise refusal(
                f"{shown(path)}: column {label}",
                "not labels",
                expected="whole numbers or text",
                found=f"type {found}",
                remedy="convert the column",
            )
        return _Columns(image, label, _class_names(path, schema.metadata or {}, label))


def _one_of(path: Path, columns: list[str], names: tuple[str, ...]) -> str:
    found = [column for column in columns if column in names]
    if len(found) != 1:
        raise fault(
            path,
            "several such columns" if found else "no such column",
            expected=f"one column {' or '.join(names)}",
            found=shown(", ".join(columns)) or "no columns",
            remedy="rename or remove columns",
        )
    return found[0]


def _class_names(path: Path, metadata: dict[bytes, bytes], label: str) -> tuple[str, ...] | None:
    """Return the class names in Hugging Face's metadata; None if it says none. Raises DataError."""
    text = metadata.get(b"huggingface")
    if text is None:
        return None
    try:
        features = json.loads(text)["info"]["features"]
        names = features.get(label, {}).get("names")
        if isinstance(names, dict):  # by their labels, in any order
            names = [names[str(label)] for label in range(len(names))]
        if names is None:
            return None
        return tuple(str.strip(name) for name in names)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        where, expected = f"{shown(path)}: metadata huggingface", "JSON with info, features, names"
        found, remedy = f"{type(error).__name__}: {error}", "write the file anew"
        raise refusal(where, "damaged", expected=expected, found=found, remedy=remedy) from None


def _read_part(paths: list[Path]) -> Part:
    """Read and join shards."""
    images: list[ndarray] = []
    labels: list[ndarray] = []
    rows, read, turned = sum(map(_rows, paths)), 0, 0
    shape: tuple[int, ...] | None = None
    for path in paths:
        columns = _columns(path)
        where = f"{shown(path)}: column {columns.label}"
        own: list[Any] = []
        for pictures, some in _batches(path, columns):
            read += len(pictures)
            count = max(rows, read)  # a damaged file may hold more rows than it says
            images.append(_decoded(f"{shown(path)}: column {columns.image}", pictures, len(own), shape, count))
            turned += sum(is_turned(picture) for picture in pictures if picture)
            shape = images[0].shape[1:]
            own += some
        if None in own:
            found, remedy = f"none in row {own.index(None):,}", "fill it, or drop the row"
            raise refusal(where, "a missing label", expected="a label in every row", found=found, remedy=remedy)
        labels.append(to_labels(np.array(own, object), where))
    if len({one.dtype.kind for one in labels}) > 1:
        found, remedy = "both", "write the files anew"
        raise fault(paths[0], "labels of several types", expected="text or numbers", found=found, remedy=remedy)
    notes = _notes_of_turned(f"{shown(paths[0])}: column {columns.image}", turned, read)
    return Part(np.concatenate(images), np.concatenate(labels), f"{shown(paths[0])}: column {columns.label}", notes)


def _notes_of_turned(where: str, turned: int, count: int) -> tuple[str, ...]:
    """Return a note about pictures that are stored turned or mirrored; none if there are none."""
    if not turned:
        return ()
    return (
        f"{where}: {turned:,} of {count:,} pictures say that they are stored turned or mirrored; they are taken as "
        "they are stored; write them as class folders to have them turned",
    )


def _rows(path: Path) -> int:
    """Return the number of rows that a file says to have."""
    with _opened(path) as file:
        return int(file.metadata.num_rows)


def _check_size(where: str, count: int, shape: tuple[int, ...]) -> None:
    """Raise DataError if ``count`` pictures of a shape have more than LIMIT_BYTES."""
    size = count * prod(shape)
    if size > LIMIT_BYTES:
        raise refusal(
            where,
            "too large",
            expected=f"at most {LIMIT_BYTES:,} bytes of pixels",
            found=f"{size:,} in {count:,} pictures",
            remedy="write them as class folders",
        )


def _batches(path: Path, columns: _Columns) -> Iterator[tuple[list[bytes | None], list[Any]]]:
    """Yield some rows at a time: pictures as bytes, and labels."""
    with _opened(path) as file:
        if not file.metadata.num_rows:
            raise fault(path, "empty", expected="a row for each image", found="no rows")
        for batch in file.iter_batches(ROWS_AT_ONCE, columns=[columns.image, columns.label], use_threads=False):
            pictures = batch.column(columns.image)
            if pictures.type.num_fields:
                pictures = pictures.field("bytes")
            yield pictures.to_pylist(), batch.column(columns.label).to_pylist()


def _decoded(
    where: str, pictures: list[bytes | None], first: int, shape: tuple[int, ...] | None, count: int
) -> ndarray:
    """Return pictures as one array.

    Args:
        where: Names the column in messages.
        pictures: Content of picture files.
        first: Row of the first of them.
        shape: That all must have; None for that of the first.
        count: Number of pictures of the whole part, whose size is checked before more than one is decoded.

    Raises:
        DataError: A picture cannot be read or is of another shape, or the part is too large.
    """
    images = []
    for number, data in enumerate(pictures, start=first):
        row = f"{where}, row {number:,}"
        if data is None:
            remedy = "embed the pictures: datasets.Dataset.to_parquet does"
            raise refusal(row, "no picture", expected="the bytes of one", found="none, or a path", remedy=remedy)
        try:
            image = decode_picture(data)
        except PhotoError as error:
            expected, remedy = "a PNG or JPEG picture", "repair or drop the row"
            raise refusal(row, "damaged", expected=expected, found=str(error), remedy=remedy) from None
        shape = shape or image.shape
        if number == first:
            _check_size(where, count, shape)
        if image.shape != shape:
            remedy = "make them alike, or write them as class folders"
            raise refusal(row, "another shape", expected=f"{shape}", found=f"{image.shape}", remedy=remedy)
        images.append(image)
    return np.stack(images)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a parquet file; DataError if it is none, or if reading it in the block fails."""
    with extra_for(*EXTRA):
        import pyarrow
        import pyarrow.parquet
    try:
        with pyarrow.parquet.ParquetFile(path, thrift_string_size_limit=2**26, page_checksum_verification=True) as file:
            yield file
    except (OSError, pyarrow.ArrowException, ValueError, KeyError, IndexError) as error:
        found = reason_of(error).partition("\n")[0]
        raise fault(path, "damaged", expected="a parquet file", found=shown(found)) from None
