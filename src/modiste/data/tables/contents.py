"""The parts of a data set that comes as arrays: joined, divided, and compared with Fashion-MNIST."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from jaxtyping import Int64, UInt8
from numpy import ndarray

from modiste.data.idx.idx_source import CLASS_NAMES, TRAIN, find_published
from modiste.data.labelled import LabelledImages
from modiste.data.locations import FASHION_MNIST
from modiste.data.paths import kind_at
from modiste.data.pictures.folder_layout import splits_in, visible
from modiste.data.pictures.listing import LEAST_CLASSES, MOST_CLASSES, check_class_names, join_names
from modiste.data.tables.arrays import refusal
from modiste.errors import DataError, shown
from modiste.recipes.recipe import DataRecipe

PartName = Literal["train", "validation", "test"]
PUBLISHED_SHAPE = (28, 28)
TRAIN_COUNT, ALL_COUNT = 60_000, 70_000
SORTED_TRAIN = "bbe5d8005ee02c656bde64cf0d31bea0"
"""Hash of the sorted hashes of Fashion-MNIST's training images with their labels: the same in any order."""


NO_COPY = (
    "Fashion-MNIST's training images in another order, and no copy to restore the order by: they are divided as any "
    "other images; `modiste data` fetches a copy"
)


@dataclass(frozen=True, eq=False)
class Part:
    """The images and labels of one part, as given.

    Attributes:
        images: (N, H, W) or (N, 3, H, W).
        labels: Whole numbers or text.
        where: Names the labels in messages.
        notes: For the user.
    """

    images: UInt8[ndarray, "n h w"] | UInt8[ndarray, "n c h w"]
    labels: ndarray
    where: str
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.images) != len(self.labels):
            raise refusal(
                self.where,
                "counts differ",
                expected=f"{len(self.images):,} labels, one for each image",
                found=f"{len(self.labels):,}",
                remedy="take both from the same set",
            )

    def __getitem__(self, index: slice | ndarray) -> "Part":
        return replace(self, images=self.images[index], labels=self.labels[index])


@dataclass(frozen=True, eq=False)
class Contents:
    """What a file, a folder or a person's arrays hold.

    Attributes:
        name: Name of the data set.
        where: Names it in messages.
        parts: For train and, where there are any, validation and test: what reads the part.
        class_names: Names of the labels 0, 1 ...; None if the labels say it themselves.
    """

    name: str
    where: str
    parts: Mapping[PartName, Callable[[], Part]]
    class_names: tuple[str, ...] | None = None


@dataclass(frozen=True, eq=False)
class Development:
    """The development part, and what the test part may need of it.

    Attributes:
        found: The images that training may use.
        rest: Images that were set aside for testing; None if there are none.
        values: The label, as given, of each class, in the order of the classes; None if there are class names.
    """

    found: LabelledImages
    rest: Part | None
    values: ndarray | None


def parts_in(file: Path) -> set[PartName]:
    """Return the parts that the words of a file's name stand for: of fashion-mnist_train.csv, train."""
    named = splits_in(file.name)
    return {part for part in get_args(PartName) if part in named}


def files_in(folder: Path, *endings: str) -> list[Path]:
    """Return the files in a folder that have one of these endings, sorted, without hidden ones; none without a folder.

    Hidden files are not the person's: macOS, editors and file servers leave copies with the same ending.
    """
    items = visible(folder) if kind_at(folder) == "folder" else []
    return [Path(item.path) for item in items if item.name.lower().endswith(endings) and item.is_file()]


def development_images(contents: Contents, recipe: DataRecipe) -> LabelledImages:
    """Return the images that training may use, the validation images last if the data set divides itself.

    Without a test part ``recipe.test_fraction`` of every class is set aside, chosen by content and ``test_seed``.

    Raises:
        DataError: A label has no name, a class has too few images, or the parts do not fit together.
    """
    return divided(contents, recipe).found


def divided(contents: Contents, recipe: DataRecipe) -> Development:
    """Return the development part as ``development_images`` does, with what the test part may need of it."""
    train, validation, rest = contents.parts["train"](), None, None
    if "validation" in contents.parts:
        validation = contents.parts["validation"]()
        _check_alike(train, validation)
    if validation is None and (known := _published(train)):
        return known
    if validation is None and _is_reordered(train):
        if known := _in_published_order(contents.where, train.notes):
            return known
        train = replace(train, notes=(*train.notes, f"{shown(contents.where)}: {NO_COPY}"))
    values, names = _classes(contents, train)
    labels = number(train, values, names)
    if "test" not in contents.parts and recipe.test_fraction:
        drawn = _drawn(train.images, labels, recipe)
        train, labels, rest = train[~drawn], labels[~drawn], train[drawn]
    _check_counts(contents.where, labels, names, least=1 if validation else 2)
    images, notes = train.images, train.notes
    if validation is not None:
        images = np.concatenate([images, validation.images])
        labels, notes = np.concatenate([labels, number(validation, values, names)]), notes + validation.notes
    count = None if validation is None else len(validation.labels)
    fingerprint = content_hash(images, labels, names, count)
    return Development(
        LabelledImages(contents.name, images, labels, names, fingerprint, count, notes=notes), rest, values
    )


def all_images(contents: Contents) -> LabelledImages:
    """Return the images of all parts, one part after another, with the classes of all their labels.

    Raises:
        DataError: A part is invalid, or the parts are of different shapes or types of labels.
    """
    parts = [read() for read in contents.parts.values()]
    for part in parts[1:]:
        _check_alike(parts[0], part)
    images = np.concatenate([part.images for part in parts])
    joined = replace(parts[0], images=images, labels=np.concatenate([part.labels for part in parts]))
    values, names = _classes(contents, joined, least=1)
    labels = number(joined, values, names)
    return LabelledImages(contents.name, images, labels, names, content_hash(images, labels, names, None))


def number(part: Part, values: ndarray | None, names: tuple[str, ...]) -> Int64[ndarray, " n"]:
    """Return the labels from 0; DataError if one is of no class, or of another type than those of the classes.

    Args:
        part: Its labels are as given.
        values: The label of each class; None if labels are positions in ``names``, or names.
        names: Names of the classes.
    """
    labels = part.labels
    if values is None and labels.dtype.kind == "U":
        values = np.array(names)
    if values is None:
        places, known = labels, (labels >= 0) & (labels < len(names))
    else:
        _check_type(values, part)
        order = np.argsort(values)
        places = order[np.searchsorted(values, labels, sorter=order).clip(max=len(values) - 1)]
        known = values[places] == labels
    if not known.all():
        at = int((~known).argmax())
        raise refusal(
            part.where,
            "a label of no class",
            expected=f"0 to {len(names) - 1} ({len(names)} classes)"
            if values is None
            else f"one of {join_names(names)}",
            found=f"{labels[at]} at position {at:,}" + (", which says that there is none" if labels[at] == -1 else ""),
            remedy="correct the labels, or drop these images",
        )
    return np.asarray(places, np.int64)


def content_hash(images: ndarray, labels: ndarray, names: tuple[str, ...], validation: int | None) -> str:
    """Return SHA-256 over pixels, labels, class names and division: the fingerprint of images without a file."""
    digest = hashlib.sha256(repr((images.shape, names, validation)).encode())
    digest.update(np.ascontiguousarray(images).data)
    digest.update(np.ascontiguousarray(labels, np.int64).data)
    return digest.hexdigest()


def idx_hash(array: UInt8[ndarray, "..."]) -> str:
    """Return SHA-256 of the IDX file that would hold an array of bytes."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    digest = hashlib.sha256(bytes((0, 0, 8, array.ndim)) + sizes)
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def sorted_hash(images: ndarray, labels: ndarray) -> str:
    """Return a hash of labelled images that is the same in any order."""
    rows = np.ascontiguousarray(images).reshape(len(images), -1)
    each = sorted(
        hashlib.blake2b(row.data, digest_size=16, salt=bytes([label])).digest()
        for row, label in zip(rows, labels.tolist(), strict=True)
    )
    return hashlib.blake2b(b"".join(each), digest_size=16).hexdigest()


def fashion_labels(part: Part) -> UInt8[ndarray, " n"] | None:
    """Return the labels as Fashion-MNIST numbers its classes; None if they cannot be these."""
    kinds, places = np.unique(part.labels, return_inverse=True)
    if len(kinds) != len(CLASS_NAMES):
        return None
    if kinds.dtype.kind != "U":
        return places.astype(np.uint8)
    published = [letters_of(name) for name in CLASS_NAMES]
    own = [letters_of(str(kind)) for kind in kinds]
    if sorted(own) == sorted(published):
        return np.array([published.index(name) for name in own], np.uint8)[places]
    if sorted(own) == [str(number) for number in range(len(CLASS_NAMES))]:
        return np.array([int(name) for name in own], np.uint8)[places]
    return None


def letters_of(name: str) -> str:
    """Return a name's letters and digits, in lower case: "T - shirt / top" and "T-shirt/top" have the same."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _published(train: Part) -> Development | None:
    """Return Fashion-MNIST if these are its training images, or all its images.

    Of all 70,000 in the published order the last 10,000 are the test images, which are set aside.
    """
    if len(train.labels) not in (TRAIN_COUNT, ALL_COUNT) or train.images.shape[1:] != PUBLISHED_SHAPE:
        return None
    labels = fashion_labels(train)
    if labels is None:
        return None
    images, labels = train.images[:TRAIN_COUNT], labels[:TRAIN_COUNT]
    hashes = idx_hash(images), idx_hash(labels)
    if hashes == (TRAIN.images.sha256, TRAIN.labels.sha256):
        rest = train[TRAIN_COUNT:] if len(train.labels) > TRAIN_COUNT else None
        return Development(_fashion(images, labels, hashes, train.notes), rest, None)
    return None


def _is_reordered(train: Part) -> bool:
    """Return whether these are Fashion-MNIST's training images in another order."""
    if len(train.labels) != TRAIN_COUNT or train.images.shape[1:] != PUBLISHED_SHAPE:
        return False
    labels = fashion_labels(train)
    return labels is not None and sorted_hash(train.images, labels) == SORTED_TRAIN


def _fashion(images: ndarray, labels: ndarray, hashes: tuple[str, str], notes: tuple[str, ...]) -> LabelledImages:
    fingerprint = hashlib.sha256(" ".join(hashes).encode()).hexdigest()
    return LabelledImages(FASHION_MNIST, images, labels, CLASS_NAMES, fingerprint, notes=notes, published=True)


def _in_published_order(where: str, notes: tuple[str, ...]) -> Development | None:
    """Return Fashion-MNIST in its published order, from this machine's copy; None if it has none."""
    try:
        raw, _ = find_published(TRAIN)
    except DataError:
        return None
    if raw is None:
        return None
    note = f"{shown(where)}: Fashion-MNIST's training images in another order; the published order is used"
    hashes = raw.files[0].sha256, raw.files[1].sha256
    return Development(_fashion(raw.images, raw.labels, hashes, (*notes, note)), None, None)


def _classes(contents: Contents, part: Part, *, least: int = LEAST_CLASSES) -> tuple[ndarray | None, tuple[str, ...]]:
    """Return the label of each class, None if there are names; and the names.

    Raises DataError for fewer classes than ``least``, too many, or names that are not valid.
    """
    source = Path(part.where)
    if contents.class_names is not None:
        check_class_names(source, list(contents.class_names), remedy="correct the class names", least=least)
        return None, contents.class_names
    values = np.unique(part.labels)
    if not least <= len(values) <= MOST_CLASSES:
        raise refusal(
            part.where,
            "too few classes" if len(values) < least else "too many classes",
            expected=f"{least} to {MOST_CLASSES:,} different labels",
            found=f"{len(values):,}",
            remedy="are these the labels?",
        )
    names = [str(value) for value in values]
    check_class_names(source, names, remedy="rename the class", least=least)
    if values.dtype.kind == "U" and all(name.isdecimal() and name.isascii() for name in names):
        names.sort(key=int)
        values = np.array(names)
    return values, tuple(names)


def _drawn(images: ndarray, labels: ndarray, recipe: DataRecipe) -> ndarray:
    """Return which images are set aside for testing: the same share of every class, at least one of each.

    An image's rank follows from its pixels and the seed, so that it stays held out in another order of the file.
    """
    key = f"{recipe.test_seed}:test".encode()
    rows = np.ascontiguousarray(images).reshape(len(images), -1)
    digests = (hashlib.blake2b(row.data, digest_size=8, key=key).digest() for row in rows)
    ranks = np.frombuffer(b"".join(digests), ">u8")
    drawn: ndarray = np.zeros(len(labels), np.bool_)
    for label in range(int(labels.max()) + 1):
        members = np.flatnonzero(labels == label)
        count = max(1, round(recipe.test_fraction * len(members))) if len(members) else 0
        drawn[members[np.argsort(ranks[members], kind="stable")[:count]]] = True
    return drawn


def _check_counts(where: str, labels: ndarray, names: tuple[str, ...], *, least: int) -> None:
    counts = np.bincount(labels, minlength=len(names))
    if counts.min() < least:
        rare = int(counts.argmin())
        raise refusal(
            where,
            "too few images",
            expected=f"{least} or more of each class beside those set aside for testing",
            found=f"{counts[rare]} of {names[rare]}",
            remedy="add images of it, or leave the class out",
        )


def _check_alike(train: Part, other: Part) -> None:
    if train.images.shape[1:] != other.images.shape[1:]:
        raise refusal(
            other.where,
            "images of another shape",
            expected=f"{train.images.shape[1:]}, as in training",
            found=f"{other.images.shape[1:]}",
            remedy="make all parts alike",
        )
    _check_type(train.labels, other)


def _check_type(labels: ndarray, other: Part) -> None:
    if labels.dtype.kind != other.labels.dtype.kind:
        found, remedy = "text in one part and numbers in another", "make all parts alike"
        raise refusal(other.where, "labels of several types", expected="one type", found=found, remedy=remedy)


class TableSource:
    """A kind of source whose files give ``Contents``.

    Attributes:
        name: Name of the kind.
        layout: What such a source is.
    """

    def __init__(
        self, name: str, layout: str, detect: Callable[[Path], bool], read: Callable[[Path], Contents]
    ) -> None:
        self.name, self.layout, self._detect, self.read = name, layout, detect, read

    def detect(self, path: Path) -> bool:
        """Return whether the file or folder at ``path`` is of this kind."""
        return self._detect(path)

    def load(self, path: Path, recipe: DataRecipe) -> LabelledImages:
        """Read the images that training may use."""
        return development_images(self.read(path), recipe)
