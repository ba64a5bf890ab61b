"""A data set in the IDX format: a pair of image and label files, and class names. Finds, reads and checks them."""

import contextlib
import hashlib
import stat
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from modiste.data.idx.reader import IdxFile, read_idx
from modiste.errors import FETCH_AGAIN, DataError, fault, reason_of, shown

SUBFOLDERS = ("", "FashionMNIST/raw", "fashion-mnist", "data/fashion", "raw")
"""Where the files may be within a folder that a person names: in the folder itself, or where other tools put them."""
IDX_FILES = "*idx[13]-ubyte*"
CLASS_NAMES_FILE = "classes.txt"
CLASS_NAMES_BYTES = 64 * 1024
"""Largest file of class names."""
MOST_CLASSES = 256
"""A label is one byte."""


@dataclass(frozen=True)
class PublishedFile:
    """A file of a published data set."""

    name: str
    size_bytes: int
    """Uncompressed."""
    sha256: str
    """Of the uncompressed bytes. Debian recompresses the files, so the hash of an archive would prove nothing."""
    archive_md5: str
    """Of the official archive, to verify a download."""
    old_archive_md5: str = ""
    """Of the archive that it replaced on 2017-08-31."""

    @property
    def archive_name(self) -> str:
        """The name under which mirrors offer the file."""
        return f"{self.name}.gz"


@dataclass(frozen=True)
class FilePair:
    """Image and label files that belong together."""

    what: str
    """For messages: "training", "test"."""
    images: PublishedFile
    labels: PublishedFile
    image_patterns: tuple[str, ...]
    """File names that other IDX sets use, without ``.gz``."""
    label_patterns: tuple[str, ...]

    @property
    def files(self) -> tuple[PublishedFile, PublishedFile]:
        """Images, labels."""
        return self.images, self.labels


@dataclass(frozen=True)
class SourceFile:
    """A file that was read."""

    path: Path
    size_bytes: int
    """Uncompressed."""
    sha256: str
    """Of the uncompressed bytes."""
    published: bool
    """Whether it is, byte for byte, a file of the published Fashion-MNIST."""


@dataclass(frozen=True, eq=False)
class IdxSet:
    """A pair of files, read and checked: N images of H x W grey levels (0 to 255) and their labels."""

    name: str
    images: UInt8[np.ndarray, "n h w"]
    labels: UInt8[np.ndarray, " n"]
    class_names: tuple[str, ...]
    fingerprint: str
    """SHA-256 over the hashes of both files: the same wherever the files are, compressed or not."""
    folder: Path
    files: tuple[SourceFile, SourceFile]
    """Images, labels."""
    notes: tuple[str, ...] = ()
    """Faulty copies that were skipped during the search, one line each."""


def find_published_pair(pair: FilePair, folder: Path) -> tuple[Path, Path] | None:
    """Return the paths of a published pair in ``folder``, None if neither is there; DataError if only one is."""
    images, labels = (_find_published(file, folder) for file in pair.files)
    if images is None and labels is None:
        return None
    if images is None or labels is None:
        absent, present = (pair.labels, images) if labels is None else (pair.images, labels)
        raise fault(
            folder / absent.name,
            "missing",
            expected=f"{absent.name} or {absent.archive_name}",
            found=f"only {present.name if present else 'the other'}",
            remedy="fetch both files",
        )
    return images, labels


def read_published_pair(pair: FilePair, images: Path, labels: Path) -> tuple[IdxFile, IdxFile]:
    """Read a published pair; DataError unless every byte is as published.

    Labels are read first. The file is small, and shows whether this is the version that was replaced in 2017.
    """
    label_file = _read_published(labels, pair.labels, 1, f"{pair.what} labels")
    return _read_published(images, pair.images, 3, f"{pair.what} images"), label_file


def holds_idx(folder: Path) -> bool:
    """Return whether a folder or one of its SUBFOLDERS holds IDX files. Raises DataError."""
    try:
        return any(path for subfolder in SUBFOLDERS for path in (folder / subfolder).glob(IDX_FILES))
    except OSError as error:
        remedy = "check its permissions"
        raise fault(folder, "unreadable", expected="a folder", found=reason_of(error), remedy=remedy) from None


def find_pair(pair: FilePair, folder: Path) -> tuple[Path, Path]:
    """Return the paths of the only IDX pair in ``folder`` or its SUBFOLDERS; DataError if there is none, or several."""
    patterns = pair.image_patterns + pair.label_patterns
    try:
        candidates = (folder / subfolder for subfolder in SUBFOLDERS)
        chosen = next((candidate for candidate in candidates if _matching_files(candidate, patterns)), folder)
        return _only_match(chosen, pair.image_patterns), _only_match(chosen, pair.label_patterns)
    except OSError as error:
        found = reason_of(error)
        remedy = "check its permissions"
        raise fault(folder, "unreadable", expected="a folder of IDX files", found=found, remedy=remedy) from None


def has_files(pair: FilePair, folder: Path) -> bool:
    """Return whether a file in ``folder`` or its SUBFOLDERS is named as one of the pair; True if nobody can say."""
    patterns = pair.image_patterns + pair.label_patterns
    try:
        return any(_matching_files(folder / subfolder, patterns) for subfolder in SUBFOLDERS)
    except OSError:
        return True


def read_pair(pair: FilePair, images: Path, labels: Path) -> tuple[IdxFile, IdxFile]:
    """Read a pair of IDX files; DataError unless both are complete."""
    label_file = read_idx(labels, dimensions=1, what=f"{pair.what} labels")
    return read_idx(images, dimensions=3, what=f"{pair.what} images"), label_file


def is_published(pair: FilePair, images: IdxFile, labels: IdxFile) -> bool:
    """Return whether the files are, byte for byte, the published ones."""
    return (images.sha256, labels.sha256) == (pair.images.sha256, pair.labels.sha256)


def folder_of_set(file: IdxFile) -> Path:
    """Return the folder that holds the whole set.

    Some archives put each file into a folder of its own; then it is the folder above.
    """
    own = file.path.parent
    return own.parent if "-ubyte" in own.name else own


def join_pair(
    name: str,
    images: IdxFile,
    labels: IdxFile,
    class_names: tuple[str, ...],
    *,
    first_label: int = 0,
    published: bool = False,
) -> IdxSet:
    """Join images (N, H, W) and labels (N,); DataError unless the counts agree and every label has a name.

    The first class has ``first_label`` in the file, and 0 in what is returned.
    """
    _check_counts(images, labels)
    _check_range(labels, class_names, first_label)
    fingerprint = hashlib.sha256(f"{images.sha256} {labels.sha256}".encode()).hexdigest()
    sources = tuple(SourceFile(file.path, file.size_bytes, file.sha256, published) for file in (images, labels))
    return IdxSet(
        name=name,
        images=images.array,
        labels=labels.array - np.uint8(first_label),
        class_names=class_names,
        fingerprint=fingerprint,
        folder=images.path.parent,
        files=(sources[0], sources[1]),
    )


def first_label_of(labels: IdxFile, class_names: tuple[str, ...] | None) -> int:
    """Return the number that a file of training labels gives to its first class: 0, or 1 as EMNIST's letters.

    Args:
        labels: Labels of the training images.
        class_names: Class names of the set; None if it names none.
    """
    last = int(labels.array.max())
    return int(labels.array.min() == 1 and last == (last if class_names is None else len(class_names)))


def check_trainable(labels: IdxFile, first_label: int = 0) -> None:
    """Raise DataError unless there are at least two classes and each has the two images that a split needs."""
    counts = np.bincount(labels.array)[first_label:]
    remedy = "number the classes from 0 or 1 without gaps, or name them in classes.txt"
    if len(counts) < 2:
        raise fault(labels.path, "too few classes", expected="2 classes or more", found="1", remedy=remedy)
    if counts.min() < 2:
        rare = int(counts.argmin())
        found = f"{counts[rare]} of class {rare + first_label}"
        raise fault(labels.path, "too few images", expected="2 or more of each class", found=found, remedy=remedy)


def read_class_names(folder: Path) -> tuple[str, ...] | None:
    """Return the names in ``folder/classes.txt``, one a line in UTF-8; None without the file."""
    path = folder / CLASS_NAMES_FILE
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe could wait for ever
            raise _names_fault(path, "not a file", "a text file", "a folder, pipe or device")
        with path.open("rb") as file:
            content = file.read(CLASS_NAMES_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        reason = error.strerror or str(error)
        remedy = "check or remove it"
        raise fault(path, "unreadable", expected="class names", found=reason, remedy=remedy) from None
    if len(content) > CLASS_NAMES_BYTES:
        raise _names_fault(path, "too large", f"at most {CLASS_NAMES_BYTES:,} bytes", "more")
    try:
        names = tuple(line.strip() for line in content.decode("utf-8-sig").rstrip().splitlines())
    except UnicodeDecodeError as error:
        raise _names_fault(path, "not text", "UTF-8", f"byte {error.start} that is not") from None
    _check_names(path, names)
    return names


def _find_published(file: PublishedFile, folder: Path) -> Path | None:
    """Return the file's path in ``folder``, or in a folder of that name, as some archives unpack it; None if absent.

    Anything but a regular file is returned last, so that the caller reports what it is.
    """
    spellings = (file.name, _with_dot(file.name))
    names = [spelling + ending for spelling in spellings for ending in ("", ".gz")]
    folders = [folder, *(folder / name for name in names)]
    try:
        regular = (parent / name for parent in folders for name in names)
        anything = (folder / name for name in names)
        found = next((path for path in regular if path.is_file()), None)
        return found or next((path for path in anything if path.exists()), None)
    except OSError as error:
        reason = reason_of(error)
        remedy = "check its permissions"
        raise fault(folder, "unreadable", expected=file.name, found=reason, remedy=remedy) from None


def _read_published(path: Path, published: PublishedFile, dimensions: int, what: str) -> IdxFile:
    try:
        file = read_idx(path, dimensions=dimensions, what=what, limit_bytes=published.size_bytes)
    except DataError:
        _refuse_old_version(path, published)
        raise
    if file.sha256 != published.sha256:
        _refuse_old_version(path, published)
        expected = f"{published.size_bytes:,} bytes with SHA-256 {published.sha256}"
        found = f"{file.size_bytes:,} bytes with {file.sha256}"
        raise fault(path, "not the published file", expected=expected, found=found)
    return file


def _refuse_old_version(path: Path, published: PublishedFile) -> None:
    found = ""
    with contextlib.suppress(OSError, ValueError):  # the caller reports a file that cannot be read
        if published.old_archive_md5 and path.is_file() and path.stat().st_size <= published.size_bytes:
            found = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    if found and found == published.old_archive_md5:
        raise fault(
            path,
            "the old Fashion-MNIST, replaced on 2017-08-31 (duplicates, overlap of train and test)",
            expected=f"an archive with MD5 {published.archive_md5}",
            found=found,
            remedy=FETCH_AGAIN,
        )


def _only_match(folder: Path, patterns: tuple[str, ...]) -> Path:
    """Return the only file that matches a pattern; DataError if there is none, or more than one."""
    found = _matching_files(folder, patterns)
    if len(found) == 1:
        return found[0]
    raise fault(
        folder,
        "no such file" if not found else "more than one set",
        expected=f"one {' or '.join(patterns)}, raw or .gz",
        found=shown(", ".join(str(path.relative_to(folder)) for path in found[:4])) or "none",
        remedy="name a folder that holds one set",
    )


def _matching_files(folder: Path, patterns: tuple[str, ...]) -> list[Path]:
    """Return the matching files, one for each name: raw, compressed, or in a folder of that name.

    Some archives hold a file twice, spelt with a dot and with a hyphen. If both are identical, one counts.
    """
    found: dict[str, Path] = {}
    for path in _candidates(folder, patterns):
        name = path.name.removesuffix(".gz")
        twin = found.get(_with_dot(name))
        if twin is None:
            found[_with_dot(name)] = path
        elif path.is_file() and not _are_same(twin, path):
            found[str(path)] = path
    return list(found.values())


def _candidates(folder: Path, patterns: tuple[str, ...]) -> list[Path]:
    """Return paths that match a pattern, best first: files, then files in folders that match, then those folders."""
    here = _glob(folder, patterns)
    folders = [path for path in here if path.is_dir()]
    inner = [path for matching in folders for path in _glob(matching, patterns) if path.is_file()]
    return [path for path in here if path not in folders] + inner + folders


def _glob(folder: Path, patterns: tuple[str, ...]) -> list[Path]:
    """Return paths that match a pattern, raw before compressed, without hidden ones."""
    return [
        path
        for ending in ("", ".gz")
        for pattern in patterns
        for path in sorted(folder.glob(pattern + ending))
        if not path.name.startswith(".")
    ]


def _with_dot(name: str) -> str:
    """Return the other spelling of a file's name: train-images.idx3-ubyte."""
    return name.replace("-idx", ".idx")


def _are_same(one: Path, other: Path) -> bool:
    """Return whether two files are the raw and the compressed form of one name, or hold the same bytes."""
    if one.parent == other.parent and other.name == f"{one.name}.gz":
        return True
    try:
        return read_idx(one).sha256 == read_idx(other).sha256
    except DataError:
        return False


def _check_counts(images: IdxFile, labels: IdxFile) -> None:
    """Raise DataError unless there is one label for each image."""
    if len(images.array) != len(labels.array):
        raise fault(
            labels.path,
            "counts differ",
            expected=f"{len(images.array):,} labels, one for each image of {images.path.name}",
            found=f"{len(labels.array):,}",
            remedy="take both files from the same set",
        )


def _check_range(labels: IdxFile, class_names: tuple[str, ...], first: int) -> None:
    """Raise DataError when a label has no name."""
    last = first + len(class_names) - 1
    unknown = (labels.array < first) | (labels.array > last)
    if unknown.any():
        at = int(unknown.argmax())
        raise fault(
            labels.path,
            "label out of range",
            expected=f"{first} to {last} ({len(class_names)} classes)",
            found=f"{labels.array[at]} at position {at:,}",
            remedy="correct the labels or the names in classes.txt",
        )


def _check_names(path: Path, names: tuple[str, ...]) -> None:
    if not 2 <= len(names) <= MOST_CLASSES:
        raise _names_fault(path, "wrong number of classes", f"2 to {MOST_CLASSES} names", str(len(names)))
    for line, name in enumerate(names, start=1):
        if not name or not name.isprintable():
            raise _names_fault(path, "bad name", "a name on every line", f"{name!r} on line {line}")
        if name in names[: line - 1]:
            raise _names_fault(path, "name used twice", "different names", f"{name!r} again on line {line}")


def _names_fault(path: Path, problem: str, expected: str, found: str) -> Exception:
    return fault(path, problem, expected=expected, found=found, remedy="one name per line, class 0 first")
