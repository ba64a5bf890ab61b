"""The held-out test set. Nothing that trains, searches or audits may import this file: a contract in CI."""

import contextlib
import hashlib
import logging
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from modiste.data import sources
from modiste.data.dataset import ImageSet, as_image_set
from modiste.data.idx.files import (
    FilePair,
    IdxSet,
    PublishedFile,
    SourceFile,
    find_pair,
    first_label_of,
    folder_of_set,
    has_files,
    is_published,
    join_pair,
    read_class_names,
    read_pair,
)
from modiste.data.idx.idx_source import TRAIN, load_published, numbered_names, published_set, without_files
from modiste.data.idx.reader import read_idx
from modiste.data.labelled import LabelledImages
from modiste.data.locations import FASHION_MNIST, set_name, source_folder
from modiste.data.pictures.division import divide
from modiste.data.pictures.picture_source import (
    HELD_OUT,
    PictureSet,
    check_readable,
    decode_entries,
    fault_notes,
    list_pictures,
    without_faults,
)
from modiste.data.tables.arrays import refusal
from modiste.data.tables.contents import (
    Contents,
    Part,
    TableSource,
    all_images,
    content_hash,
    divided,
    fashion_labels,
    idx_hash,
    number,
)
from modiste.data.tables.memory import contents_of
from modiste.errors import DataError, RecipeError, fault
from modiste.recipes.recipe import DataRecipe

OTHER = "other"
"""Part of the data in the names of cache files, for data that a run was not made from."""
TEST = FilePair(
    what="test",
    images=PublishedFile(
        name="t10k-images-idx3-ubyte",
        size_bytes=7_840_016,
        sha256="5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        archive_md5="bef4ecab320f06d8554ea6380940ec79",
    ),
    labels=PublishedFile(
        name="t10k-labels-idx1-ubyte",
        size_bytes=10_008,
        sha256="0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        archive_md5="bb300cfdad3c16e7a12a480ee83cd310",
        old_archive_md5="db06173b3df7891d78edf9cae5fe8f8a",
    ),
    image_patterns=("*t10k-images*idx3-ubyte", "*test-images*idx3-ubyte"),
    label_patterns=("*t10k-labels*idx1-ubyte", "*test-labels*idx1-ubyte"),
)


def load_held_out(source: str, folder: Path | None = None) -> IdxSet:
    """Read and verify the test files of ``source``; arguments and errors as ``idx_source.load_training``.

    A set without ``classes.txt`` has numbers as class names, up to its largest training label. Training labels decide
    whether labels begin with 0 or 1.
    """
    if source == FASHION_MNIST:
        return load_published(TEST, folder)
    location = source_folder(source, folder)
    images, labels = read_pair(TEST, *find_pair(TEST, location))
    if is_published(TEST, images, labels):
        return published_set(images, labels)
    names = read_class_names(folder_of_set(images))
    try:
        numbered = read_idx(find_pair(TRAIN, location)[1], dimensions=1, what="training labels")
    except DataError:
        if names is None:
            raise
        numbered = labels  # a set for testing alone
    first = first_label_of(numbered, names)
    return join_pair(set_name(location), images, labels, names or numbered_names(numbered), first_label=first)


def has_test_files(source: str, folder: Path | None = None) -> bool:
    """Return whether a file of the IDX source is named as one of the test files, whatever is in it."""
    return has_files(TEST, source_folder(source, folder))


def load_test(recipe: DataRecipe, folder: Path | None = None) -> ImageSet:
    """Read the test images of a recipe's source, of any kind. Raises DataError."""
    if recipe.source == FASHION_MNIST:
        return as_image_set(load_published(TEST, folder))
    source, path = sources.locate(recipe.source, folder)
    own = sources.added(source.name)
    if own is None:
        found = TEST_PARTS[source.name](path, recipe)
    else:
        found = sources.checked(own.load_test(path, recipe), own.name)
    return as_image_set(sources.transposed(found, recipe))


def test_of(data: Any, recipe: DataRecipe | None = None) -> ImageSet:  # noqa: PT028 (no test, in spite of its name)
    """Return the test images of what a Python program hands over; see ``dataset.development_of``.

    Without a test part these are the images that ``recipe.test_fraction`` sets aside.

    Raises:
        DataError: As ``development_of``; or no test images are there.
    """
    recipe = recipe or DataRecipe()
    if isinstance(data, str | Path):
        return load_test(replace(recipe, source=str(data)))
    return as_image_set(sources.transposed(held_out_images(contents_of(data), recipe), recipe))


def held_out_images(contents: Contents, recipe: DataRecipe) -> LabelledImages:
    """Return the test part of arrays or a table, or the images that are set aside; DataError if there are none.

    Fashion-MNIST that comes without a test part has its published one, from this machine.
    """
    known = divided(contents, recipe)
    found = known.found
    part = contents.parts["test"]() if "test" in contents.parts else known.rest
    if part is None and found.published:
        return without_files(load_published(TEST))
    if part is None:
        remedy = "give a test part, or train with --data.test-fraction above 0"
        raise fault(Path(contents.where), "no test images", expected="a test part", found="none", remedy=remedy)
    if part.images.shape[1:] != found.images.shape[1:]:
        expected, shape = f"shape {found.images.shape[1:]}, as in training", f"{part.images.shape[1:]}"
        raise refusal(part.where, "images of another shape", expected=expected, found=shape, remedy="make them alike")
    if found.published:
        return _published_test(part, found)
    labels = number(part, known.values, found.class_names)
    fingerprint = content_hash(part.images, labels, found.class_names, None)
    return LabelledImages(found.name, part.images, labels, found.class_names, fingerprint)


def _published_test(part: Part, found: LabelledImages) -> LabelledImages:
    """Return the test part that came with Fashion-MNIST; a warning if it is not the published one."""
    labels = fashion_labels(part)
    if labels is None:
        raise refusal(
            part.where,
            "not Fashion-MNIST's labels",
            expected="all ten classes, as in training",
            found=f"{len(np.unique(part.labels))} different labels",
            remedy="take the test part of the same set",
        )
    hashes = idx_hash(part.images), idx_hash(labels)
    if hashes != (TEST.images.sha256, TEST.labels.sha256):
        logging.getLogger(__name__).warning(
            "%s: not Fashion-MNIST's published test images in their order; evaluated as they are", part.where
        )
    fingerprint = hashlib.sha256(" ".join(hashes).encode()).hexdigest()
    return LabelledImages(found.name, part.images, labels, found.class_names, fingerprint)


def load_held_out_pictures(path: Path, recipe: DataRecipe) -> PictureSet:
    """Decode the pictures of a source that training may not open; DataError when there are none."""
    listing = list_pictures(path, recipe.decoder)
    development = set(divide(path, listing, recipe).entries)
    entries = [entry for entry in listing.entries if entry not in development]
    if not entries:
        remedy = "make a folder test, or train with --data.test-fraction above 0"
        raise fault(path, "no test pictures", expected="some that are held out", found="none", remedy=remedy)
    found = decode_entries(path, listing, entries, recipe, HELD_OUT)
    own_faults = tuple(bad for bad in found.faults if bad not in listing.skipped)
    return replace(found, faults=own_faults)  # training has reported the files that are no pictures


def _test_pictures(path: Path, recipe: DataRecipe) -> LabelledImages:
    pictures = load_held_out_pictures(path, recipe)
    check_readable(path, pictures, len(pictures.files) + len(pictures.faults), recipe)
    for note in fault_notes(path, pictures.faults):
        logging.getLogger(__name__).warning("%s", note)
    return without_faults(pictures)


def _test_table(table: TableSource, path: Path, recipe: DataRecipe) -> LabelledImages:
    return held_out_images(table.read(path), recipe)


def load_labelled(data: Any, recipe: DataRecipe) -> LabelledImages:
    """Read all labelled images of some data, whatever part they are in; of IDX files, the test files.

    The images may be of a single class.

    Args:
        data: A path, or what a program hands over; see ``dataset.development_of``.
        recipe: Says what picture files become, and whether arrays are transposed, which picture files never are; its
            source is ignored.

    Returns:
        The images, ``published`` if they are Fashion-MNIST's training or test images. The fingerprint is that of the
        part that training would use, so that a run finds its own data.

    Raises:
        DataError: The data are missing, damaged, or of another kind.
    """
    if not isinstance(data, str | os.PathLike):
        return sources.transposed(_all_parts(contents_of(data), recipe), recipe)
    source, path = sources.locate(os.fspath(data))
    own, tables = sources.added(source.name), {table.name: table for table in sources.TABLES}
    if source.name == "pictures":
        return _all_pictures(path, recipe)
    if source.name in tables:
        found = _all_parts(tables[source.name].read(path), recipe)
    else:
        if own is None:
            found = without_files(load_held_out(str(path)))
        else:
            found = sources.checked(own.load_test(path, recipe), own.name)
        with contextlib.suppress(DataError):  # too few images for training may still be measured
            found = replace(found, fingerprint=source.load(path, recipe).fingerprint)
    return sources.transposed(found, recipe)


def _all_parts(contents: Contents, recipe: DataRecipe) -> LabelledImages:
    """Return every part of arrays or a table, one after another; see ``load_labelled`` for the fingerprint."""
    found, fingerprint, published = all_images(contents), "", False
    with contextlib.suppress(DataError):  # too few images for training may still be measured
        development = divided(contents, recipe).found
        fingerprint, published = development.fingerprint, development.published
    is_test = found.images.ndim == 3 and idx_hash(found.images) == TEST.images.sha256
    return replace(found, fingerprint=fingerprint or found.fingerprint, published=published or is_test)


def _all_pictures(path: Path, recipe: DataRecipe) -> LabelledImages:
    listing, training = list_pictures(path, recipe.decoder, for_training=False), None
    with contextlib.suppress(DataError, RecipeError):  # what cannot be trained on may still be measured
        training = divide(path, listing, recipe).entries
    pictures = decode_entries(path, listing, listing.entries, recipe, OTHER, fingerprint_of=training)
    check_readable(path, pictures, len(listing.entries), recipe)
    for note in fault_notes(path, pictures.faults):
        logging.getLogger(__name__).warning("%s", note)
    return without_faults(pictures)


def verify_all(folder: Path | None = None) -> tuple[SourceFile, ...]:
    """Find and verify the four files of Fashion-MNIST, and return them. Raises DataError."""
    return load_published(TRAIN, folder).files + load_published(TEST, folder).files


TEST_PARTS: dict[str, Callable[[Path, DataRecipe], LabelledImages]] = {
    "idx": lambda path, _: without_files(load_held_out(str(path))),
    "pictures": _test_pictures,
    **{table.name: partial(_test_table, table) for table in sources.TABLES},
}
"""For each of our own kinds of source, what reads its test part."""
