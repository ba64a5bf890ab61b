"""A user's own picture files as images with labels: listed, split, decoded, with a report of the unreadable ones."""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, UInt8

from modiste.data.duplicates import for_comparison, near_groups
from modiste.data.idx.reader import LIMIT_BYTES
from modiste.data.labelled import LabelledImages
from modiste.data.paths import kind_at
from modiste.data.pictures.class_folders import are_labelled, read_class_folders, read_labelled_names
from modiste.data.pictures.csv_list import JSON_LINES, metadata_in, read_picture_table
from modiste.data.pictures.division import divide, divide_groups
from modiste.data.pictures.folder_layout import visible
from modiste.data.pictures.listing import Entry, PictureList, without_later
from modiste.data.pictures.picture_cache import Decoded, cache_file, decode_cached
from modiste.data.pictures.picture_file import release_pages
from modiste.errors import fault, shown
from modiste.photo.preparation import Preparation
from modiste.recipes.recipe import DECODERS, DataRecipe

TABLE = ".csv"
MOST_FAULTS = 0.5
"""Share of unreadable files above which something else must be wrong."""
LISTED_FAULTS = 5
"""Most unreadable files that are reported by name before training; ``modiste data`` lists all."""
SPARSE = 8
"""Images are compared whole only if every so manieth pixel of every so manieth row is the same."""
DEVELOPMENT, HELD_OUT = "development", "sealed"
"""Parts of the data in the names of cache files; a different word would orphan the files that users have."""


@dataclass(frozen=True, eq=False)
class PictureSet:
    """Decoded picture files: N images and their labels.

    Attributes:
        name: Name of the folder, or of the CSV file.
        images: Bytes, (N, C, side, side).
        labels: From 0, in the order of the class names.
        files: Name of each image's file.
        class_names: All classes of the source.
        digests: SHA-256 of each image's file.
        fingerprint: SHA-256 over each file's content, class and split, and over the preparation.
        faults: Name of each file that gave no image, with the reason.
        file: That the images are mapped from, read-only; None if they are in memory.
    """

    name: str
    images: UInt8[np.ndarray, "n c side side"]
    labels: Int64[np.ndarray, " n"]
    files: tuple[str, ...]
    class_names: tuple[str, ...]
    digests: UInt8[np.ndarray, "n 32"]
    fingerprint: str
    faults: tuple[tuple[str, str], ...]
    file: Path | None = None


@dataclass(frozen=True, eq=False)
class DevelopmentPictures:
    """The pictures that training may use.

    Attributes:
        pictures: The training pictures, followed by the validation pictures.
        training: Number of training pictures.
        withheld: Number of pictures that were left unopened.
        groups: Number of each picture's group of near duplicates, if the split is ``grouped``; else None.
    """

    pictures: PictureSet
    training: int
    withheld: int
    groups: Int64[np.ndarray, " n"] | None = None


class PictureSource:
    """Picture files: a table of their paths, a folder of class folders, or one whose pictures' names say the class."""

    name = "pictures"
    layout = "a folder of class folders, or a .csv file of paths and labels"

    def detect(self, path: Path) -> bool:
        """Return whether ``path`` is a table of paths, or a folder of folders or of labelled pictures."""
        kind = kind_at(path)
        if kind == "file":
            return path.suffix.lower() in (TABLE, JSON_LINES)
        if kind != "folder":
            return False
        has_folders = any(item.is_dir(follow_symlinks=False) for item in visible(path))
        return has_folders or are_labelled(path) or metadata_in(path) is not None

    def load(self, path: Path, recipe: DataRecipe) -> LabelledImages:
        """List, split and decode the pictures that training may use; see ``load_development_pictures``."""
        development = load_development_pictures(path, recipe)
        pictures = development.pictures
        notes = mapping_notes(path, pictures) + fault_notes(path, pictures.faults)
        notes += shared_picture_notes(path, development)
        validation = len(pictures.labels) - development.training
        return replace(without_faults(pictures), validation=validation, notes=notes, groups=development.groups)


def without_faults(pictures: PictureSet) -> LabelledImages:
    """Return the images of picture files, without the names of those that gave none."""
    return LabelledImages(
        pictures.name,
        pictures.images,
        pictures.labels,
        pictures.class_names,
        pictures.fingerprint,
        files=pictures.files,
        digests=pictures.digests,
    )


def list_pictures(path: Path, decoder: int = DECODERS[-1], *, for_training: bool = True) -> PictureList:
    """Return the pictures of a source, a CSV file or a folder; DataError if it is not a valid data set.

    Args:
        path: Path of the file or folder.
        decoder: That of the recipe: the first one takes fewer formats from a folder.
        for_training: Whether they are to train on. Other pictures may be of a single class, and all of them in test.
    """
    table = path if kind_at(path) == "file" else metadata_in(path)
    if table is not None:
        return read_picture_table(table, for_training=for_training)
    if are_labelled(path):
        return read_labelled_names(path, for_training=for_training)
    listing = read_class_folders(path, for_training=for_training)
    return listing if decoder > 1 else without_later(listing)


def load_development_pictures(path: Path, recipe: DataRecipe, *, allow_unreadable: bool = False) -> DevelopmentPictures:
    """List, split and decode the pictures that training may use; test pictures stay unopened.

    Raises:
        DataError: There are too few pictures to split. Without ``allow_unreadable`` also: more than half of the files
            cannot be read, or a class has no readable picture in training or validation.
    """
    listing = list_pictures(path, recipe.decoder)
    division, groups = divide(path, listing, recipe), None
    identified = division.entries
    if recipe.split == "grouped":
        groups = _near_groups(path, listing, division.train, recipe)
        division = divide_groups(path, division, groups, recipe)
    found = decode_entries(path, listing, division.entries, recipe, DEVELOPMENT, fingerprint_of=identified)
    training = {entry.name for entry in division.train}
    count = sum(name in training for name in found.files)
    if not allow_unreadable:
        check_readable(path, found, len(division.entries), recipe)
        for split, labels in (("training", found.labels[:count]), ("validation", found.labels[count:])):
            _check_every_class(path, found, split, labels)
    numbers = None if groups is None else np.array([groups[name] for name in found.files], np.int64)
    return DevelopmentPictures(found, count, division.withheld, numbers)


def _near_groups(path: Path, listing: PictureList, pool: Sequence[Entry], recipe: DataRecipe) -> dict[str, int]:
    """Return the number of each picture's group of near duplicates, by its name, as an audit compares pictures."""
    found = decode_entries(path, listing, pool, for_comparison(recipe), DEVELOPMENT)
    groups = near_groups(torch.from_numpy(found.images)).tolist() if found.files else []
    numbers = dict(zip(found.files, groups, strict=True))
    for entry in pool:  # one that cannot be read is in a group of its own
        numbers.setdefault(entry.name, len(pool) + len(numbers))
    return numbers


def check_readable(path: Path, found: PictureSet, named: int, recipe: DataRecipe) -> None:
    """Raise DataError if most of the ``named`` files gave no image."""
    bad = named - len(found.files)
    if bad > MOST_FAULTS * named:
        other = "; if pictures show no garment on a plain background: --data.pictures whole"
        first, reason = found.faults[0]
        raise fault(
            path,
            "most files cannot be read",
            expected=f"pictures in {named:,} files",
            found=f"{bad:,} without one, the first {shown(first)}: {reason}",
            remedy=f"list them all with modiste data {shown(path)}" + (other if recipe.pictures == "garment" else ""),
        )


def decode_entries(
    path: Path,
    listing: PictureList,
    entries: Sequence[Entry],
    recipe: DataRecipe,
    part: str,
    *,
    fingerprint_of: Sequence[Entry] | None = None,
) -> PictureSet:
    """Decode these entries of a list.

    Args:
        path: Path of the source.
        listing: All its pictures.
        entries: Those to decode.
        recipe: Sets what the pictures become.
        part: DEVELOPMENT or HELD_OUT, which have separate cache files.
        fingerprint_of: The entries whose fingerprint is wanted, if not that of all.

    Returns:
        The pictures. If they take more than LIMIT_BYTES, they are mapped from the cache's file.

    Raises:
        StorageError: There is no space for that file.
    """
    preparation = preparation_of(recipe)
    mapped = len(entries) * math.prod(preparation.shape) > LIMIT_BYTES
    names = [entry.name for entry in entries]
    done = decode_cached(listing.folder, names, preparation, part, mapped=mapped)
    bad = tuple((name, reason) for name, reason in zip(done.names, done.faults, strict=True) if reason)
    kept = [entry for entry, reason in zip(entries, done.faults, strict=True) if not reason]
    digests = [digest for digest, reason in zip(done.digests, done.faults, strict=True) if not reason]
    numbers = {name: number for number, name in enumerate(listing.class_names)}
    identified = _fingerprint(entries if fingerprint_of is None else fingerprint_of, done, preparation)
    return PictureSet(
        name=shown(path.resolve().name.removesuffix(TABLE)) or "pictures",
        images=done.images,
        labels=np.array([numbers[entry.class_name] for entry in kept], np.int64),
        files=tuple(entry.name for entry in kept),
        class_names=listing.class_names,
        digests=np.frombuffer(bytes.fromhex("".join(digests)), np.uint8).reshape(-1, 32).copy(),
        fingerprint=identified,
        faults=bad + listing.skipped,
        file=cache_file(listing.folder, preparation, part) if mapped else None,
    )


def preparation_of(recipe: DataRecipe) -> Preparation:
    """Return the preparation of picture files that a recipe asks for."""
    return Preparation(recipe.pictures, recipe.side, 3 if recipe.colour else 1, recipe.decoder, recipe.background)


def fault_notes(path: Path, faults: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """Return a note about the files that are left out, the first few by name; none if there are no faults."""
    if not faults:
        return ()
    first = "; ".join(f"{shown(name)}: {reason}" for name, reason in faults[:LISTED_FAULTS])
    more = f"; and {len(faults) - LISTED_FAULTS:,} more" if len(faults) > LISTED_FAULTS else ""
    left = f"{len(faults):,} files are" if len(faults) > 1 else "a file is"
    return (f"{shown(path)}: {left} left out: {first}{more} (modiste data {shown(path)} lists all)",)


def mapping_notes(path: Path, pictures: PictureSet) -> tuple[str, ...]:
    """Return a note about pictures that are too large for memory, with their file; none if they are in memory."""
    if pictures.file is None:
        return ()
    sizes = f"{pictures.images.nbytes / 1e9:.3g} GB, more than the {LIMIT_BYTES / 1e9:.3g} GB that are kept in memory"
    return (f"{shown(path)}: the pictures take {sizes}: they are read from the disk, in {shown(pictures.file)}",)


def shared_picture_notes(path: Path, development: DevelopmentPictures) -> tuple[str, ...]:
    """Return a note about validation pictures that are, pixel for pixel, in training too; none if there are none."""
    images, files, count = development.pictures.images, development.pictures.files, development.training
    some = [_digest(image[:, ::SPARSE, ::SPARSE]) for image in images]
    alike = {*some[:count]} & {*some[count:]}
    digests = [_digest(image) if few in alike else b"" for image, few in zip(images, some, strict=True)]
    training = dict(zip(digests[:count], files, strict=False))
    validation = zip(digests[count:], files[count:], strict=True)
    shared = [(file, training[digest]) for digest, file in validation if digest and digest in training]
    if not shared:
        return ()
    (one, other), number = shared[0], f"{len(shared):,} validation pictures are"
    return (
        f"{shown(path)}: {number if len(shared) > 1 else 'a validation picture is'} in training too, such as "
        f"{shown(one)} = {shown(other)}: accuracy will be overstated; modiste data audit finds them all",
    )


def _digest(image: UInt8[np.ndarray, "c side side"]) -> bytes:
    """Return a hash of an image's pixels, and release the image."""
    digest = hashlib.blake2b(image.tobytes(), digest_size=16).digest()
    release_pages()
    return digest


def _check_every_class(path: Path, found: PictureSet, split: str, labels: Int64[np.ndarray, " m"]) -> None:
    counts = np.bincount(labels, minlength=len(found.class_names))
    if counts.min() == 0:
        absent = found.class_names[int(counts.argmin())]
        raise fault(
            path,
            "too few readable pictures",
            expected=f"one or more of each class for {split}",
            found=f"none of {shown(absent)}; left out: {'; '.join(': '.join(bad) for bad in found.faults[:3])}",
            remedy="repair the files or add others",
        )


def _fingerprint(entries: Sequence[Entry], done: Decoded, preparation: Preparation) -> str:
    """Return a hash of these entries, which are among the decoded ones, and of how they were prepared."""
    found = {name: (digest, not bad) for name, digest, bad in zip(done.names, done.digests, done.faults, strict=True)}
    rows = [[entry.name, entry.class_name, entry.split, *found[entry.name]] for entry in entries]
    later: list[int | str] = [preparation.decoder] if preparation.decoder > 1 else []
    later += preparation.finder
    # Runs of earlier versions have hashes without these.
    content = [preparation.way, preparation.side, preparation.channels, *later, rows]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
