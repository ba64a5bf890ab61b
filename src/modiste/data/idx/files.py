"""A data set in the IDX format: pairs of image and label files, class names, and the checks that need both files."""

import contextlib
import hashlib
import stat
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from modiste.data.idx.reader import IdxFile, read_idx
from modiste.errors import FETCH_AGAIN, DataError, fault, reason_of, shown

BELOW = ("", "FashionMNIST/raw", "fashion-mnist", "data/fashion", "raw")
"""Where the files may lie in a folder that a person names: in itself, or laid as others lay them."""


@dataclass(frozen=True)
class KnownFile:
    """A published file."""

    name: str
    size_bytes: int
    """Uncompressed."""
    sha256: str
    """Of the uncompressed bytes: Debian packs them anew, so the archive's own hash proves nothing."""
    archive_md5: str
    """Of the official archive, to verify a download."""
    old_archive_md5: str = ""
    """Of the archive that it replaced on 2017-08-31."""

    @property
    def archive_name(self) -> str:
        """The name under which mirrors offer it."""
        return f"{self.name}.gz"


@dataclass(frozen=True)
class FilePair:
    """Images and labels that belong together."""

    what: str
    """For messages: "training", "test"."""
    images: KnownFile
    labels: KnownFile
    image_patterns: tuple[str, ...]
    """How other sets in IDX form name theirs, without ``.gz``."""
    label_patterns: tuple[str, ...]

    @property
    def files(self) -> tuple[KnownFile, KnownFile]:
        """Images, labels."""
        return self.images, self.labels


def find_known(pair: FilePair, folder: Path) -> tuple[Path, Path] | None:
    """Return the paths of a published pair in ``folder``, None if neither is there; DataError if one is."""
    found = [_named(file, folder) for file in pair.files]
    if found == [None, None]:
        return None
    images, labels = found
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


def read_known(pair: FilePair, images: Path, labels: Path) -> tuple[IdxFile, IdxFile]:
    """Read a published pair; DataError unless every byte is as published.

    The labels come first: they are small, and they tell the replaced version of 2017.
    """
    label_file = _read_published(labels, pair.labels, 1, f"{pair.what} labels")
    return _read_published(images, pair.images, 3, f"{pair.what} images"), label_file


def find_any(pair: FilePair, folder: Path) -> tuple[Path, Path]:
    """Return the paths of the one pair in ``folder`` (or below it), whatever the set; DataError otherwise."""
    patterns = pair.image_patterns + pair.label_patterns
    try:
        places = (folder / part for part in BELOW)
        place = next((place for place in places if _matching(place, patterns)), folder)
        return _only(place, pair.image_patterns), _only(place, pair.label_patterns)
    except OSError as error:
        found = reason_of(error)
        remedy = "check its permissions"
        raise fault(folder, "unreadable", expected="a folder of IDX files", found=found, remedy=remedy) from None


def folder_of_set(file: IdxFile) -> Path:
    """Return the folder that holds the whole set: the file's own, or that above where each has a folder to itself."""
    own = file.path.parent
    return own.parent if "-ubyte" in own.name else own


def read_any(pair: FilePair, images: Path, labels: Path) -> tuple[IdxFile, IdxFile]:
    """Read a pair in IDX form; DataError unless both are whole."""
    label_file = read_idx(labels, dimensions=1, what=f"{pair.what} labels")
    return read_idx(images, dimensions=3, what=f"{pair.what} images"), label_file


def is_published(pair: FilePair, images: IdxFile, labels: IdxFile) -> bool:
    """Tell whether the files read are, byte for byte, the published ones."""
    return (images.sha256, labels.sha256) == (pair.images.sha256, pair.labels.sha256)


def _named(file: KnownFile, folder: Path) -> Path | None:
    names = [spelling + ending for spelling in (file.name, _with_point(file.name)) for ending in ("", ".gz")]
    places = [folder, *(folder / name for name in names)]
    try:
        files = (place / name for place in places for name in names)
        anything = (folder / name for name in names)
        right = next((path for path in files if path.is_file()), None)
        return right or next((path for path in anything if path.exists()), None)
    except OSError as error:
        found = reason_of(error)
        remedy = "check its permissions"
        raise fault(folder, "unreadable", expected=file.name, found=found, remedy=remedy) from None


def _read_published(path: Path, known: KnownFile, dimensions: int, what: str) -> IdxFile:
    try:
        file = read_idx(path, dimensions=dimensions, what=what, limit_bytes=known.size_bytes)
    except DataError:
        _refuse_old_version(path, known)
        raise
    if file.sha256 != known.sha256:
        _refuse_old_version(path, known)
        expected = f"{known.size_bytes:,} bytes with SHA-256 {known.sha256}"
        found = f"{file.size_bytes:,} bytes with {file.sha256}"
        raise fault(path, "not the file that was published", expected=expected, found=found)
    return file


def _refuse_old_version(path: Path, known: KnownFile) -> None:
    found = ""
    with contextlib.suppress(OSError, ValueError):  # what cannot be read is told by the caller
        if known.old_archive_md5 and path.is_file() and path.stat().st_size <= known.size_bytes:
            found = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    if found and found == known.old_archive_md5:
        raise fault(
            path,
            "the old Fashion-MNIST, replaced on 2017-08-31 (duplicates, overlap of train and test)",
            expected=f"an archive with MD5 {known.archive_md5}",
            found=found,
            remedy=FETCH_AGAIN,
        )


def _with_point(name: str) -> str:
    """Return the other spelling of a file's name: train-images.idx3-ubyte."""
    return name.replace("-idx", ".idx")


def _fitting(folder: Path, patterns: tuple[str, ...]) -> list[Path]:
    """List what fits a pattern: raw before packed, nothing hidden."""
    return [
        path
        for ending in ("", ".gz")
        for pattern in patterns
        for path in sorted(folder.glob(pattern + ending))
        if not path.name.startswith(".")
    ]


def _candidates(folder: Path, patterns: tuple[str, ...]) -> list[Path]:
    """List what fits a pattern, the best first: files, then those in a folder that fits as well, then the folder."""
    here = _fitting(folder, patterns)
    folders = [path for path in here if path.is_dir()]
    inner = [path for place in folders for path in _fitting(place, patterns) if path.is_file()]
    return [path for path in here if path not in folders] + inner + folders


def _matching(folder: Path, patterns: tuple[str, ...]) -> list[Path]:
    """List the files that fit a pattern: one of each name, whether raw, packed, or in a folder of that name.

    Names that differ in a point for a hyphen are the same where the files are, as in archives that hold both.
    """
    found: dict[str, Path] = {}
    for path in _candidates(folder, patterns):
        name = path.name.removesuffix(".gz")
        twin = found.get(_with_point(name))
        if twin is None:
            found[_with_point(name)] = path
        elif path.is_file() and not _are_same(twin, path):
            found[str(path)] = path
    return list(found.values())


def _are_same(one: Path, other: Path) -> bool:
    """Tell whether two files are the raw and the packed form of one name, or hold the same images or labels."""
    if one.parent == other.parent and other.name == f"{one.name}.gz":
        return True
    try:
        return read_idx(one).sha256 == read_idx(other).sha256
    except DataError:
        return False


def _only(folder: Path, patterns: tuple[str, ...]) -> Path:
    found = _matching(folder, patterns)
    if len(found) == 1:
        return found[0]
    raise fault(
        folder,
        "no such file" if not found else "more than one set",
        expected=f"one {' or '.join(patterns)}, raw or .gz",
        found=shown(", ".join(str(path.relative_to(folder)) for path in found[:4])) or "none",
        remedy="name a folder that holds one set",
    )


@dataclass(frozen=True)
class SourceFile:
    """One file that was read: where it lay and what it proved to be."""

    path: Path
    size_bytes: int
    """Uncompressed."""
    sha256: str
    """Of the uncompressed bytes."""
    published: bool
    """Whether it is, byte for byte, a file of the published Fashion-MNIST."""


@dataclass(frozen=True, eq=False)
class RawSet:
    """A pair of files, read and checked: N images of H x W grey levels (0 to 255) and their labels."""

    name: str
    images: UInt8[np.ndarray, "n h w"]
    labels: UInt8[np.ndarray, " n"]
    class_names: tuple[str, ...]
    fingerprint: str
    """SHA-256 over the hashes of both files: what the data are, wherever they lie, packed or not."""
    folder: Path
    files: tuple[SourceFile, SourceFile]
    """Images, labels."""
    notes: tuple[str, ...] = ()
    """Faulty copies that were passed over on the way, one line each."""


def make_raw_set(
    name: str,
    images: IdxFile,
    labels: IdxFile,
    class_names: tuple[str, ...],
    *,
    published: bool = False,
    notes: tuple[str, ...] = (),
) -> RawSet:
    """Join images (N, H, W) and labels (N,); DataError unless the counts agree and every label has a name."""
    check_counts(images, labels)
    check_range(labels, class_names)
    fingerprint = hashlib.sha256(f"{images.sha256} {labels.sha256}".encode()).hexdigest()
    sources = tuple(SourceFile(file.path, file.size_bytes, file.sha256, published) for file in (images, labels))
    return RawSet(
        name=name,
        images=images.array,
        labels=labels.array,
        class_names=class_names,
        fingerprint=fingerprint,
        folder=images.path.parent,
        files=(sources[0], sources[1]),
        notes=notes,
    )


def check_counts(images: IdxFile, labels: IdxFile) -> None:
    """Raise DataError unless there are as many labels as images."""
    if len(images.array) != len(labels.array):
        raise fault(
            labels.path,
            "counts differ",
            expected=f"{len(images.array):,} labels, one for each image of {images.path.name}",
            found=f"{len(labels.array):,}",
            remedy="take both files from the same set",
        )


def check_range(labels: IdxFile, class_names: tuple[str, ...]) -> None:
    """Raise DataError when a label has no name."""
    largest = int(labels.array.max())
    if largest >= len(class_names):
        raise fault(
            labels.path,
            "label out of range",
            expected=f"0 to {len(class_names) - 1} ({len(class_names)} classes)",
            found=f"{largest} at position {int(labels.array.argmax()):,}",
            remedy="correct the labels or the names in classes.txt",
        )


def check_trainable(labels: IdxFile) -> None:
    """Raise DataError unless there are two classes or more and each has the two images that a split needs."""
    counts = np.bincount(labels.array)
    remedy = "number the classes from 0 without gaps, or name them in classes.txt"
    if len(counts) < 2:
        raise fault(labels.path, "nothing to tell apart", expected="2 classes or more", found="1", remedy=remedy)
    if counts.min() < 2:
        rare = int(counts.argmin())
        found = f"{counts[rare]} of class {rare}"
        raise fault(labels.path, "too few images", expected="2 or more of each class", found=found, remedy=remedy)


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
