"""CSV files of pixels, as Kaggle has them: a row an image, a column a pixel, and a column of labels.

The usual file, of whole numbers alone, is read in large blocks by NumPy. Any other is read again field by field, which
takes several times as long and finds the line of a fault.
"""

import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from math import isqrt
from pathlib import Path
from typing import IO, Any

import numpy as np
from jaxtyping import UInt8, UInt16
from numpy import ndarray

from modiste.data.idx.reader import LIMIT_BYTES
from modiste.data.paths import kind_at
from modiste.data.tables.arrays import Pixels, refusal, to_labels, to_pixels
from modiste.data.tables.contents import Contents, Part, PartName, TableSource, files_in, parts_in
from modiste.errors import fault, reason_of, shown

ENDINGS = (".csv", ".csv.gz")
LABELS = ("label", "labels", "class", "target", "y")
"""Names of a column of labels, in lower case."""
NUMBERED = re.compile(r"(?:(?:pixel|px|p)[ _-]?)?(\d+)")
"""A pixel by its number; pandas gives the number alone."""
BY_PLACE = re.compile(r"(\d+)x(\d+)")
LONGEST_LINE = 2**24
LEAST_COLUMNS = 5
"""Fewer columns of numbers are no images."""
BLOCK_BYTES = 8 * 2**20
COMMA, NEWLINE, ZERO, NINE = b",\n09"
MOST_DIGITS = 3
FRACTION = re.compile(r"[.eE]")
"""What distinguishes a float from a whole number, as written."""
DAMAGE = (OSError, EOFError, zlib.error, ValueError, csv.Error)


@dataclass(frozen=True)
class _Columns:
    """The columns of a file.

    Attributes:
        count: Number of columns.
        label: Position of the labels; None if there are none.
        shape: Height and width of the images.
        header: Whether the first line names the columns.
    """

    count: int
    label: int | None
    shape: tuple[int, int]
    header: bool


def detect(path: Path) -> bool:
    """Return whether ``path`` is a CSV file of pixels, or a folder that holds one of training images."""
    if kind_at(path) == "folder":
        return any(split_of(file) == "train" and _is_of_pixels(file) for file in _tables(path))
    return path.name.lower().endswith(ENDINGS) and _is_of_pixels(path)


def read(path: Path) -> Contents:
    """Return what the file, or the folder's files of training, validation and test images, hold."""
    if kind_at(path) == "file":
        name = re.sub(r"\.csv(\.gz)?$", "", path.name, flags=re.IGNORECASE)
        return Contents(shown(name) or "pixels", str(path), {"train": partial(read_part, path)})
    parts: dict[PartName, partial[Part]] = {}
    for file in _tables(path):
        part = split_of(file)
        if part is None or not _is_of_pixels(file):
            continue
        if part in parts:
            found = f"{parts[part].args[0].name} and {file.name}"
            remedy = "name one of them, or a folder that holds one set"
            raise fault(path, "more than one set", expected=f"one file for {part}", found=shown(found), remedy=remedy)
        if part != "test" or _columns(file).label is not None:  # a competition's test file has none
            parts[part] = partial(read_part, file)
    return Contents(shown(path.resolve().name) or "pixels", str(path), parts)


SOURCE = TableSource("pixel-csv", "a .csv or .csv.gz file of labels and pixels, or a folder of two", detect, read)


def split_of(file: Path) -> PartName | None:
    """Return the part that a file's name stands for: fashion-mnist_train.csv, test.csv.gz; None if not exactly one."""
    found = parts_in(file)
    return found.pop() if len(found) == 1 else None


def read_part(path: Path) -> Part:
    """Read a file of labels and pixels.

    Raises:
        DataError: It is damaged, has no labels, or a field is no number or out of range.
    """
    columns = _columns(path)
    if columns.label is None:
        raise fault(
            path,
            "no labels",
            expected=f"a column {' or '.join(LABELS[:2])}, or labels as the first of the columns",
            found=f"{columns.count:,} columns of pixels",
            remedy="images without labels are for modiste predict",
        )
    pixels, labels = _read(path, columns)
    where = f"{shown(path)}: labels"
    return Part(pixels.images, to_labels(labels, where), where, pixels.notes)


def read_images(path: Path) -> UInt8[ndarray, "n h w"]:
    """Read the images of a file with or without labels; DataError as ``read_part``."""
    return _read(path, _columns(path))[0].images


def _read(path: Path, columns: _Columns) -> tuple[Pixels, ndarray]:
    """Return the images, and the labels as they stand in the file; no labels if there is no column of them."""
    values = _read_quickly(path, columns)
    if values is None:
        pixels, labels = _read_slowly(path, columns)
    elif columns.label is None:
        pixels, labels = values, values[:, :0]
    else:
        pixels, labels = np.delete(values, columns.label, axis=1), values[:, columns.label]
    return to_pixels(pixels.reshape(-1, *columns.shape), f"{shown(path)}: pixels"), labels


def _tables(folder: Path) -> list[Path]:
    files = files_in(folder, *ENDINGS)
    raw = {file.name for file in files}
    return [file for file in files if file.suffix != ".gz" or file.name.removesuffix(".gz") not in raw]


def _is_of_pixels(path: Path) -> bool:
    """Return whether the first line names pixels, or holds many numbers; False if it cannot be read."""
    if kind_at(path) != "file":
        return False
    try:
        with _stream(path) as stream:
            fields = _fields(stream.readline(LONGEST_LINE))
    except DAMAGE:
        return False
    if len(fields) < LEAST_COLUMNS:
        return False
    return all(map(_is_number, fields)) or sum(map(_is_pixel, fields)) >= LEAST_COLUMNS - 1


def _fields(line: bytes) -> list[str]:
    text = line.decode("utf-8-sig", "replace").strip("\r\n")
    return [field.strip() for field in next(csv.reader([text]), [])] if "\0" not in text else []


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _is_pixel(name: str) -> bool:
    return bool(NUMBERED.fullmatch(name.lower()) or BY_PLACE.fullmatch(name.lower()))


def _columns(path: Path) -> _Columns:
    """Return the columns as the first line says; DataError if they are not those of labels and pixels."""
    with _damage(path), _stream(path) as stream:
        fields = [field.lower() for field in _fields(stream.readline(LONGEST_LINE))]
    if not all(map(_is_number, fields)):
        return _named_columns(path, fields)
    count, header = len(fields), fields == list(map(str, range(len(fields))))  # as pandas numbers columns without names
    side, with_labels = isqrt(count), isqrt(count - 1) ** 2 == count - 1
    if not with_labels and side * side != count:
        raise fault(
            path,
            "rows of no square",
            expected="a label and a square number of pixels, such as 785 columns",
            found=f"{count:,} columns",
            remedy="name the columns 1x1, 1x2 ... in the first line",
        )
    side = isqrt(count - 1) if with_labels else side
    return _Columns(count, 0 if with_labels else None, (side, side), header)


def _named_columns(path: Path, names: list[str]) -> _Columns:
    if double := next((name for name in names if names.count(name) > 1), None):
        if _is_number(double):
            expected, remedy = "label, pixel1, pixel2 ... in the first line, or numbers alone", "add such a line"
            found = shown(",".join(names)[:80])
            raise fault(path, "no names of columns", expected=expected, found=found, remedy=remedy)
        raise fault(path, "a column twice", expected="each column once", found=shown(double), remedy="remove one")
    labels = [number for number, name in enumerate(names) if name in LABELS]
    pixels = [name for name in names if _is_pixel(name)]
    strange = [name for number, name in enumerate(names) if not _is_pixel(name) and number not in labels]
    if len(labels) > 1 or strange:
        problem = "several columns of labels" if len(labels) > 1 else "an unknown column"
        found = names[labels[1]] if len(labels) > 1 else strange[0]
        remedy = "remove it"
        raise fault(path, problem, expected="label, pixel1, pixel2 ...", found=f'"{shown(found)}"', remedy=remedy)
    return _Columns(len(names), labels[0] if labels else None, _shape(path, pixels), header=True)


def _shape(path: Path, pixels: list[str]) -> tuple[int, int]:
    """Return height and width from the names of the pixels; DataError unless they are complete and in order."""
    if places := [tuple(map(int, match.groups())) for match in map(BY_PLACE.fullmatch, pixels) if match]:
        height, width = (max(place[axis] for place in places) - min(places)[axis] + 1 for axis in (0, 1))
        first = min(places)
        wanted = [(first[0] + n // width, first[1] + n % width) for n in range(len(pixels))]
        is_whole = places == wanted and height * width == len(pixels)
    else:
        numbers = [int(match.group(1)) for match in map(NUMBERED.fullmatch, pixels) if match]
        height = width = isqrt(len(pixels))
        is_whole = numbers == list(range(numbers[0], numbers[0] + len(pixels))) and height * width == len(pixels)
    if not is_whole:
        raise fault(
            path,
            "pixels missing or out of order",
            expected="pixel1, pixel2 ... up to a square number, or 1x1, 1x2 ...",
            found=f"{len(pixels):,}, from {pixels[0]} to {pixels[-1]}",
            remedy="complete or sort the columns",
        )
    return height, width


def _read_quickly(path: Path, columns: _Columns) -> UInt16[ndarray, "n columns"] | None:
    """Return all fields; None if one is anything but a whole number of up to three digits."""
    blocks, size = [], 0
    with _damage(path), _stream(path) as stream:
        if columns.header:
            stream.readline(LONGEST_LINE)
        rest = b""
        while chunk := stream.read(BLOCK_BYTES):
            whole, newline, rest = (rest + chunk).rpartition(b"\n")
            if len(rest) > LONGEST_LINE or b"\r" in whole[:-1].replace(b"\r\n", b""):
                return None
            values = _numbers((whole + newline).replace(b"\r\n", b"\n"), columns.count) if newline else None
            if newline and values is None:
                return None
            if values is not None:
                blocks.append(values)
                size += values.size
            _check_size(path, size)
        if rest and (values := _numbers(rest + b"\n", columns.count)) is not None:
            blocks.append(values)
        elif rest:
            return None
    return np.concatenate(blocks) if blocks else None


def _numbers(text: bytes, columns: int) -> UInt16[ndarray, "n columns"] | None:
    """Return the whole numbers of lines that each end in a newline; None if there is anything else in them."""
    letters = np.frombuffer(text, np.uint8)
    ends = np.flatnonzero((letters == COMMA) | (letters == NEWLINE))
    digits = np.diff(ends, prepend=-1) - 1
    if len(ends) % columns or digits.min() < 1 or digits.max() > MOST_DIGITS:
        return None
    newlines = letters[ends].reshape(-1, columns) == NEWLINE
    others = len(letters) - len(ends)
    if newlines[:, :-1].any() or not newlines[:, -1].all():
        return None
    if int(((letters >= ZERO) & (letters <= NINE)).sum()) != others:
        return None
    numbers = (letters[ends - 1] - ZERO).astype(np.uint16)
    numbers += np.where(digits > 1, letters[ends - 2] - np.uint8(ZERO), 0).astype(np.uint16) * np.uint16(10)
    numbers += np.where(digits > 2, letters[ends - 3] - np.uint8(ZERO), 0).astype(np.uint16) * np.uint16(100)
    return numbers.reshape(-1, columns)


def _read_slowly(path: Path, columns: _Columns) -> tuple[ndarray, ndarray]:
    """Return pixels and labels, field by field; DataError with the line of what is wrong.

    The pixels are floats. Only pixels that are all written 0 or 1 are whole numbers, since floats from 0 to 1 would be
    multiplied by 255.
    """
    rows: list[ndarray] = []
    labels: list[Any] = []
    are_whole = True
    with _damage(path), _stream(path) as stream:
        for where, fields in islice(_records(path, stream), int(columns.header), None):
            if not fields:
                continue
            if len(fields) != columns.count:
                expected, found = f"{columns.count:,}", f"{len(fields):,}"
                remedy = "correct the file, or fetch it again"
                raise refusal(where, "wrong number of fields", expected=expected, found=found, remedy=remedy)
            if columns.label is not None:
                labels.append(fields.pop(columns.label).strip())
            rows.append(_floats(where, fields))
            are_whole = are_whole and not FRACTION.search("".join(fields))
            _check_size(path, 4 * len(rows) * columns.count)
    if not rows:
        raise fault(path, "empty", expected="a row for each image", found="no rows", remedy="fetch the file again")
    pixels = np.stack(rows)
    if are_whole and bool(np.isin(pixels, (0, 1)).all()):
        pixels = pixels.astype(np.uint8)
    return pixels, _labels(labels)


def _records(path: Path, stream: IO[bytes]) -> Iterator[tuple[str, list[str]]]:
    """Yield file and line of each record, for messages, with the record's fields; DataError if it is not CSV."""
    lines = csv.reader(_text_lines(path, stream), strict=True)
    try:
        for fields in lines:
            yield f"{shown(path)}: line {lines.line_num:,}", fields
    except csv.Error as error:
        where, found = f"{shown(path)}: line {lines.line_num:,}", str(error)
        expected, remedy = "fields separated by commas", "correct the file"
        raise refusal(where, "not a CSV file", expected=expected, found=found, remedy=remedy) from None


def _labels(texts: list[str]) -> ndarray:
    """Return labels as whole numbers if all are, as floats if all are numbers, else as text."""
    if any("_" in text for text in texts):  # which Python allows within a number: 1_0 would be 10
        return np.array(texts, object)
    for kind in (int, float):
        try:
            return np.array([kind(text) for text in texts])
        except ValueError:
            continue
    return np.array(texts, object)


def _text_lines(path: Path, stream: IO[bytes]) -> Iterator[str]:
    for number, line in enumerate(iter(partial(stream.readline, LONGEST_LINE), b""), start=1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            where, found = f"{shown(path)}: line {number:,}", f"byte {error.start} that is not"
            remedy = "save it as UTF-8"
            raise refusal(where, "not text", expected="UTF-8", found=found, remedy=remedy) from None


def _floats(where: str, fields: list[str]) -> ndarray:
    try:
        return np.array(fields, np.float32)
    except ValueError:
        at = next((number for number, field in enumerate(fields) if not _is_number(field)), 0)
        raise refusal(
            where,
            "not a number",
            expected=f"a number as pixel {at + 1:,} of {len(fields):,}",
            found=f'"{fields[at]}"',
            remedy="correct the file",
        ) from None


def _check_size(path: Path, size: int) -> None:
    if size > LIMIT_BYTES:
        expected = f"at most {LIMIT_BYTES:,} bytes of pixels"
        raise fault(path, "too large", expected=expected, found="more", remedy="write the images as .npz of uint8")


@contextmanager
def _stream(path: Path) -> Iterator[IO[bytes]]:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if not packed:
            yield file
            return
        with gzip.GzipFile(fileobj=file) as unpacked:
            yield io.BufferedReader(unpacked)


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Raise DataError if reading in the block fails."""
    try:
        yield
    except DAMAGE as error:
        found = shown(reason_of(error)) or type(error).__name__
        raise fault(path, "damaged", expected="a whole CSV file", found=found) from None
