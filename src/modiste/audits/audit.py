"""The audit of a data set: finds duplicate images, and labels that are likely wrong.

The audit never opens the test set; a caller may pass test images in to be compared.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from numbers import Integral
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from modiste.audits.labels import Suspicion, likely_wrong_labels, out_of_fold_probabilities, suspicious_labels
from modiste.audits.probe import has_fixed_features, probe_probabilities
from modiste.data.dataset import ImageSet, SplitImages, load_split_images, require_in_memory
from modiste.data.duplicates import Pair, exact_groups, for_comparison, near_pairs
from modiste.errors import DataError, RecipeError, shown
from modiste.evaluation.statistics import wilson_interval
from modiste.recipes import named
from modiste.recipes.recipe import DataRecipe, Recipe
from modiste.training.choice import WITH_BACKBONE, Choice, choose_recipe
from modiste.training.setup import check_complete

FOLDS = 4
USUAL_RECIPE = "sprint"
SPLITS = {"source", "split", "validation_fraction", "split_seed", "test_fraction", "test_seed"}
"""Fields of the data that say which images are audited, not how they are prepared."""
TEST = "test"


@dataclass(frozen=True)
class Item:
    """An image as the user knows it: its file's name or its index in the file, its class and its split."""

    name: str
    label: str
    split: str


@dataclass(frozen=True, eq=False)
class Findings:
    """Results of an audit; images are identified by their index in ``items``.

    Attributes:
        name: Name of the data set.
        items: All images that were compared.
        images: The same images, as training sees them.
        class_names: One per label.
        exact: Groups of images with identical pixels.
        near: Pairs that differ only in size, compression or light.
        suspicious: Labels that are likely wrong, the most suspicious first: by their margin, or for a recipe that fits
            the last layer alone by their probability of being wrong.
        probabilities: Probabilities of each class, for all images except those of the test set; empty without folds.
        notes: Warnings for the user: files left out, unequal classes, networks that have learned too little.
    """

    name: str
    items: tuple[Item, ...]
    images: ImageSet
    class_names: tuple[str, ...]
    exact: tuple[tuple[int, ...], ...]
    near: tuple[Pair, ...]
    suspicious: tuple[Suspicion, ...]
    probabilities: Float[Tensor, "n classes"]
    notes: tuple[str, ...]

    @property
    def wrong_labels(self) -> int:
        """Estimated number of wrong labels among the suspicious ones."""
        return round(sum(one.wrong for one in self.suspicious))

    @property
    def wrong_share(self) -> str:
        """Estimated share of wrong labels among the suspicious ones in words, such as ``about 4 in 10``."""
        tenths = round(10 * sum(one.wrong for one in self.suspicious) / max(1, len(self.suspicious)))
        return {0: "fewer than 1 in 10", 10: "more than 9 in 10"}.get(tenths, f"about {tenths} in 10")

    def crosses(self, indices: Sequence[int]) -> bool:
        """Return whether images belong to different splits."""
        return len({self.items[index].split for index in indices}) > 1

    def disagrees(self, indices: Sequence[int]) -> bool:
        """Return whether images have different labels: if they show the same thing, a label is wrong for certain."""
        return len({self.items[index].label for index in indices}) > 1

    def as_plain(self) -> dict[str, Any]:
        """Return the findings as dictionaries, lists, numbers and strings."""
        return {
            "name": self.name,
            "images": len(self.items),
            "exact": [self._duplicate(group) for group in self.exact],
            "near": [self._duplicate(pair[:2]) | {"likeness": round(pair.likeness, 5)} for pair in self.near],
            "wrong_labels": self.wrong_labels,
            "suspicious": [
                {
                    "file": self.items[one.image].name,
                    "label": self.items[one.image].label,
                    "looks_like": self.class_names[one.looks_like],
                    "margin": round(one.margin, 5),
                    "wrong": round(one.wrong, 5),
                }
                for one in self.suspicious
            ],
            "notes": list(self.notes),
        }

    def _duplicate(self, indices: Sequence[int]) -> dict[str, Any]:
        files = [self.items[index].name for index in indices]
        return {"files": files, "across": self.crosses(indices), "labels_differ": self.disagrees(indices)}


@dataclass(frozen=True, eq=False)
class HeldOutImages:
    """The test set's images, passed in to be compared.

    Attributes:
        images: The images as the network would see them.
        compared: The same images, prepared for comparison; see ``for_comparison``.
        files: Name of each picture file; empty for an IDX set.
    """

    images: ImageSet
    compared: ImageSet
    files: tuple[str, ...]


def audit(
    recipe: Recipe,
    *,
    folds: int = FOLDS,
    test_images: HeldOutImages | None = None,
    data_folder: Path | None = None,
    device: str = "auto",
    report: Callable[[str], None] = print,
) -> Findings:
    """Find duplicates, and labels that are likely wrong, among the training and validation images.

    Args:
        recipe: Whose images are audited, and whose network is trained once for each fold. If it fits the last layer
            alone, its features are computed once, and the images are divided into folds several times.
        folds: Number of folds for cross-validation, at least 2; 0 finds duplicates only.
        test_images: Test images that are also searched for duplicates; their labels are not checked.
        data_folder: Folder of Fashion-MNIST, or of data that have moved, as for ``load_dataset``.
        device: Where to compute: "auto", "cpu", "cuda" ...
        report: Called with a line for each step.

    Raises:
        DataError: The images are missing, damaged or too few, or the test images have another shape.
        RecipeError, DivergedError, StoppedError: As in training.
    """
    if folds:
        check_complete(recipe, "an audit")
    known = load_split_images(recipe.data, data_folder)
    _check(known, folds)
    items, images, compared = _items(known), known.images, _prepared_for_comparison(known, recipe.data, data_folder)
    if test_images:
        _check_shape(known, test_images.images)
        items += _test_items(test_images, known)
        images, compared = _concatenated(images, test_images.images), _concatenated(compared, test_images.compared)
    report(f"{len(items):,} images are compared")
    exact, near = _duplicates(images, compared)
    judge, select = out_of_fold_probabilities, suspicious_labels
    if has_fixed_features(recipe):
        judge, select = probe_probabilities, likely_wrong_labels
    probabilities = torch.zeros(0, len(known.class_names))
    if folds:
        probabilities = judge(known, recipe, folds, device=device, report=report)
    return Findings(
        name=known.name,
        items=items,
        images=images,
        class_names=known.class_names,
        exact=exact,
        near=near,
        suspicious=tuple(select(probabilities, known.images.labels)) if folds else (),
        probabilities=probabilities,
        notes=known.notes + (_doubts(probabilities, known.images.labels) if folds else ()),
    )


def _doubts(probabilities: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"]) -> tuple[str, ...]:
    """Return a warning if the networks are not shown to know more of the images than which class is the largest.

    The estimate of wrong labels rests on networks that have learned the classes. Others call the labels of every small
    class wrong.
    """
    count, right = len(labels), int((probabilities.argmax(1) == labels).sum())
    largest = int(torch.bincount(labels).max())
    if wilson_interval(right, count)[0] > largest / count:
        return ()
    return (
        f"the networks agree with {right / count:.1%} of the labels, and the largest class alone has "
        f"{largest / count:.1%}: they have not learned the classes, so that their suspicions mean little; choose "
        "another recipe (--recipe), or add images",
    )


def usual_recipe(data: DataRecipe, data_folder: Path | str | None = None) -> Choice:
    """Return the recipe of the networks that check labels, if nobody names one, and the reason for it.

    It is ``sprint``. Photographs without a stated preparation take the backbone, if it is installed.

    Raises:
        DataError: There is no data set, or none of the pictures looked at can be read.
    """
    if _changes(data).keys() <= SPLITS and not data_folder:
        choice = choose_recipe(data.source)
        if choice.recipe.name == WITH_BACKBONE["fast"]:
            return replace(choice, recipe=with_data(choice.recipe, data))
    return Choice(with_data(named.get(USUAL_RECIPE), data), "")


def with_data(recipe: Recipe, data: DataRecipe) -> Recipe:
    """Return the recipe for these data; where a field of ``data`` is the default, the recipe's own value holds.

    Example:
        >>> recipe = with_data(named.get("backbone-linear"), DataRecipe(source="shop"))
        >>> recipe.data.source, recipe.data.side
        ('shop', 224)
    """
    return replace(recipe, data=replace(recipe.data, **_changes(data)))


def _changes(data: DataRecipe) -> dict[str, Any]:
    """Return the fields that are not the default."""
    both = ((one.name, getattr(data, one.name), getattr(DataRecipe(), one.name)) for one in fields(data))
    return {name: value for name, value, usual in both if value != usual}


def _check(known: SplitImages, folds: int) -> None:
    """Raise an error if the images do not lie in memory, or cannot be divided into this number of folds."""
    require_in_memory(known.images.images, "an audit")
    if not isinstance(folds, Integral) or (folds and not 2 <= folds <= len(known.images)):
        raise RecipeError(f"folds: expected 0, or from 2 to {len(known.images):,}, one for each image, found {folds!r}")


def _check_shape(known: SplitImages, test_images: ImageSet) -> None:
    """Raise DataError if the test images have another shape than the others."""
    own, other = (tuple(one.images.shape[1:]) for one in (known.images, test_images))
    if own != other:
        raise DataError(
            f"{shown(known.name)}: test images of another shape: expected {own}, as the training images have, found "
            f"{other}; make them alike, or audit without --with-test"
        )


def _prepared_for_comparison(known: SplitImages, recipe: DataRecipe, data_folder: Path | None) -> ImageSet:
    """Return the same images, in the same order; picture files in the preparation in which they are compared."""
    if not known.files:
        return known.images
    other = load_split_images(for_comparison(recipe), data_folder)
    return select_files(known.files, other.images, other.files)


def _duplicates(images: ImageSet, compared: ImageSet) -> tuple[tuple[tuple[int, ...], ...], tuple[Pair, ...]]:
    """Return the groups of images with identical pixels, and the pairs that nearly agree and are in no such group.

    Images that are identical as they are compared, but not as training sees them, are pairs with the first of them.
    """
    exact = tuple(exact_groups(images.images))
    first_of = {index: group[0] for group in exact for index in group}
    near = near_pairs(compared.images)
    near = [pair for pair in near if first_of.get(pair.first, pair.first) != first_of.get(pair.second, pair.second)]
    equal = list[Pair]()
    for group in exact_groups(compared.images):
        different = sorted({first_of.get(index, index): index for index in reversed(group)}.values())
        equal += [Pair(different[0], other, 1.0) for other in different[1:]]
    return exact, (*equal, *near)


def select_files(names: Sequence[str], images: ImageSet, files: Sequence[str]) -> ImageSet:
    """Return the images of the files ``names``; ``files`` holds the name of each of the ``images``."""
    indices = {name: index for index, name in enumerate(files)}
    return images[torch.tensor([indices[name] for name in names])]


def _concatenated(one: ImageSet, other: ImageSet) -> ImageSet:
    return ImageSet(torch.cat([one.images, other.images]), torch.cat([one.labels, other.labels]))


def _items(known: SplitImages) -> tuple[Item, ...]:
    validation = set(known.validation.tolist())
    names = known.files or [f"image {index}" for index in range(len(known.images))]
    return tuple(
        Item(name, known.class_names[label], "validation" if index in validation else "training")
        for index, (name, label) in enumerate(zip(names, known.images.labels.tolist(), strict=True))
    )


def _test_items(test_images: HeldOutImages, known: SplitImages) -> tuple[Item, ...]:
    names = test_images.files or [f"test image {index}" for index in range(len(test_images.images))]
    labels = test_images.images.labels.tolist()
    return tuple(Item(name, known.class_names[label], TEST) for name, label in zip(names, labels, strict=True))
