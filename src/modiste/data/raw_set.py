"""Images and labels as read from disk, and the checks that need both."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from modiste.data.faults import fault
from modiste.data.idx import IdxFile


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
