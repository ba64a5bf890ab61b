"""Arrays in .npz files: of Keras, MedMNIST and KMNIST, and others with keys for images and labels.

The sizes of the arrays are read from their headers and compared with the size of the file before anything else is
read. Objects, which would have to be unpickled, are refused.
"""

import re
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from modiste.data.idx.reader import BLOCK_BYTES, DEFLATE_RATIO, LIMIT_BYTES
from modiste.data.paths import kind_at
from modiste.data.tables.arrays import refusal, to_labels, to_pixels
from modiste.data.tables.contents import Contents, Part, PartName, TableSource, files_in
from modiste.errors import fault, reason_of, shown

ENDING = ".npz"
KEYS: dict[PartName, tuple[tuple[str, str], ...]] = {
    "train": (
        *(("x_train", "y_train"), ("train_images", "train_labels"), ("train_x", "train_y")),
        *(("images", "labels"), ("x", "y"), ("data", "labels"), ("data", "target"), ("arr_0", "arr_1")),
    ),
    "validation": (
        *(("x_val", "y_val"), ("x_valid", "y_valid"), ("x_validation", "y_validation"), ("val_images", "val_labels")),
        *(("validation_images", "validation_labels"), ("valid_images", "valid_labels"), ("val_x", "val_y")),
    ),
    "test": (("x_test", "y_test"), ("test_images", "test_labels"), ("test_x", "test_y")),
}
"""Keys of images and labels, in lower case."""
NAMES_KEYS = ("class_names", "classes", "label_names")
ONLY = "arr_0"
"""The key in a file that holds one array, as KMNIST's do."""
SINGLE = re.compile(r"(?P<set>.*?)(?P<part>train|test|val|valid|validation)(?P<more>[-_])(?P<what>imgs|images|labels)$")
"""Name of such a file."""
PARTS: dict[str, PartName] = {"train": "train", "test": "test", "val": "validation", "valid": "validation"}
DAMAGE = (
    *(OSError, EOFError, ValueError, KeyError, TypeError, SyntaxError, OverflowError, RecursionError, MemoryError),
    *(NotImplementedError, RuntimeError, IndexError),
    *(zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError),
)
"""What ``zipfile`` and NumPy's reader of headers raise for a damaged file."""


def detect(path: Path) -> bool:
    """Return whether ``path`` is an .npz file, or a folder of files with an array each, as KMNIST's."""
    if kind_at(path) == "file":
        return path.suffix.lower() == ENDING
    return kind_at(path) == "folder" and any(SINGLE.match(file.stem) for file in files_in(path, ENDING))


def read(path: Path) -> Contents:
    """Return what the file or folder holds; DataError if it is damaged or has no such keys."""
    match = SINGLE.match(path.stem)
    if kind_at(path) == "folder" or (match and list(_shapes(path)) == [ONLY]):
        return _single_files(path, match.group("set") if match else None)
    return _one_file(path)


SOURCE = TableSource("npz", "an .npz file, or a folder of KMNIST's", detect, read)


def _one_file(path: Path) -> Contents:
    shapes = _shapes(path)
    lower: dict[str, str] = {}
    for key in shapes:
        if lower.setdefault(key.lower(), key) != key:
            found = f"{lower[key.lower()]} and {key}"
            raise fault(path, "keys that look alike", expected="different keys", found=found, remedy="rename one")
    parts = {}
    for part, pairs in KEYS.items():
        pair = next((pair for pair in pairs if pair[0] in lower and pair[1] in lower), None)
        if pair:
            parts[part] = partial(_read_part, path, lower[pair[0]], path, lower[pair[1]])
    if "train" not in parts:
        raise fault(
            path,
            "no such keys",
            expected="x_train and y_train, train_images and train_labels, or images and labels",
            found=shown(", ".join(shapes)) or "no arrays",
            remedy="save it with numpy.savez(file, images=..., labels=...)",
        )
    named = next((lower[key] for key in NAMES_KEYS if key in lower), None)
    names = None if named is None else _class_names(path, named)
    return Contents(shown(path.stem) or "arrays", str(path), parts, names)


def _class_names(path: Path, key: str) -> tuple[str, ...] | None:
    """Return class names; None if they are numbers, which are the labels themselves and name none."""
    names = to_labels(_array(path, key), f"{shown(path)}: {key}")
    return tuple(map(str, names)) if names.dtype.kind == "U" else None


def _single_files(path: Path, prefix: str | None) -> Contents:
    """Return the contents of files with an array each: the set of that prefix, or the only one in the folder."""
    folder = path if kind_at(path) == "folder" else path.parent
    files: dict[tuple[PartName, str], Path] = {}
    sets = set()
    for file in files_in(folder, ENDING):
        match = SINGLE.match(file.stem)
        if match and prefix in (None, match.group("set")):
            sets.add(match.group("set"))
            what = "labels" if match.group("what") == "labels" else "images"
            files[PARTS.get(match.group("part"), "validation"), what] = file
    if len(sets) > 1:
        remedy = "name a file of one set"
        raise fault(folder, "more than one set", expected="one", found=", ".join(sorted(sets)), remedy=remedy)
    for part in ("train", *sorted({part for part, _ in files})):
        for what in ("images", "labels"):
            if (part, what) not in files:
                expected = f"a file of {part} {what}"
                found = ", ".join(file.name for file in files.values())
                raise fault(folder, "missing", expected=expected, found=shown(found), remedy="fetch it too")
    parts: dict[PartName, partial[Part]] = {
        part: partial(_read_part, files[part, "images"], ONLY, files[part, "labels"], ONLY)
        for part, what in files
        if what == "images"
    }
    return Contents(sets.pop().strip("-_") or shown(folder.name), str(folder), parts)


def _read_part(images: Path, images_key: str, labels: Path, labels_key: str) -> Part:
    where = f"{shown(labels)}: {labels_key}"
    pixels = to_pixels(_array(images, images_key), f"{shown(images)}: {images_key}")
    return Part(pixels.images, to_labels(_array(labels, labels_key), where), where, pixels.notes)


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of each array in the file, by key."""
    with _opened(path) as archive:
        found = {}
        for info in archive.infolist():
            if not info.filename.endswith(".npy"):
                continue
            key = info.filename.removesuffix(".npy")
            if key in found:
                raise fault(path, "a key used twice", expected="each once", found=shown(key), remedy="save it anew")
            with archive.open(info) as file:
                found[key] = _header(path, key, file, info)[0]
        return found


def _array(path: Path, key: str) -> ndarray:
    """Read one array."""
    with _opened(path) as archive:
        if f"{key}.npy" not in archive.namelist():
            found = shown(", ".join(archive.namelist())) or "nothing"
            raise fault(path, "no such key", expected=key, found=found, remedy="is it another file?")
        info = archive.getinfo(f"{key}.npy")
        with archive.open(info) as file:
            shape, is_fortran, dtype = _header(path, key, file, info)
            array = np.empty(prod(shape), dtype)
            _fill(file, array.reshape(-1).view(np.uint8).data if array.nbytes else memoryview(b""))
            file.read(1)  # at the end the archive's checksum is verified
        return array.reshape(shape, order="F" if is_fortran else "C")


def _fill(file: Any, target: memoryview) -> None:
    filled = 0
    while filled < len(target):
        block = file.read(min(BLOCK_BYTES, len(target) - filled))
        if not block:
            raise EOFError(f"it ends after {filled:,} bytes")
        target[filled : filled + len(block)] = block
        filled += len(block)


def _header(
    path: Path, key: str, file: Any, info: zipfile.ZipInfo
) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    """Return shape, order and type of an array; DataError unless as many bytes follow as these need."""
    where = f"{shown(path)}: {key}"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # decoders of others raise other errors
        expected, found = "numpy.savez's or numpy.savez_compressed's", f"method {info.compress_type} of ZIP"
        raise refusal(where, "another compression", expected=expected, found=found, remedy="save it again")
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise refusal(where, "not an array", expected="version 1 or 2", found=f"{version}", remedy="save it again")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of headers that Python 2 wrote
        reader = np.lib.format.read_array_header_1_0 if version[0] == 1 else np.lib.format.read_array_header_2_0
        shape, is_fortran, dtype = reader(file)
    if dtype.hasobject or dtype.fields is not None or dtype.kind not in "buifSU":
        raise refusal(
            where,
            "not numbers or text",
            expected="an array of numbers, booleans or text",
            found="objects, which only unpickling reads" if dtype.hasobject else f"type {dtype}",
            remedy="convert it, such as array.astype(str), and save it again",
        )
    size, told = prod(shape) * dtype.itemsize, info.file_size - file.tell()
    if min(shape, default=1) < 0 or size != told:
        expected = f"{size:,} bytes, as its header announces ({' x '.join(map(str, shape))})"
        raise refusal(where, "damaged", expected=expected, found=f"{told:,}", remedy="fetch or save it again")
    if size > LIMIT_BYTES:
        expected, found = f"at most {LIMIT_BYTES:,} bytes", f"{size:,}"
        raise refusal(where, "too large", expected=expected, found=found, remedy="save it as uint8, or fewer images")
    largest = info.compress_size * (1 if info.compress_type == zipfile.ZIP_STORED else DEFLATE_RATIO)
    if size > largest:
        expected = f"at most {largest:,} bytes in an archive of this size"
        raise refusal(where, "cut short or forged", expected=expected, found=f"{size:,}", remedy="fetch it again")
    return tuple(shape), bool(is_fortran), dtype


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open the archive; DataError if it is none, or if reading it in the block fails."""
    kind = kind_at(path)
    if kind != "file":
        raise fault(path, "not a file", expected="an .npz file", found=kind or "nothing", remedy="check the path")
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except DAMAGE as error:
        reason = str(error) if isinstance(error, MemoryError) else reason_of(error)
        found = shown(reason.partition("\n")[0]) or type(error).__name__
        raise fault(path, "damaged", expected="an .npz file as numpy.savez writes it", found=found) from None
