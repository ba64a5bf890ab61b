"""Faults of a data set that no single file shows: images that are there twice, and labels that are likely wrong.

The test set has no part in it, unless whoever calls hands its images over to be compared.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from modiste.audit.confidence import held_out_probabilities
from modiste.audit.duplicates import Pair, exact_groups, near_pairs
from modiste.audit.labels import Suspicion, suspicious_labels
from modiste.data.dataset import ImageSet, Known, load_known
from modiste.errors import RecipeError
from modiste.recipes.recipe import DataRecipe, Recipe

FOLDS = 4
COMPARED = {"pictures": "stretched", "side": 16, "colour": True}
"""How picture files are compared, whatever they become in training: no crop, no edge that a rounded size moves."""
TEST = "test"


@dataclass(frozen=True)
class Item:
    """An image as people know it: its file or its place in the file, its class, its part of the data."""

    name: str
    label: str
    part: str


@dataclass(frozen=True, eq=False)
class Findings:
    """What an audit came to; images are named by their index in ``items``.

    Attributes:
        name: of the data set.
        items: every image that was looked at.
        images: as training sees them.
        class_names: one per label.
        exact: groups of images that are the same to the last pixel.
        near: pairs that are alike but for size, compression or light.
        suspicious: labels that are likely wrong, likeliest first.
        probabilities: of each class, for the images that have been answered; the test set's have not.
        notes: what else a person should know: files left out, unequal classes.
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

    def crosses(self, indices: Sequence[int]) -> bool:
        """Tell whether images lie in different parts of the data."""
        return len({self.items[index].part for index in indices}) > 1

    def as_plain(self) -> dict[str, Any]:
        """Return all of it as dictionaries, lists, numbers and strings."""
        return {
            "name": self.name,
            "images": len(self.items),
            "exact": [{"files": self._named(group), "across": self.crosses(group)} for group in self.exact],
            "near": [
                {"files": self._named(pair[:2]), "across": self.crosses(pair[:2]), "likeness": round(pair.likeness, 5)}
                for pair in self.near
            ],
            "suspicious": [
                {
                    "file": self.items[one.image].name,
                    "label": self.items[one.image].label,
                    "looks_like": self.class_names[one.looks_like],
                    "margin": round(one.margin, 5),
                }
                for one in self.suspicious
            ],
            "notes": list(self.notes),
        }

    def _named(self, indices: Sequence[int]) -> list[str]:
        return [self.items[index].name for index in indices]


@dataclass(frozen=True, eq=False)
class Hidden:
    """The test set's images, handed over to be compared: as training would see them, and as they are compared."""

    images: ImageSet
    compared: ImageSet
    files: tuple[str, ...]


def audit(
    recipe: Recipe,
    *,
    folds: int = FOLDS,
    hidden: Hidden | None = None,
    data_folder: Path | None = None,
    device: str = "auto",
    told: Callable[[str], None] = print,
) -> Findings:
    """Look for duplicates and for labels that are likely wrong among the images that training may see.

    Args:
        recipe: whose images are audited, and whose network is trained once for each fold.
        folds: parts into which the images are divided; 0 looks for duplicates alone.
        hidden: test images to look for duplicates in; their labels are not looked at.
        data_folder: as ``load_dataset`` takes it: of Fashion-MNIST, or of data that have moved.
        device: where to compute.
        told: called with a line for each step.

    Raises:
        DataError: the images are missing, damaged or too few.
        RecipeError, DivergedError, StoppedError: as in training.
    """
    known = load_known(recipe.data, data_folder)
    if folds and not 2 <= folds <= len(known.images):
        raise RecipeError(f"folds: expected 0, or from 2 to {len(known.images):,}, one for each image, found {folds}")
    compared = known.images
    if known.files:
        other = load_known(for_comparison(recipe.data), data_folder)
        compared = of_files(known.files, other.images, other.files)
    items, images = _items(known), known.images
    if hidden:
        items += _hidden_items(hidden, known)
        images, compared = joined(images, hidden.images), joined(compared, hidden.compared)
    told(f"{len(items):,} images are compared")
    exact, near = exact_groups(images.images), near_pairs(compared.images)
    classes = len(known.class_names)
    probabilities = torch.zeros(0, classes)
    suspicious: list[Suspicion] = []
    if folds:
        probabilities = held_out_probabilities(known, recipe, folds, device=device, told=told)
        suspicious = suspicious_labels(probabilities, known.images.labels)
    group_of = {index: number for number, group in enumerate(exact) for index in group}
    return Findings(
        name=known.name,
        items=items,
        images=images,
        class_names=known.class_names,
        exact=tuple(exact),
        near=tuple(pair for pair in near if group_of.get(pair.first, -1) != group_of.get(pair.second, -2)),
        suspicious=tuple(suspicious),
        probabilities=probabilities,
        notes=known.notes,
    )


def for_comparison(recipe: DataRecipe) -> DataRecipe:
    """Return the recipe by which picture files are compared."""
    return replace(recipe, **COMPARED)  # type: ignore[arg-type]


def of_files(names: Sequence[str], images: ImageSet, files: Sequence[str]) -> ImageSet:
    """Return the images of these names, out of those of ``files``."""
    places = {name: place for place, name in enumerate(files)}
    return images[torch.tensor([places[name] for name in names])]


def joined(one: ImageSet, other: ImageSet) -> ImageSet:
    """Return two sets as one."""
    return ImageSet(torch.cat([one.images, other.images]), torch.cat([one.labels, other.labels]))


def _items(known: Known) -> tuple[Item, ...]:
    validation = set(known.validation.tolist())
    names = known.files or [f"image {index}" for index in range(len(known.images))]
    return tuple(
        Item(name, known.class_names[label], "validation" if index in validation else "training")
        for index, (name, label) in enumerate(zip(names, known.images.labels.tolist(), strict=True))
    )


def _hidden_items(hidden: Hidden, known: Known) -> tuple[Item, ...]:
    names = hidden.files or [f"test image {index}" for index in range(len(hidden.images))]
    labels = hidden.images.labels.tolist()
    return tuple(Item(name, known.class_names[label], TEST) for name, label in zip(names, labels, strict=True))
