"""Images and labels as tensors, and their division into training and validation.

This file cannot reach the test set: see ``sealed``.
"""

import hashlib
import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from modiste import machine
from modiste.data import sources
from modiste.data.pictures.picture_source import PictureSet, load_divided, picture_place, told_faults, told_shared
from modiste.errors import DataError
from modiste.recipes.recipe import DataRecipe

UNEQUAL = 1.5
"""The largest class has so many times the images of the smallest when classes are called unequal."""


@dataclass(frozen=True)
class ImageSet:
    """Images with their labels, on one device.

    Attributes:
        images: pixels, uint8 (N, C, H, W).
        labels: from 0 (N).
        digests: SHA-256 of each picture's file (N, 32), which stays the same however the picture is prepared; None for
            a set in IDX form.
    """

    images: UInt8[Tensor, "n c h w"]
    labels: Int64[Tensor, " n"]
    digests: UInt8[Tensor, "n 32"] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Tensor | slice) -> "ImageSet":
        digests = None if self.digests is None else self.digests[index]
        return ImageSet(self.images[index], self.labels[index], digests)

    def to(self, device: torch.device) -> "ImageSet":
        """Return the same set on ``device``."""
        digests = None if self.digests is None else self.digests.to(device)
        return ImageSet(self.images.to(device), self.labels.to(device), digests)

    def identity(self) -> str:
        """Return a hash of which images these are, in which order, with which labels.

        Picture files are told by their content, a set in IDX form by its pixels.
        """
        content = self.images if self.digests is None else self.digests
        told = hashlib.sha256(f"{tuple(content.shape)}".encode())
        for part in (content, self.labels):
            told.update(part.contiguous().cpu().numpy().data)
        return told.hexdigest()


@dataclass(frozen=True)
class Development:
    """What training may see: a training and a validation set.

    Attributes:
        name: of the data set.
        train: images to learn from.
        unlabelled: every image that is not held out, uint8 (N, C, H, W): more than ``train`` where that takes few.
        validation: images to decide by.
        class_names: one per label.
        fingerprint: hash of the files' content, the same wherever they came from.
        notes: what a person should know before training: files left out, unequal classes.
        own_pictures: whether they are a person's own picture files, which may change or move at any time.
    """

    name: str
    train: ImageSet
    unlabelled: UInt8[Tensor, "m c h w"]
    validation: ImageSet
    class_names: tuple[str, ...]
    fingerprint: str
    notes: tuple[str, ...] = ()
    own_pictures: bool = False

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    def to(self, device: torch.device) -> "Development":
        """Return the same sets on ``device``."""
        train = self.train.to(device)
        unlabelled = train.images if self.unlabelled is self.train.images else self.unlabelled.to(device)
        return replace(self, train=train, unlabelled=unlabelled, validation=self.validation.to(device))


@dataclass(frozen=True)
class Known:
    """Every image that training may see, and which of them are for training and for validation.

    Attributes:
        name: of the data set.
        images: with their labels.
        train: indices of those to learn from, ascending.
        validation: indices of those to decide by, ascending.
        class_names: one per label.
        fingerprint: hash of the files' content.
        files: name of each picture's file; empty for a set in IDX form.
        notes: what a person should know of them.
    """

    name: str
    images: ImageSet
    train: Int64[Tensor, " n"]
    validation: Int64[Tensor, " m"]
    class_names: tuple[str, ...]
    fingerprint: str
    files: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def load_development(
    recipe: DataRecipe | None = None, folder: Path | str | None = None, *, instead: bool = False
) -> Development:
    """Find, verify and divide the training images of ``recipe.source``.

    Args:
        recipe: which images and how they are divided; Fashion-MNIST, stratified, if None.
        folder: where Fashion-MNIST's files lie, if not in one of the usual places; or where other data have moved to.
        instead: let ``folder`` stand for a source that is still there, for callers that compare the fingerprint.

    Raises:
        DataError: the files are missing, damaged, or too few to divide; or the source and the folder are both there.
    """
    recipe = recipe or DataRecipe()
    known = load_known(recipe, folder, instead=instead)
    whole, every = known.images, known.train
    chosen = few_of_each(whole.labels, every, recipe) if recipe.images_per_class else every
    notes = known.notes + unequal_classes(whole.labels[chosen], known.class_names)
    chosen = chosen if recipe.repeats == 1 else chosen.repeat(recipe.repeats)
    train = whole[chosen]
    unlabelled = train.images if chosen is every else whole.images[every]
    validation, own_pictures = whole[known.validation], bool(known.files)
    return Development(
        known.name, train, unlabelled, validation, known.class_names, known.fingerprint, notes, own_pictures
    )


def load_known(recipe: DataRecipe, folder: Path | str | None = None, *, instead: bool = False) -> Known:
    """Return the images of a recipe's source in their own order, none chosen or repeated; DataError as above."""
    own = None if folder is None else Path(folder)
    if not instead:
        sources.check_one_place(recipe.source, own)
    place = picture_place(recipe.source, own)
    return _idx_images(recipe, own, instead) if place is None else _picture_images(place, recipe)


def _idx_images(recipe: DataRecipe, folder: Path | None, instead: bool) -> Known:
    raw = sources.load_training(recipe.source, folder)
    if not instead:
        sources.check_not_published(recipe.source, folder, raw)
    for note in raw.notes:
        logging.getLogger(__name__).warning("passed over: %s", note)
    whole = as_image_set(raw)
    return Known(raw.name, whole, *split_indices(whole.labels, recipe), raw.class_names, raw.fingerprint)


def _picture_images(place: Path, recipe: DataRecipe) -> Known:
    divided = load_divided(place, recipe)
    pictures = divided.pictures
    train, validation = torch.arange(len(pictures.labels)).tensor_split([divided.training])
    whole = as_image_set(pictures)
    notes = told_faults(place, pictures.faults) + told_shared(place, divided)
    return Known(
        pictures.name, whole, train, validation, pictures.class_names, pictures.fingerprint, pictures.files, notes
    )


def as_image_set(raw: sources.RawSet | PictureSet) -> ImageSet:
    """Turn arrays as read from files into tensors, sharing the images' memory."""
    images = torch.from_numpy(raw.images)
    labels = torch.from_numpy(raw.labels.astype(np.int64))
    digests = torch.from_numpy(raw.digests) if isinstance(raw, PictureSet) else None
    return ImageSet(images if images.ndim == 4 else images.unsqueeze(1), labels, digests)


def split_indices(labels: Int64[Tensor, " n"], recipe: DataRecipe) -> tuple[Tensor, Tensor]:
    """Return the indices of the training and the validation images, each in ascending order.

    ``stratified`` takes the same share of every class at random from ``split_seed``; ``last`` takes the file's end.
    """
    count = round(len(labels) * recipe.validation_fraction)
    if not 0 < count < len(labels):
        raise DataError(
            f"{recipe.source}: {len(labels)} images cannot give a validation share of {recipe.validation_fraction:g}; "
            "expected at least one image on each side; train with another --data.validation-fraction"
        )
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    if recipe.split == "last":
        chosen[-count:] = True
    else:
        chosen[_stratified(labels, count, recipe.split_seed)] = True
    return (~chosen).nonzero().squeeze(1), chosen.nonzero().squeeze(1)


def few_of_each(labels: Int64[Tensor, " n"], train: Int64[Tensor, " m"], recipe: DataRecipe) -> Int64[Tensor, " k"]:
    """Return ``images_per_class`` of the training indices for each class, in ascending order.

    Drawn from ``subset_seed``; a larger number holds the images of a smaller one. DataError when a class has too few.
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


def unequal_classes(labels: Int64[Tensor, " n"], names: tuple[str, ...]) -> tuple[str, ...]:
    """Return a sentence with each class's number of images where some class has far more than another."""
    counts = torch.bincount(labels.cpu(), minlength=len(names)).tolist()
    if max(counts) <= UNEQUAL * min(counts):
        return ()
    shown = ", ".join(f"{name} {count:,}" for name, count in zip(names, counts, strict=True))
    return (f"unequal classes, in training {shown}; --balance 1 makes each class count alike, 0 each image",)


def mean_and_deviation(images: UInt8[Tensor, "n c h w"]) -> tuple[float, float]:
    """Return mean and standard deviation of the pixels in [0, 1], exactly, from the counts of the 256 values."""
    counts = torch.bincount(images.flatten(), minlength=256).double()
    values = torch.arange(256, dtype=torch.float64, device=images.device) / 255
    mean = (counts * values).sum() / counts.sum()
    variance = (counts * (values - mean) ** 2).sum() / counts.sum()
    return mean.item(), variance.sqrt().item()


def _stratified(labels: Int64[Tensor, " n"], count: int, seed: int) -> Tensor:
    """Draw ``count`` indices, each class in proportion; what rounding leaves over goes to the largest remainders."""
    sizes = torch.bincount(labels)
    exact = sizes * (count / len(labels))
    shares = exact.floor().long()
    leftover = count - int(shares.sum())
    shares[(exact - shares).argsort(descending=True, stable=True)[:leftover]] += 1
    drawn = []
    for label, share in enumerate(shares.tolist()):
        members = (labels == label).nonzero().squeeze(1)
        order = torch.randperm(len(members), generator=machine.generator(seed, "split", label))
        drawn.append(members[order[:share]])
    return torch.cat(drawn)
