"""The picture files that a source names, each with its class and, where the source says so, its split.

Files and folders that are no data set get a message that says what they are and what to do.
"""

import os
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from modiste.errors import fault, reason_of, shown

PARTS = ("train", "validation", "test")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".jfif", ".jpe")
UNREAD_SUFFIXES = (
    *(".heic", ".heif", ".avif", ".tif", ".tiff", ".jp2", ".jxl", ".svg", ".pdf", ".psd"),
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".raw", ".orf", ".raf", ".rw2"),
)
"""Pictures all the same, of formats that are not read."""
NO_PICTURE = "no picture by the end of its name"
MOST_PICTURES = 1_000_000
MOST_CLASSES = 1_000
LONGEST_NAME = 100
"""Characters of a class's name."""


@dataclass(frozen=True)
class Entry:
    """A picture file that a source names.

    Attributes:
        name: its path below the source's folder.
        class_name: of its class.
        part: one of PARTS; empty where the source does not say.
    """

    name: str
    class_name: str
    part: str = ""


@dataclass(frozen=True)
class PictureList:
    """What a source names.

    Attributes:
        place: folder that names are relative to.
        entries: sorted by name.
        class_names: in the order of the labels.
        passed_over: what else lies there, each with the reason why it is no picture of a class.
    """

    place: Path
    entries: tuple[Entry, ...]
    class_names: tuple[str, ...]
    passed_over: tuple[tuple[str, str], ...] = ()


def make_list(
    source: Path, place: Path, entries: Iterable[Entry], passed_over: Iterable[tuple[str, str]] = ()
) -> PictureList:
    """Gather what a source names; DataError unless its classes can be told apart, by name and in number."""
    found = tuple(sorted(entries, key=lambda entry: entry.name))
    if len(found) > MOST_PICTURES:
        raise fault(
            source,
            "too many pictures",
            expected=f"at most {MOST_PICTURES:,}",
            found=f"{len(found):,}",
            remedy="name a smaller folder",
        )
    names = sorted({entry.class_name for entry in found if entry.part != "test"})
    check_class_names(source, names)
    strange = sorted({entry.class_name for entry in found} - set(names))
    if strange:
        raise fault(
            source,
            "a class for the test alone",
            expected=f"test pictures of {listed(names)}",
            found=shown(strange[0]),
            remedy="add pictures of it to train, or take it out of test",
        )
    return PictureList(place, found, tuple(names), tuple(sorted(passed_over)))


def check_class_names(source: Path, names: list[str]) -> None:
    """Raise DataError unless there are two names or more, all different to the eye and fit to be printed."""
    if not 2 <= len(names) <= MOST_CLASSES:
        raise fault(
            source,
            "nothing to tell apart" if len(names) < 2 else "too many classes",
            expected=f"2 to {MOST_CLASSES:,} classes",
            found=f"{len(names):,}" + (f" ({shown(names[0])})" if len(names) == 1 else ""),
            remedy="put the pictures of each class into a folder of its own",
        )
    seen: dict[str, str] = {}
    for name in names:
        if not name.isprintable() or name != name.strip() or len(name) > LONGEST_NAME:
            expected = f"up to {LONGEST_NAME} printable characters in UTF-8, no space at either end"
            raise fault(
                source, "no name for a class", expected=expected, found=f'"{shown(name)}"', remedy="rename the class"
            )
        alike = seen.setdefault(unicodedata.normalize("NFKC", name).casefold(), name)
        if alike != name:
            raise fault(
                source,
                "class names that look alike",
                expected="names that differ in more than upper and lower case or the coding of accents",
                found=f'"{shown(alike)}" and "{shown(name)}"',
                remedy="rename one, or put their pictures together",
            )


def listed(names: Iterable[str], most: int = 6) -> str:
    """Return names for a sentence, the first few of many."""
    every = [shown(name) for name in names]
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")


def counted(names: Iterable[str]) -> str:
    """Return how many of these files have each ending, for a sentence."""
    endings = Counter(Path(name).suffix.lower() or "no ending" for name in names)
    return listed(f"{count:,} of {ending}" for ending, count in endings.most_common()) or "nothing"


def what_to_do(names: Iterable[str]) -> str:
    """Return what to do where these files are found in place of pictures."""
    unread = any(Path(name).suffix.lower() in UNREAD_SUFFIXES for name in names)
    return "save them as JPEG or PNG" if unread else "put pictures into it, or remove it"


def reason_against_name(name: str) -> str:
    """Return why a file of this name is not read as a picture; empty when it is."""
    suffix = Path(name).suffix.lower()
    if suffix in SUFFIXES:
        return ""
    if suffix not in UNREAD_SUFFIXES:
        return NO_PICTURE
    return f"a picture of a format that is not read ({suffix[1:]}); save it as JPEG or PNG"


def reason_against(path: Path, root: str) -> str:
    """Return why a file may not be opened: it is none, or leads out of ``root``; empty when it may.

    Args:
        path: of the file, below ``root``.
        root: real path of the source's folder.
    """
    try:
        if os.path.commonpath([os.path.realpath(path), root]) != root:
            return "a link that leads out of the folder"
        kind = path.stat().st_mode
    except FileNotFoundError:
        return "a link to nothing" if path.is_symlink() else "no such file"
    except (OSError, ValueError) as error:
        return f"cannot be read ({reason_of(error)})"
    if stat.S_ISDIR(kind):
        return "a link to a folder" if path.is_symlink() else "a folder"
    return "" if stat.S_ISREG(kind) else "a pipe, socket or device"


UNPACK = "unpack it and name the folder"
WRITE_PICTURES = "write the images as class folders of PNG files, or as IDX files"
WRITE_TABLE = "write it as a .csv file with the columns path and label, parted by commas"
KINDS = (
    ((".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar", ".zst"), "an archive", UNPACK),
    ((".npz", ".npy"), "NumPy arrays", WRITE_PICTURES),
    ((".parquet", ".arrow", ".feather"), "a table of Arrow or Parquet", WRITE_PICTURES),
    ((".mat",), "a MATLAB file", WRITE_PICTURES),
    ((".h5", ".hdf5", ".tfrecord", ".tfrecords", ".lmdb", ".db", ".sqlite"), "a file of records", WRITE_PICTURES),
    ((".pkl", ".pickle", ".pt", ".pth", ".bin"), "a file that could run code", WRITE_PICTURES),
    ((".tsv", ".txt", ".json", ".jsonl", ".xlsx", ".xls", ".ods", ".yaml", ".yml"), "a table or text", WRITE_TABLE),
    ((".safetensors", ".onnx"), "a model", "name the data that it was trained on"),
    (SUFFIXES + UNREAD_SUFFIXES, "a single picture", "name the folder that holds a folder for each class"),
)
"""Endings of files, what such a file is, and what a person can do with it."""


def foreign_kind(path: Path) -> tuple[str, str]:
    """Return what a file seems to be by its name, and what to do with it."""
    name = path.name.lower()
    if "idx1-ubyte" in name or "idx3-ubyte" in name:
        return "a single IDX file", "name the folder that holds images and labels"
    for endings, kind, remedy in KINDS:
        if name.endswith(endings):
            return f"{kind} ({path.suffix})", remedy
    return "a file", "name a folder or a .csv file"


def contents(names: list[str]) -> tuple[str, str]:
    """Return what these files in a folder are, and what to do, where it holds no data set."""
    if any(name.lower().endswith(SUFFIXES + UNREAD_SUFFIXES) for name in names):
        return counted(names), "put the pictures of each class into a folder of its own"
    if tables := [name for name in names if name.lower().endswith(".csv")]:
        return counted(names), f"name the table: {tables[0]}"
    kinds = [foreign_kind(Path(name)) for name in names]
    known = [remedy for kind, remedy in kinds if kind != "a file"]
    return counted(names), known[0] if known else "name another folder"
