"""Finds, verifies and reads the IDX files of a data set: Fashion-MNIST, or another set in a folder.

This file names the training files only; ``held_out.py`` alone names the test files. Functions that read either take the
pair of files as an argument.
"""

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread

from modiste.data.idx.download import BY_HAND, OFFLINE_VARIABLE, download, is_offline
from modiste.data.idx.files import (
    SUBFOLDERS,
    FilePair,
    IdxSet,
    PublishedFile,
    check_trainable,
    find_pair,
    find_published_pair,
    first_label_of,
    folder_of_set,
    holds_idx,
    is_published,
    join_pair,
    read_class_names,
    read_pair,
    read_published_pair,
)
from modiste.data.idx.reader import IdxFile
from modiste.data.labelled import LabelledImages
from modiste.data.locations import FASHION_MNIST, set_name, source_folder
from modiste.data.paths import FOLDER_VARIABLE, cache_folder, kind_at, named_folder, usual_folders
from modiste.data.pictures.listing import describe_file
from modiste.errors import DataError, fault
from modiste.recipes.recipe import DataRecipe

CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
TRAIN = FilePair(
    what="training",
    images=PublishedFile(
        name="train-images-idx3-ubyte",
        size_bytes=47_040_016,
        sha256="c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        archive_md5="8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    ),
    labels=PublishedFile(
        name="train-labels-idx1-ubyte",
        size_bytes=60_008,
        sha256="bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        archive_md5="25c81989df183df01b3e8a0aad5dffbe",
        old_archive_md5="c25fcebcfee76fc70679a885c08e7783",
    ),
    image_patterns=("*train-images*idx3-ubyte",),
    label_patterns=("*train-labels*idx1-ubyte",),
)


class IdxSource:
    """A folder of IDX files."""

    name = "idx"
    layout = "a folder of IDX files"

    def detect(self, path: Path) -> bool:
        """Return whether a folder or one of its SUBFOLDERS holds IDX files. Raises DataError."""
        return kind_at(path) == "folder" and holds_idx(path)

    def load(self, path: Path, recipe: DataRecipe) -> LabelledImages:
        """Read and verify the training files; see ``load_training``."""
        return without_files(load_training(str(path)))


def without_files(raw: IdxSet) -> LabelledImages:
    """Return the images of a pair of files. Faulty copies that were skipped are logged as warnings."""
    for note in raw.notes:
        logging.getLogger(__name__).warning("skipped: %s", note)
    published = raw.name == FASHION_MNIST and all(file.published for file in raw.files)
    return LabelledImages(raw.name, raw.images, raw.labels, raw.class_names, raw.fingerprint, published=published)


class _ReadAhead(Thread):
    def __init__(self, folder: Path | None) -> None:
        super().__init__(daemon=True)
        self.folder = folder
        self.found: IdxSet | None = None

    def run(self) -> None:
        with contextlib.suppress(Exception):  # whoever needs the files reads them again, and reports what is wrong
            self.found, _ = find_published(TRAIN, self.folder)

    def result(self) -> IdxSet | None:
        """Return the files when they are read; None if they could not be."""
        self.join()
        return self.found


_ahead: dict[tuple[FilePair, Path | None], _ReadAhead] = {}


@contextlib.contextmanager
def reading_ahead(source: str, folder: Path | None = None) -> Iterator[None]:
    """Read the training files in a thread while the block imports torch; its first ``load_training`` takes them.

    Unpacking and hashing let other threads run meanwhile. Only Fashion-MNIST's files are read ahead.

    Args:
        source: As for ``load_training``.
        folder: As for ``load_training``, which must get the same.
    """
    if source != FASHION_MNIST:
        yield
        return
    _ahead[TRAIN, folder] = thread = _ReadAhead(folder)
    thread.start()
    try:
        yield
    finally:
        thread.join()
        _ahead.pop((TRAIN, folder), None)


def load_training(source: str, folder: Path | None = None) -> IdxSet:
    """Read and verify the training files of a data set.

    Args:
        source: "fashion-mnist", or the folder of another IDX set.
        folder: Where the files are on this machine. If None, Fashion-MNIST is searched in ``usual_folders`` and
            downloaded if it is in none of them.

    Raises:
        DataError: The files are missing, damaged, or cannot be trained on.
    """
    if source == FASHION_MNIST:
        return load_published(TRAIN, folder)
    location = source_folder(source, folder)
    images, labels = read_pair(TRAIN, *find_pair(TRAIN, location))
    if is_published(TRAIN, images, labels):
        return published_set(images, labels)
    names = read_class_names(folder_of_set(images))
    first = first_label_of(labels, names)
    raw = join_pair(set_name(location), images, labels, names or numbered_names(labels), first_label=first)
    if names is None:
        check_trainable(labels, first)
    return raw


def load_published(pair: FilePair, folder: Path | None = None) -> IdxSet:
    """Read a pair of Fashion-MNIST's files from ``named_folder(folder)``, or else find or download it.

    A fault in a named folder is a DataError at once. A faulty copy in one of ``usual_folders`` is skipped and noted.
    """
    ahead = _ahead.pop((pair, folder), None)
    if ahead is not None and (read := ahead.result()) is not None:
        return read
    found, notes = find_published(pair, folder)
    return found or _download_set(pair, notes)


def find_published(pair: FilePair, folder: Path | None = None) -> tuple[IdxSet | None, tuple[str, ...]]:
    """Find a pair of Fashion-MNIST's files on this machine, as ``load_published`` does.

    Returns:
        The pair, None if there is none; and a note for each faulty copy that was skipped.
    """
    named = named_folder(folder)
    if named is not None:
        named_by = "--data-folder" if folder is not None else FOLDER_VARIABLE
        return published_set(*read_published_pair(pair, *_find_in_named(pair, named, named_by))), ()
    notes: list[str] = []
    for candidate in usual_folders():
        try:
            if paths := find_published_pair(pair, candidate):
                return published_set(*read_published_pair(pair, *paths), notes=tuple(notes)), tuple(notes)
        except DataError as error:
            notes.append(str(error))
    return None, tuple(notes)


def fetch(pair: FilePair, folder: Path | None = None) -> tuple[Path, ...]:
    """Download a pair of Fashion-MNIST's files into ``folder``, or into the cache; return the two paths."""
    return download(pair.files, folder if folder is not None else cache_folder())


def published_set(images: IdxFile, labels: IdxFile, notes: tuple[str, ...] = ()) -> IdxSet:
    """Join a pair of Fashion-MNIST's published files; ``notes`` name the faulty copies that were skipped."""
    return replace(join_pair(FASHION_MNIST, images, labels, CLASS_NAMES, published=True), notes=notes)


def numbered_names(labels: IdxFile) -> tuple[str, ...]:
    """Return the class names "0", "1" ... or "1", "2" ... up to the largest label."""
    return tuple(map(str, range(first_label_of(labels, None), int(labels.array.max()) + 1)))


def _find_in_named(pair: FilePair, named: Path, named_by: str) -> tuple[Path, Path]:
    kind = kind_at(named)
    if kind != "folder":
        found = describe_file(named)[0] if kind else "nothing"
        raise fault(named, "no such folder", expected="a folder", found=found, remedy=f"check {named_by}")
    for subfolder in SUBFOLDERS:
        if paths := find_published_pair(pair, named / subfolder):
            return paths
    names = f"{pair.images.name} and {pair.labels.name}, raw or .gz"
    remedy = f"name another folder with {named_by}, or none to search the usual folders"
    raise fault(named, "no Fashion-MNIST in it", expected=names, found="neither", remedy=remedy)


def _download_set(pair: FilePair, notes: tuple[str, ...]) -> IdxSet:
    try:
        images, labels = fetch(pair)
    except DataError as error:
        trouble = f"{OFFLINE_VARIABLE} is set" if is_offline() else getattr(error, "reason", str(error))
        faulty = f", a copy is faulty ({len(notes)} skipped)" if notes else ""
        raise DataError(
            f"Fashion-MNIST's {pair.what} files: not found{faulty}, and not downloaded ({trouble}); {BY_HAND}; "
            "`modiste doctor` lists the folders that were searched"
        ) from error
    return published_set(*read_published_pair(pair, images, labels), notes=notes)
