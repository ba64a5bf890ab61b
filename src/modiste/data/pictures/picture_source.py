"""A person's own picture files as images with labels: listed, divided, decoded, what cannot be read told."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8

from modiste.data.idx.files import BELOW
from modiste.data.idx.reader import LIMIT_BYTES
from modiste.data.paths import expanded, kind_at
from modiste.data.pictures.class_folders import read_class_folders
from modiste.data.pictures.csv_list import read_picture_table
from modiste.data.pictures.division import divide
from modiste.data.pictures.folder_layout import visible
from modiste.data.pictures.listing import Entry, PictureList, contents
from modiste.data.pictures.picture_cache import decoded
from modiste.data.sources import FASHION_MNIST, source_folder
from modiste.errors import fault, reason_of, shown
from modiste.photo.preparation import Preparation
from modiste.recipes.recipe import DataRecipe

TABLE = ".csv"
IDX_FILES = "*idx[13]-ubyte*"
MOST_FAULTS = 0.5
"""Share of unreadable files above which something else must be wrong."""
TOLD_FAULTS = 5
"""So many are told one by one before training; ``modiste data`` lists all."""


@dataclass(frozen=True, eq=False)
class PictureSet:
    """Picture files as read: N images and their labels.

    Attributes:
        name: of the folder, or of the CSV file.
        images: bytes, (N, C, side, side).
        labels: from 0, in the order of the class names.
        files: name of each image's file.
        class_names: of all the source's classes.
        digests: SHA-256 of each image's file.
        fingerprint: SHA-256 over each file's content, class and part, and over the preparation.
        faults: name of each file that gave no image, with the reason.
    """

    name: str
    images: UInt8[np.ndarray, "n c side side"]
    labels: Int64[np.ndarray, " n"]
    files: tuple[str, ...]
    class_names: tuple[str, ...]
    digests: UInt8[np.ndarray, "n 32"]
    fingerprint: str
    faults: tuple[tuple[str, str], ...]


@dataclass(frozen=True, eq=False)
class Divided:
    """The pictures that training may see: those of training first, then those of validation."""

    pictures: PictureSet
    training: int
    withheld: int
    """How many were left unopened."""


def picture_place(source: str, folder: Path | None = None) -> Path | None:
    """Return the CSV file or the folder of class folders that ``source`` names, or ``folder`` in its stead.

    None where it is Fashion-MNIST or a set in IDX form; DataError when it is nothing at all.
    """
    if source == FASHION_MNIST:
        return None
    table = expanded(Path(source) if folder is None else folder)
    if table.suffix.lower() == TABLE and kind_at(table) == "file":
        return table
    place = source_folder(source, folder)
    items = visible(place)
    if holds_idx(place):
        return None
    if not any(item.is_dir(follow_symlinks=False) for item in items):
        found, remedy = contents([item.name for item in items])
        raise fault(place, "no data set in it", expected="class folders, or IDX files", found=found, remedy=remedy)
    return place


def holds_idx(folder: Path) -> bool:
    """Tell whether a folder, or one laid in it as others lay them, holds IDX files. Raises DataError."""
    try:
        return any(path for below in BELOW for path in (folder / below).glob(IDX_FILES))
    except OSError as error:
        remedy = "check its permissions"
        raise fault(folder, "unreadable", expected="a folder", found=reason_of(error), remedy=remedy) from None


def list_pictures(place: Path) -> PictureList:
    """Return what a source names; DataError when it is none."""
    return read_picture_table(place) if kind_at(place) == "file" else read_class_folders(place)


def load_divided(place: Path, recipe: DataRecipe, *, whatever: bool = False) -> Divided:
    """List, divide and decode the pictures that training may see; those of the test stay unopened.

    Raises DataError when there are too few or, unless ``whatever`` can be read is enough, half of them cannot.
    """
    known = list_pictures(place)
    division = divide(place, known, recipe)
    found = decode_entries(place, known, division.entries, recipe, "development")
    training = {entry.name for entry in division.train}
    count = sum(name in training for name in found.files)
    if not whatever:
        check_readable(place, found, len(division.entries), recipe)
        for part, labels in (("training", found.labels[:count]), ("validation", found.labels[count:])):
            _check_left(place, found, part, labels)
    return Divided(found, count, division.withheld)


def check_readable(place: Path, found: PictureSet, named: int, recipe: DataRecipe) -> None:
    """Raise DataError when most of the files that were named gave no image."""
    bad = named - len(found.files)
    if bad > MOST_FAULTS * named:
        other = "; where pictures show no garment on plain ground: --data.pictures whole"
        first, reason = found.faults[0]
        raise fault(
            place,
            "most files cannot be read",
            expected=f"pictures in {named:,} files",
            found=f"{bad:,} that give none, the first {shown(first)}: {reason}",
            remedy=f"see them all with modiste data {shown(place)}" + (other if recipe.pictures == "garment" else ""),
        )


def decode_entries(
    place: Path, known: PictureList, entries: Sequence[Entry], recipe: DataRecipe, part: str
) -> PictureSet:
    """Return these entries as images; ``part`` says apart from which others they are kept in the cache."""
    preparation = preparation_of(recipe)
    size = len(entries) * preparation.channels * preparation.side**2
    if size > LIMIT_BYTES:
        found = f"{len(entries):,} of {preparation.side} x {preparation.side}"
        remedy = "train with a smaller --data.side"
        raise fault(place, "too many pictures", expected=f"{LIMIT_BYTES:,} bytes", found=found, remedy=remedy)
    done = decoded(known.place, [entry.name for entry in entries], preparation, part)
    bad = tuple((name, reason) for name, reason in zip(done.names, done.faults, strict=True) if reason)
    kept = [entry for entry, reason in zip(entries, done.faults, strict=True) if not reason]
    digests = [digest for digest, reason in zip(done.digests, done.faults, strict=True) if not reason]
    numbers = {name: number for number, name in enumerate(known.class_names)}
    return PictureSet(
        name=shown(place.resolve().name.removesuffix(TABLE)) or "pictures",
        images=done.images,
        labels=np.array([numbers[entry.class_name] for entry in kept], np.int64),
        files=tuple(entry.name for entry in kept),
        class_names=known.class_names,
        digests=np.frombuffer(bytes.fromhex("".join(digests)), np.uint8).reshape(-1, 32).copy(),
        fingerprint=_fingerprint(entries, done.digests, done.faults, preparation),
        faults=bad + known.passed_over,
    )


def preparation_of(recipe: DataRecipe) -> Preparation:
    """Return what picture files become by a recipe."""
    return Preparation(recipe.pictures, recipe.side, 3 if recipe.colour else 1)


def told_faults(place: Path, faults: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """Return a sentence about files that are left out, the first few by name; none where there are none."""
    if not faults:
        return ()
    first = "; ".join(f"{shown(name)}: {reason}" for name, reason in faults[:TOLD_FAULTS])
    more = f"; and {len(faults) - TOLD_FAULTS:,} more" if len(faults) > TOLD_FAULTS else ""
    left = f"{len(faults):,} files are" if len(faults) > 1 else "a file is"
    return (f"{shown(place)}: {left} left out: {first}{more} (modiste data {shown(place)} lists all)",)


def told_shared(place: Path, divided: Divided) -> tuple[str, ...]:
    """Return a sentence about validation pictures that are, pixel for pixel, in training too; none without such."""
    images, files = divided.pictures.images, divided.pictures.files
    known = {image.tobytes(): file for image, file in zip(images[: divided.training], files, strict=False)}
    own = zip(images[divided.training :], files[divided.training :], strict=True)
    shared = [(file, known[image.tobytes()]) for image, file in own if image.tobytes() in known]
    if not shared:
        return ()
    (one, other), number = shared[0], f"{len(shared):,} validation pictures are"
    return (
        f"{shown(place)}: {number if len(shared) > 1 else 'a validation picture is'} in training too, such as "
        f"{shown(one)} = {shown(other)}: accuracy will be overstated; modiste data audit finds them all",
    )


def _fingerprint(
    entries: Sequence[Entry], digests: Sequence[str], faults: Sequence[str], preparation: Preparation
) -> str:
    rows = [
        [entry.name, entry.class_name, entry.part, digest, not reason]
        for entry, digest, reason in zip(entries, digests, faults, strict=True)
    ]
    told = [preparation.way, preparation.side, preparation.channels, rows]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _check_left(place: Path, found: PictureSet, part: str, labels: Int64[np.ndarray, " m"]) -> None:
    counts = np.bincount(labels, minlength=len(found.class_names))
    if counts.min() == 0:
        absent = found.class_names[int(counts.argmin())]
        raise fault(
            place,
            "too few pictures that can be read",
            expected=f"one or more of each class for {part}",
            found=f"none of {shown(absent)}; left out: {'; '.join(': '.join(bad) for bad in found.faults[:3])}",
            remedy="mend the files or add others",
        )
