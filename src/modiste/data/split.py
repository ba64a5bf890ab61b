"""Which images are for training and which for validation."""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import torch
from jaxtyping import Int64
from torch import Tensor

from modiste import machine
from modiste.errors import DataError, RecipeError, shown
from modiste.recipes.recipe import DataRecipe

ClassT = TypeVar("ClassT", bound=Hashable)


def split_indices(
    labels: Int64[Tensor, " n"], recipe: DataRecipe, groups: Int64[Tensor, " n"] | None = None
) -> tuple[Tensor, Tensor]:
    """Return the indices of the training and of the validation images, each in ascending order.

    For validation, ``stratified`` draws the same share of every class by ``split_seed``. ``last`` takes the last images
    of the file. ``grouped`` draws whole groups by ``split_seed``, with the shares of ``stratified`` if groups allow.

    Args:
        labels: Labels of the images.
        recipe: The fields split, split_seed and validation_fraction count.
        groups: Number of each image's group, for ``grouped``; see ``duplicates.near_groups``.

    Raises:
        DataError: Either split would be empty.
    """
    count = round(len(labels) * recipe.validation_fraction)
    if not 0 < count < len(labels):
        raise DataError(
            f"{recipe.source}: {len(labels)} images cannot give a validation share of {recipe.validation_fraction:g}; "
            "expected at least one image in each split; train with another --data.validation-fraction"
        )
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    if recipe.split == "last":
        chosen[-count:] = True
    elif recipe.split == "grouped":
        assert groups is not None
        chosen[_grouped(labels, groups, count, recipe)] = True
    else:
        chosen[_stratified(labels, count, recipe.split_seed)] = True
    return (~chosen).nonzero().squeeze(1), chosen.nonzero().squeeze(1)


def _class_shares(labels: Int64[Tensor, " n"], count: int) -> list[int]:
    """Return how many of ``count`` images are of each class, in proportion to the class sizes, by largest remainder."""
    exact = torch.bincount(labels) * (count / len(labels))
    shares = exact.floor().long()
    leftover = count - int(shares.sum())
    shares[(exact - shares).argsort(descending=True, stable=True)[:leftover]] += 1
    return shares.tolist()


def _stratified(labels: Int64[Tensor, " n"], count: int, seed: int) -> Tensor:
    """Draw ``count`` indices, with the share of each class."""
    drawn = []
    for label, share in enumerate(_class_shares(labels, count)):
        members = (labels == label).nonzero().squeeze(1)
        order = torch.randperm(len(members), generator=machine.generator(seed, "split", label))
        drawn.append(members[order[:share]])
    return torch.cat(drawn)


def _grouped(labels: Int64[Tensor, " n"], groups: Int64[Tensor, " n"], count: int, recipe: DataRecipe) -> Tensor:
    """Draw whole groups of ``count`` indices together, with the share of each class as well as groups allow.

    Raises DataError if every group is larger than ``count``.
    """
    sizes = torch.bincount(groups)
    members = torch.split(groups.argsort(stable=True), sizes.tolist())
    order = torch.randperm(len(members), generator=machine.generator(recipe.split_seed, "grouped split"))
    classes = [labels[members[number]].tolist() for number in order.tolist()]
    taken = choose_groups(classes, dict(enumerate(_class_shares(labels, count))))
    if not taken:
        raise DataError(
            f"{recipe.source}: expected groups of at most {count:,} near duplicates, the size of the validation set, "
            f"found none smaller than {int(sizes.min()):,}; train with --data.split stratified, or add images"
        )
    return torch.cat([members[number] for number in order[taken].tolist()])


def has_own_validation(source: str) -> RecipeError:
    """Return the error for a split that is ``grouped``, of data that name their own validation images."""
    return RecipeError(
        f"data.split: expected 'stratified' for {shown(source)}, which names its own validation images, found "
        "'grouped'; omit it"
    )


def choose_groups(groups: Sequence[Sequence[ClassT]], shares: Mapping[ClassT, int]) -> list[int]:
    """Return the positions of the groups that are taken, one after another, as long as they fit into the shares.

    Where the remaining groups of a class are too large for its share, the rest is filled with groups of any class, so
    that the size is right.

    Args:
        groups: The class of each member of each group, in the order in which groups are taken.
        shares: How many members of each class are wanted.

    Example:
        >>> choose_groups([["coat", "coat"], ["coat"], ["shirt"], ["coat"], ["shirt"]], {"coat": 1, "shirt": 1})
        [1, 2]
    """
    room, taken, left = Counter(shares), [], []
    for position, classes in enumerate(groups):
        needed = Counter(classes)
        if all(room[name] >= number for name, number in needed.items()):
            room.subtract(needed)
            taken.append(position)
        else:
            left.append(position)
    rest = room.total()
    for position in left:
        if len(groups[position]) <= rest:
            rest -= len(groups[position])
            taken.append(position)
    return taken
