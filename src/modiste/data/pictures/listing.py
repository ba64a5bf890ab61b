"""The picture files of a source, each with its class and, if the source gives one, its split.

A file or folder that is no data set gets a message that says what it is and what to do.
"""

import os
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from modiste.errors import fault, reason_of, shown

SPLITS = ("train", "validation", "test")
FIRST_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".jfif", ".jpe")
"""Files that decoder 1 takes from a folder."""
LATER_SUFFIXES = (
    *(".mpo", ".heic", ".heif", ".hif", ".avif", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm"),
)
SUFFIXES = FIRST_SUFFIXES + LATER_SUFFIXES
UNREAD_SUFFIXES = (
    *(".jp2", ".jxl", ".svg", ".pdf", ".psd"),
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".raw", ".orf", ".raf", ".rw2"),
)
"""Picture formats that are not supported."""
NOT_FIRST = "a picture of a format that decoder 1 does not read; train with decoder 2"
NO_PICTURE = "not a picture, judging by its extension"
MOST_PICTURES = 1_000_000
LEAST_CLASSES, MOST_CLASSES = 2, 1_000
"""Of data to train on; other data may be of a single class."""
LONGEST_NAME = 100
"""Characters of a class's name."""
UNPACK = "unpack it and name the folder"
WRITE_ARRAYS = "write images and labels with numpy.savez(FILE.npz, images=..., labels=...)"
FROM_MATLAB = f"read it with scipy.io.loadmat and {WRITE_ARRAYS}; EMNIST's images need --data.transpose"
WRITE_TABLE = "write it as a .csv file with the columns path and label, separated by commas"
KINDS = (
    ((".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar", ".zst"), "an archive", UNPACK),
    ((".npz",), "NumPy arrays", "name the file itself"),
    ((".npy",), "a NumPy array", WRITE_ARRAYS),
    ((".parquet",), "a parquet table", "name the file itself"),
    ((".arrow", ".feather"), "an Arrow table", "write it as a .parquet file"),
    ((".mat",), "a MATLAB file", FROM_MATLAB),
    ((".h5", ".hdf5", ".tfrecord", ".tfrecords", ".lmdb", ".db", ".sqlite"), "a file of records", WRITE_ARRAYS),
    ((".pkl", ".pickle", ".pt", ".pth", ".bin"), "a file that could run code", WRITE_ARRAYS),
    ((".tsv", ".txt", ".json", ".jsonl", ".xlsx", ".xls", ".ods", ".yaml", ".yml"), "a table or text", WRITE_TABLE),
    ((".safetensors", ".onnx"), "a model", "name the data that it was trained on"),
    (SUFFIXES + UNREAD_SUFFIXES, "a single picture", "name the folder that holds a folder for each class"),
)
"""File extensions, what such a file is, and what the user can do with it."""


@dataclass(frozen=True)
class Entry:
    """A picture file of a source.

    Attributes:
        name: Path relative to the source's folder.
        class_name: Name of its class.
        split: One of SPLITS; empty if the source gives none.
    """

    name: str
    class_name: str
    split: str = ""


@dataclass(frozen=True)
class PictureList:
    """All picture files of a source.

    Attributes:
        folder: Folder that names are relative to.
        entries: The pictures, sorted by name.
        class_names: Names of the classes, in the order of the labels.
        skipped: Name of each other file, and the reason why it is not used.
    """

    folder: Path
    entries: tuple[Entry, ...]
    class_names: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...] = ()


def make_list(
    source: Path,
    folder: Path,
    entries: Iterable[Entry],
    skipped: Iterable[tuple[str, str]] = (),
    *,
    for_training: bool = True,
) -> PictureList:
    """Return the list of a source's pictures; DataError unless the number and the names of its classes are valid.

    Pictures to train on are of two classes or more, all of which have pictures outside of the test part.
    """
    found = tuple(sorted(entries, key=lambda entry: entry.name))
    if len(found) > MOST_PICTURES:
        raise fault(
            source,
            "too many pictures",
            expected=f"at most {MOST_PICTURES:,}",
            found=f"{len(found):,}",
            remedy="name a smaller folder",
        )
    if not for_training:
        names = sorted({entry.class_name for entry in found})
        check_class_names(source, names, least=1)
        return PictureList(folder, found, tuple(names), tuple(sorted(skipped)))
    names = sorted({entry.class_name for entry in found if entry.split != "test"})
    check_class_names(source, names)
    only_in_test = sorted({entry.class_name for entry in found} - set(names))
    if only_in_test:
        check_class_names(source, sorted([*names, *only_in_test]))  # of two spellings of one name, say that
        raise fault(
            source,
            "a class in test only",
            expected=f"test pictures of {join_names(names)}",
            found=shown(only_in_test[0]),
            remedy="add pictures of it to train, or remove it from test",
        )
    return PictureList(folder, found, tuple(names), tuple(sorted(skipped)))


def reason_against_name(name: str) -> str:
    """Return why a file of this name is not read as a picture; empty if it is."""
    suffix = Path(name).suffix.lower()
    if suffix in SUFFIXES:
        return ""
    if suffix not in UNREAD_SUFFIXES:
        return NO_PICTURE
    return f"a picture of an unsupported format ({suffix[1:]}); save it as JPEG or PNG"


def is_later(name: str) -> bool:
    """Return whether a file of this name is of a format that decoder 1 does not read."""
    return name.lower().endswith(LATER_SUFFIXES)


def without_later(found: PictureList) -> PictureList:
    """Return the list that decoder 1 made of a folder, so that earlier runs find the pictures of their training."""
    kept = tuple(entry for entry in found.entries if not is_later(entry.name))
    later = [(entry.name, NOT_FIRST) for entry in found.entries if is_later(entry.name)]
    return replace(found, entries=kept, skipped=tuple(sorted([*found.skipped, *later])))


def reason_against(path: Path, root: str) -> str:
    """Return why a file must not be opened: no regular file, or outside ``root``. Empty if it may be opened.

    Args:
        path: Path of the file, below ``root``.
        root: Real path of the source's folder.
    """
    try:
        if os.path.commonpath([os.path.realpath(path), root]) != root:
            return "a link that leads out of the folder"
        mode = path.stat().st_mode
    except FileNotFoundError:
        return "a link to nothing" if path.is_symlink() else "no such file"
    except (OSError, ValueError) as error:
        return f"cannot be read ({reason_of(error)})"
    if stat.S_ISDIR(mode):
        return "a link to a folder" if path.is_symlink() else "a folder"
    return "" if stat.S_ISREG(mode) else "a pipe, socket or device"


def describe_file(path: Path) -> tuple[str, str]:
    """Return what a file is, judging by its name, and what the user can do with it."""
    name = path.name.lower()
    if "idx1-ubyte" in name or "idx3-ubyte" in name:
        return "a single IDX file", "name the folder that holds images and labels"
    for endings, kind, remedy in KINDS:
        if name.endswith(endings):
            return f"{kind} ({path.suffix})", remedy
    return "a file", "name a folder or a .csv file"


def describe_contents(names: list[str]) -> tuple[str, str]:
    """Return what the files of a folder that is no data set are, and what the user can do."""
    if any(name.lower().endswith(SUFFIXES + UNREAD_SUFFIXES) for name in names):
        return count_extensions(names), "put the pictures of each class into a folder of its own"
    if tables := [name for name in names if name.lower().endswith(".csv")]:
        return count_extensions(names), f"name the table: {tables[0]}"
    kinds = [describe_file(Path(name)) for name in names]
    remedies = [remedy for kind, remedy in kinds if kind != "a file"]
    return count_extensions(names), remedies[0] if remedies else "name another folder"


def remedy_for(names: Iterable[str]) -> str:
    """Return what the user can do about a class folder that holds these files but no pictures."""
    unread = any(Path(name).suffix.lower() in UNREAD_SUFFIXES for name in names)
    return "save them as JPEG or PNG" if unread else "put pictures into it, or remove it"


def count_extensions(names: Iterable[str]) -> str:
    """Return how many of these files have each extension, as a phrase."""
    endings = Counter(Path(name).suffix.lower() or "no extension" for name in names)
    return join_names(f"{count:,} of {ending}" for ending, count in endings.most_common()) or "nothing"


def join_names(names: Iterable[str], most: int = 6) -> str:
    """Return the first ``most`` names as a phrase, with the number of the others."""
    every = [shown(name) for name in names]
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")


def check_class_names(source: Path, names: list[str], remedy: str = "", *, least: int = LEAST_CLASSES) -> None:
    """Raise DataError unless there are at least ``least`` names, none empty, all printable and visibly different.

    ``remedy`` says what to do about classes that come from no folders.
    """
    if not least <= len(names) <= MOST_CLASSES:
        raise fault(
            source,
            "too few classes" if len(names) < least else "too many classes",
            expected=f"{least} to {MOST_CLASSES:,} classes",
            found=f"{len(names):,}" + (f" ({shown(names[0])})" if len(names) == 1 else ""),
            remedy=remedy or "put the pictures of each class into a folder of its own",
        )
    seen: dict[str, str] = {}
    for name in names:
        if not name or not name.isprintable() or name != name.strip() or len(name) > LONGEST_NAME:
            expected = f"up to {LONGEST_NAME} printable characters in UTF-8, no space at either end"
            raise fault(
                source,
                "invalid class name",
                expected=expected,
                found=f'"{shown(name)}"',
                remedy=remedy or "rename the class",
            )
        folded = unicodedata.normalize("NFKC", name).casefold()
        if folded in seen:
            raise fault(
                source,
                "class names that look alike",
                expected="names that differ in more than upper and lower case or the encoding of accents",
                found=f'"{shown(seen[folded])}" and "{shown(name)}"',
                remedy=remedy or "rename one, or put their pictures together",
            )
        seen[folded] = name
