"""Where a data set's files are, and whether they are right.

This file knows the training pair only. The test pair is named in ``sealed.py`` alone, and what reads here
takes the pair as an argument.
"""

import difflib
import os
from pathlib import Path

from modiste.data.idx.download import BY_HAND, OFFLINE_VARIABLE, download, is_offline
from modiste.data.idx.files import (
    BELOW,
    FilePair,
    KnownFile,
    RawSet,
    check_trainable,
    find_any,
    find_known,
    folder_of_set,
    is_published,
    make_raw_set,
    read_any,
    read_class_names,
    read_known,
)
from modiste.data.idx.reader import IdxFile
from modiste.data.paths import FOLDER_VARIABLE, cache_folder, expanded, kind_at, named_folder, usual_folders
from modiste.data.pictures.listing import foreign_kind
from modiste.errors import DataError, fault, shown

FASHION_MNIST = "fashion-mnist"
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
SOURCES = f'"{FASHION_MNIST}", a folder of IDX files or class folders, or a .csv file'
TRAIN = FilePair(
    what="training",
    images=KnownFile(
        name="train-images-idx3-ubyte",
        size_bytes=47_040_016,
        sha256="c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        archive_md5="8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    ),
    labels=KnownFile(
        name="train-labels-idx1-ubyte",
        size_bytes=60_008,
        sha256="bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        archive_md5="25c81989df183df01b3e8a0aad5dffbe",
        old_archive_md5="c25fcebcfee76fc70679a885c08e7783",
    ),
    image_patterns=("*train-images*idx3-ubyte",),
    label_patterns=("*train-labels*idx1-ubyte",),
)


def load_training(source: str, folder: Path | None = None) -> RawSet:
    """Read and verify the training pair of ``source``: "fashion-mnist" or the folder of another IDX set.

    ``folder`` says where the data lie on this machine. Without it, Fashion-MNIST is searched in the usual
    places and fetched when it is in none. Raises DataError.
    """
    if source == FASHION_MNIST:
        return load_published(TRAIN, folder)
    place = source_folder(source, folder)
    images, labels = read_any(TRAIN, *find_any(TRAIN, place))
    if is_published(TRAIN, images, labels):
        return _published_set(images, labels)
    names = read_class_names(folder_of_set(images))
    raw = make_raw_set(set_name(place), images, labels, names or numbered_names(labels))
    if names is None:
        check_trainable(labels)
    return raw


def load_published(pair: FilePair, folder: Path | None = None) -> RawSet:
    """Read one pair of Fashion-MNIST from the folder that the person named, else from wherever it is found.

    A fault in a folder that was named is an error at once; a faulty copy elsewhere is skipped and noted. What is
    nowhere is fetched.
    """
    found, notes = find_published(pair, folder)
    return found or _fetched_set(pair, notes)


def find_published(pair: FilePair, folder: Path | None = None) -> tuple[RawSet | None, tuple[str, ...]]:
    """Return the pair that ``load_published`` finds on this machine, None without one, and the faulty copies passed."""
    named = named_folder(folder)
    if named is not None:
        named_by = "--data-folder" if folder is not None else FOLDER_VARIABLE
        return _published_set(*read_known(pair, *_find_named(pair, named, named_by))), ()
    notes: list[str] = []
    for place in usual_folders():
        try:
            if paths := find_known(pair, place):
                return _published_set(*read_known(pair, *paths), notes=tuple(notes)), tuple(notes)
        except DataError as error:
            notes.append(str(error))
    return None, tuple(notes)


def fetch(pair: FilePair, folder: Path | None = None) -> tuple[Path, ...]:
    """Bring a pair of Fashion-MNIST into ``folder``, or into the cache; return the two paths."""
    return download(pair.files, folder if folder is not None else cache_folder())


def source_folder(source: str, folder: Path | None = None) -> Path:
    """Return the folder that ``source`` names, or ``folder`` in its stead; DataError when there is none."""
    place = expanded(folder if folder is not None else Path(source))
    kind = kind_at(place) if source or folder else ""
    if kind == "folder":
        return place
    if kind and folder is None:
        found, remedy = foreign_kind(place)
        raise fault(place, "no data set that can be read", expected=SOURCES, found=found, remedy=remedy)
    near = difflib.get_close_matches(source.lower(), [FASHION_MNIST], cutoff=0.5)
    raise fault(
        place,
        "no such data set or folder",
        expected=SOURCES,
        found=f'"{shown(source)}"' if folder is None else foreign_kind(place)[0] if kind else "no folder",
        remedy=f'did you mean "{near[0]}"?' if near else "check the path",
    )


def check_one_place(source: str, folder: Path | None) -> None:
    """Raise DataError where ``source`` names data that are there, and ``folder`` names others in their stead."""
    if folder is None or source == FASHION_MNIST:
        return
    own, other = expanded(Path(source)), expanded(folder)
    if source and kind_at(own) and os.path.realpath(own) != os.path.realpath(other):
        raise _two_places(own, folder, "lies where it says")


def check_not_published(source: str, folder: Path | None, raw: RawSet) -> None:
    """Raise DataError where ``folder``, in the stead of other data, turns out to hold Fashion-MNIST."""
    if folder is not None and FASHION_MNIST == raw.name != source:
        raise _two_places(Path(source), folder, "is not there")


def _two_places(own: Path, folder: Path, found: str) -> DataError:
    return fault(
        own,
        "two places for the data",
        expected="data.source alone, or --data-folder for Fashion-MNIST and for data that have moved",
        found=f"the source, which {found}, and the folder {shown(folder)}",
        remedy="leave --data-folder away, or name the folder as the source",
    )


def set_name(place: Path) -> str:
    """Return what to call the set in a folder that holds no known one: the folder's name."""
    return shown(place.resolve().name) or "images"


def numbered_names(labels: IdxFile) -> tuple[str, ...]:
    """Return the names "0", "1" ... up to the largest label."""
    return tuple(str(number) for number in range(int(labels.array.max()) + 1))


def _find_named(pair: FilePair, named: Path, named_by: str) -> tuple[Path, Path]:
    kind = kind_at(named)
    if kind != "folder":
        found = foreign_kind(named)[0] if kind else "nothing"
        raise fault(named, "no such folder", expected="a folder", found=found, remedy=f"check {named_by}")
    for part in BELOW:
        if paths := find_known(pair, named / part):
            return paths
    names = f"{pair.images.name} and {pair.labels.name}, raw or .gz"
    remedy = f"name another folder with {named_by}, or none to search the usual places"
    raise fault(named, "no Fashion-MNIST in it", expected=names, found="neither", remedy=remedy)


def _fetched_set(pair: FilePair, notes: tuple[str, ...]) -> RawSet:
    try:
        images, labels = fetch(pair)
    except DataError as error:
        trouble = f"{OFFLINE_VARIABLE} is set" if is_offline() else getattr(error, "reason", str(error))
        faulty = f", a copy is faulty ({len(notes)} passed over)" if notes else ""
        raise DataError(
            f"Fashion-MNIST's {pair.what} files: not found{faulty}, and not downloaded ({trouble}); {BY_HAND}; "
            "`modiste doctor` lists where it looked"
        ) from error
    return _published_set(*read_known(pair, images, labels), notes=notes)


def _published_set(images: IdxFile, labels: IdxFile, notes: tuple[str, ...] = ()) -> RawSet:
    return make_raw_set(FASHION_MNIST, images, labels, CLASS_NAMES, published=True, notes=notes)
