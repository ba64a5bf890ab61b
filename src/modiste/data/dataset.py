"""Images and labels as tensors, split into training and validation.

This file cannot reach the test set: see ``held_out``.
"""

import hashlib
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from modiste import machine
from modiste.data import sources
from modiste.data.batch import blocks
from modiste.data.duplicates import groups_for
from modiste.data.extra_pictures import Extra, joined_fingerprint, load_extra
from modiste.data.idx.files import IdxSet
from modiste.data.idx.reader import LIMIT_BYTES
from modiste.data.labelled import LabelledImages
from modiste.data.locations import check_not_fashion_mnist, check_single_location
from modiste.data.pictures.picture_file import release_pages
from modiste.data.pictures.picture_source import PictureSet
from modiste.data.split import has_own_validation, split_indices
from modiste.data.tables.contents import development_images
from modiste.data.tables.memory import contents_of
from modiste.display import Displayed, Table
from modiste.errors import DataError, RecipeError
from modiste.recipes.recipe import DataRecipe


def balanced_sample(labels: Int64[Tensor, " n"], count: int, purpose: str) -> Int64[Tensor, " m"]:
    """Return the indices of ``count`` images of ``balanced_order``, ascending; all indices if there are no more."""
    return balanced_order(labels, purpose)[:count].sort().values


def balanced_order(labels: Int64[Tensor, " n"], purpose: str) -> Int64[Tensor, " n"]:
    """Return all indices in an order in which the classes alternate, random within each class.

    Any first part of that order holds equally many images of each class (give or take one), or all of a small class.

    Args:
        labels: Labels of the images.
        purpose: Seeds the order; the same purpose always gives the same order.
    """
    ties = torch.rand(len(labels), generator=machine.generator(0, purpose, 1), dtype=torch.float64)
    return (rank_within_class(labels, purpose) + ties).argsort()


def rank_within_class(labels: Int64[Tensor, " n"], purpose: str) -> Int64[Tensor, " n"]:
    """Return each image's rank, from 0, in a random order of its class's images; arguments as ``balanced_order``."""
    labels = labels.cpu()
    order = torch.randperm(len(labels), generator=machine.generator(0, purpose))
    by_class, sizes = order[labels[order].argsort(stable=True)], torch.bincount(labels)
    ranks = torch.empty_like(order)
    ranks[by_class] = torch.arange(len(order)) - (sizes.cumsum(0) - sizes)[labels[by_class]]
    return ranks


LEAST_SHARE = 0.1
"""Least deviation of a channel, as a share of that of all pixels."""
UNEQUAL = 1.5
"""Warn when the largest class has more than this many times the images of the smallest."""


@dataclass(frozen=True)
class ImageSet:
    """Images with their labels, on one device.

    Attributes:
        images: Pixels, uint8 (N, C, H, W).
        labels: From 0 (N).
        digests: SHA-256 of each picture file (N, 32), independent of how the picture is prepared; None for an IDX set.
        weights: Weight of each image in the training loss (N), with mean 1; None if all images count the same.
    """

    images: UInt8[Tensor, "n c h w"]
    labels: Int64[Tensor, " n"]
    digests: UInt8[Tensor, "n 32"] | None = None
    weights: Float[Tensor, " n"] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Tensor | slice) -> "ImageSet":
        digests, weights = (None if one is None else one[index] for one in (self.digests, self.weights))
        return ImageSet(self.images[index], self.labels[index], digests, weights)

    def to(self, device: torch.device) -> "ImageSet":
        """Return the same set on ``device``."""
        digests, weights = (None if one is None else one.to(device) for one in (self.digests, self.weights))
        return ImageSet(self.images.to(device), self.labels.to(device), digests, weights)

    def identity(self) -> str:
        """Return a hash of the images, their order and their labels.

        Picture files are identified by their content, images of an IDX set by their pixels.
        """
        content = self.images if self.digests is None else self.digests
        identity = hashlib.sha256(f"{tuple(content.shape)}".encode())
        for tensor in (content, self.labels):
            identity.update(tensor.contiguous().cpu().numpy().data)
        return identity.hexdigest()


@dataclass(frozen=True, repr=False)
class Development(Displayed):
    """The images that training may use: a training and a validation set.

    Attributes:
        name: Name of the data set.
        train: Training images.
        unlabelled: All images outside of validation and test, uint8 (N, C, H, W); more than in ``train`` if that is a
            subset.
        validation: Validation images.
        class_names: One per label.
        fingerprint: Hash of the files' content, the same wherever the files are.
        notes: Warnings for the user: files left out, unequal classes.
        own_pictures: Whether there are picture files or arrays of the user's own, which may change at any time; a run
            keeps the validation images.
        extra: More pictures to learn from; see ``data.extra``.
    """

    name: str
    train: ImageSet
    unlabelled: UInt8[Tensor, "m c h w"]
    validation: ImageSet
    class_names: tuple[str, ...]
    fingerprint: str
    notes: tuple[str, ...] = ()
    own_pictures: bool = False
    extra: Extra | None = None

    def table(self) -> Table:
        """Return the number of images of each class."""
        sets = {"training": self.train, "validation": self.validation}
        counts = [torch.bincount(one.labels.cpu(), minlength=len(self.class_names)).tolist() for one in sets.values()]
        rows = [
            [name, *(f"{number:,}" for number in row)] for name, *row in zip(self.class_names, *counts, strict=True)
        ]
        total = ["all", *(f"{len(one):,}" for one in sets.values())]
        size = " x ".join(map(str, self.image_shape))
        return Table(f"{self.name}, images of {size} bytes", [*rows, total], ("class", *sets), self.notes)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    def to(self, device: torch.device) -> "Development":
        """Return the same sets on ``device``."""
        train = self.train.to(device)
        unlabelled = train.images if self.unlabelled is self.train.images else self.unlabelled.to(device)
        extra = None if self.extra is None else self.extra.to(device)
        return replace(self, train=train, unlabelled=unlabelled, validation=self.validation.to(device), extra=extra)


@dataclass(frozen=True)
class SplitImages:
    """All training and validation images, and the indices of each split.

    Attributes:
        name: Name of the data set.
        images: With their labels.
        train: Indices of the training images, ascending.
        validation: Indices of the validation images, ascending.
        class_names: One per label.
        fingerprint: Hash of the files' content.
        files: Name of each picture file; empty for an IDX set.
        notes: Warnings for the user.
        groups: Number of each image's group of near duplicates, if the split is ``grouped``; else None.
    """

    name: str
    images: ImageSet
    train: Int64[Tensor, " n"]
    validation: Int64[Tensor, " m"]
    class_names: tuple[str, ...]
    fingerprint: str
    files: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    groups: Int64[Tensor, " k"] | None = None


def load_development(
    recipe: DataRecipe | None = None, folder: Path | str | None = None, *, instead: bool = False
) -> Development:
    """Find and verify the images of ``recipe.source``, and split them into training and validation.

    Args:
        recipe: Which images, and how they are split; Fashion-MNIST, stratified, if None.
        folder: Where Fashion-MNIST's files are, if in none of the usual folders; or where other data have moved to.
        instead: Allow ``folder`` to replace a source that still exists, for callers that compare the fingerprint.

    Raises:
        DataError: The files are missing, damaged, or too few to split; or both the source and the folder exist.

    Example:
        >>> development = load_development()
        >>> len(development.train), len(development.validation), development.image_shape
        (50000, 10000, (1, 28, 28))
    """
    recipe = recipe or DataRecipe()
    return development_of_split(load_split_images(recipe, folder, instead=instead), recipe)


def development_of(data: Any, recipe: DataRecipe | None = None) -> Development:
    """Return the training and validation images of what a Python program hands over.

    Args:
        data: A ``modiste.Dataset``; a pair (images, labels); Keras's two pairs, for training and test; a mapping with
            train, validation and test; a data set of torch or of Hugging Face; a path; or a ``Development``, which is
            returned as it is. See ``modiste.Dataset`` for types and shapes.
        recipe: How they are divided where the data do not say it: validation_fraction, split, split_seed, and
            test_fraction and test_seed for images that are set aside; images_per_class and repeats. ``source`` is used
            in messages alone.

    Returns:
        The images, with a fingerprint of their content and division, and with notes about what was changed.

    Raises:
        DataError: The data are of no such type, of another shape or range, or too few.

    Example:
        >>> images, labels = np.zeros((60, 8, 8), np.uint8), np.repeat(["coat", "shirt"], 30)
        >>> development = development_of((images, labels))
        >>> len(development.train), len(development.validation), development.class_names
        (42, 8, ('coat', 'shirt'))
    """
    recipe = recipe or DataRecipe()
    if isinstance(data, Development):
        return data
    if isinstance(data, str | Path):
        return load_development(replace(recipe, source=str(data)))
    found = sources.transposed(development_images(contents_of(data), recipe), recipe)
    return replace(development_of_split(split_images(found, recipe), recipe), own_pictures=True)


def development_of_split(split: SplitImages, recipe: DataRecipe) -> Development:
    """Return the images that the recipe chooses for training, with all of validation."""
    whole, every = split.images, split.train
    chosen = training_subset(whole.labels, every, recipe) if recipe.images_per_class else every
    notes = split.notes + unequal_class_notes(whole.labels[chosen], split.class_names)
    chosen = chosen if recipe.repeats == 1 else chosen.repeat(recipe.repeats)
    train = _part(whole, chosen, recipe)
    unlabelled = train.images if chosen is every else _part(whole, every, recipe).images
    validation, own_pictures = _part(whole, split.validation, recipe), bool(split.files)
    development = Development(
        split.name, train, unlabelled, validation, split.class_names, split.fingerprint, notes, own_pictures
    )
    return with_extra(development, recipe) if recipe.extra else development


def shown_once(train: ImageSet, recipe: DataRecipe) -> ImageSet:
    """Return the training images of a recipe without the repeats that an epoch shows.

    Images that a program hands over, and the sample that a run keeps, have no repeats.
    """
    count = len(train) // recipe.repeats
    is_repeated = (
        0 < count < len(train)
        and torch.equal(train.images[0], train.images[count])
        and torch.equal(train.labels, train.labels[:count].repeat(recipe.repeats))
    )
    return train[:count] if is_repeated else train


def with_extra(development: Development, recipe: DataRecipe) -> Development:
    """Return the same images together with the recipe's extra pictures; errors as ``load_extra``."""
    extra = load_extra(recipe, development.class_names, development.image_shape)
    return replace(
        development,
        fingerprint=joined_fingerprint(development.fingerprint, extra),
        notes=development.notes + extra.notes,
        own_pictures=True,
        extra=extra,
    )


def _part(whole: ImageSet, indices: Int64[Tensor, " n"], recipe: DataRecipe) -> ImageSet:
    """Return the images of these indices: a view of images that follow one another, else a copy in memory.

    Raises RecipeError if the images are mapped from a file, and the copy would be as large.
    """
    first, count = int(indices[0]), len(indices)
    if torch.equal(indices, torch.arange(first, first + count)):
        return whole[first : first + count]
    if count * whole.images[0].nbytes > LIMIT_BYTES < whole.images.nbytes:
        raise RecipeError(
            f"{recipe.source}: too large to be copied, {count:,} of {len(whole):,} images chosen with "
            f"data.images_per_class {recipe.images_per_class} and data.repeats {recipe.repeats}; expected at most "
            f"{LIMIT_BYTES:,} bytes; train with all images once (0 and 1), or with a smaller --data.side"
        )
    return whole[indices]


def load_split_images(recipe: DataRecipe, folder: Path | str | None = None, *, instead: bool = False) -> SplitImages:
    """Find and verify all images of a recipe's source; arguments and errors as ``load_development``.

    The recipe's ``images_per_class`` and ``repeats`` are ignored.
    """
    own = None if folder is None else Path(folder)
    if not instead:
        check_single_location(recipe.source, own)
    found = sources.load(recipe, own)
    if not instead:
        check_not_fashion_mnist(recipe.source, own, found.name)
    return split_images(found, recipe)


def split_images(found: LabelledImages, recipe: DataRecipe) -> SplitImages:
    """Return the images with the division that their source brings, or else with the recipe's.

    Raises RecipeError if the split is ``grouped``, and the source brings a division that knows no groups.
    """
    whole = as_image_set(found)
    groups = None if found.groups is None else torch.from_numpy(found.groups)
    if found.validation is None:
        groups = groups_for(whole.images, recipe)
        train, validation = split_indices(whole.labels, recipe, groups)
    elif recipe.split == "grouped" and groups is None:
        raise has_own_validation(recipe.source)
    else:
        train, validation = torch.arange(len(whole)).tensor_split([len(whole) - found.validation])
    return SplitImages(
        found.name, whole, train, validation, found.class_names, found.fingerprint, found.files, found.notes, groups
    )


def as_image_set(raw: IdxSet | PictureSet | LabelledImages) -> ImageSet:
    """Convert arrays to tensors; the images share their memory."""
    with warnings.catch_warnings():  # mapped images are read-only: no one may write to them
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        images = torch.from_numpy(raw.images)
    labels = torch.from_numpy(raw.labels.astype(np.int64))
    own_digests = None if isinstance(raw, IdxSet) else raw.digests
    digests = None if own_digests is None else torch.from_numpy(own_digests)
    return ImageSet(images if images.ndim == 4 else images.unsqueeze(1), labels, digests)


def training_subset(labels: Int64[Tensor, " n"], train: Int64[Tensor, " m"], recipe: DataRecipe) -> Int64[Tensor, " k"]:
    """Return ``images_per_class`` of the training indices for each class, drawn by ``subset_seed``, in ascending order.

    A larger subset contains the smaller ones of the same seed. Raises DataError when a class has too few images.
    """
    drawn = []
    for label in torch.unique(labels).tolist():
        members = train[labels[train] == label]
        if len(members) < recipe.images_per_class:
            raise DataError(
                f"{recipe.source}: expected {recipe.images_per_class} training images of class {label}, "
                f"found {len(members)}; choose a smaller --data.images-per-class to train"
            )
        order = torch.randperm(len(members), generator=machine.generator(recipe.subset_seed, "few", label))
        drawn.append(members[order[: recipe.images_per_class]])
    return torch.cat(drawn).sort().values


def unequal_class_notes(labels: Int64[Tensor, " n"], names: tuple[str, ...]) -> tuple[str, ...]:
    """Return a note with the number of images of each class if the classes are UNEQUAL, else none."""
    counts = torch.bincount(labels.cpu(), minlength=len(names)).tolist()
    if max(counts) <= UNEQUAL * min(counts):
        return ()
    shown = ", ".join(f"{name} {count:,}" for name, count in zip(names, counts, strict=True))
    return (f"unequal classes, in training {shown}; --balance 1 gives each class the same weight, 0 each image",)


def require_in_memory(images: UInt8[Tensor, "n c h w"], purpose: str) -> None:
    """Raise RecipeError if the images are too large for memory, for a ``purpose`` that copies all of them."""
    if images.nbytes > LIMIT_BYTES:
        raise RecipeError(
            f"{purpose}: keeps all images in memory, expected at most {LIMIT_BYTES:,} bytes, found {images.nbytes:,}; "
            "choose a smaller --data.side"
        )


def mean_and_deviation(images: UInt8[Tensor, "n c h w"]) -> tuple[float, float]:
    """Return the exact mean and standard deviation of all pixels, in [0, 1]."""
    return _mean_and_deviation_of(_count_values(images).sum(0))


def channel_statistics(images: UInt8[Tensor, "n c h w"]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the exact mean and standard deviation of each channel's pixels, in [0, 1].

    A channel that hardly changes counts with LEAST_SHARE of the deviation of all pixels, so that its noise stays small.
    """
    counts = _count_values(images)
    _, whole = _mean_and_deviation_of(counts.sum(0))
    means, deviations = zip(*map(_mean_and_deviation_of, counts), strict=True)
    return means, tuple(max(deviation, LEAST_SHARE * whole) for deviation in deviations)


def _count_values(images: UInt8[Tensor, "n c h w"]) -> Int64[Tensor, "c 256"]:
    """Return how often each value of a pixel occurs in each channel."""
    counts = torch.zeros(images.shape[1], 256, dtype=torch.int64, device=images.device)
    for some in blocks(images):
        counts += torch.stack([torch.bincount(some[:, c].flatten(), minlength=256) for c in range(len(counts))])
        release_pages()
    return counts


def _mean_and_deviation_of(counts: Int64[Tensor, " 256"]) -> tuple[float, float]:
    """Return the mean and the standard deviation, in [0, 1], of pixels with these counts of each value."""
    shares, values = counts.double(), torch.arange(256, dtype=torch.float64, device=counts.device) / 255
    mean = (shares * values).sum() / shares.sum()
    variance = (shares * (values - mean) ** 2).sum() / shares.sum()
    return mean.item(), variance.sqrt().item()
