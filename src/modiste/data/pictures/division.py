"""Splits a source's pictures into training, validation and the held-out test set.

A picture's rank in a random draw follows from its name and the seed alone. So new pictures hardly change the splits of
the old ones: a picture that was held out stays held out.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from modiste.data.pictures.listing import Entry, PictureList
from modiste.data.split import choose_groups, has_own_validation
from modiste.errors import RecipeError, fault, shown
from modiste.recipes.recipe import DataRecipe


@dataclass(frozen=True)
class Division:
    """The pictures that training may open, and the number of those that it may not."""

    train: tuple[Entry, ...]
    validation: tuple[Entry, ...]
    withheld: int

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The training pictures, then the validation pictures."""
        return self.train + self.validation


def divide(source: Path, listing: PictureList, recipe: DataRecipe) -> Division:
    """Split a source's pictures: splits that the source names stay as they are, missing ones are drawn from train.

    A drawn split takes the same share of every class, but at least one picture. If there are enough pictures, at least
    one is left for training, and for validation if that is drawn too. A grouped split is drawn later, by
    ``divide_groups``: here all but the test pictures are training pictures.

    Raises:
        DataError: A class has too few pictures for that, or none in a split that the source names.
        RecipeError: The recipe's split is "last", which only the images of an IDX file can have; or it is "grouped",
            and the source names its validation pictures.
    """
    if recipe.split == "last":
        raise RecipeError("data.split: expected 'stratified' or 'grouped' for picture files, found 'last'")
    pool = [entry for entry in listing.entries if entry.split == ""]
    pool += [entry for entry in listing.entries if entry.split == "train"]
    validation = [entry for entry in listing.entries if entry.split == "validation"]
    named_test = sum(entry.split == "test" for entry in listing.entries)
    drawn: list[Entry] = []
    if not named_test and recipe.test_fraction:
        drawn = draw(pool, recipe.test_fraction, f"{recipe.test_seed}:test", spared=1 if validation else 2)
    if validation and recipe.split == "grouped":
        raise has_own_validation(str(source))
    if not validation and recipe.split != "grouped":
        rest = _without(pool, drawn)
        validation = draw(rest, recipe.validation_fraction, f"{recipe.split_seed}:validation")
        drawn = drawn + validation
    train = _without(pool, drawn)
    holds_out = bool(recipe.test_fraction) and not named_test
    splits = {"training": train} if recipe.split == "grouped" else {"training": train, "validation": validation}
    _check_classes(source, listing, splits, holds_out=holds_out)
    return Division(tuple(train), tuple(validation), len(listing.entries) - len(train) - len(validation))


def divide_groups(source: Path, division: Division, group_of: Mapping[str, int], recipe: DataRecipe) -> Division:
    """Return a division whose validation pictures are drawn from the training pictures, in whole groups.

    Args:
        source: Source of the pictures, for messages.
        division: Division of a recipe with a grouped split, from ``divide``.
        group_of: Number of the group of each training picture, by its name.
        recipe: Says which share is drawn.

    Raises:
        DataError: The groups of a class are too large to give it a picture in both splits.
    """
    key = f"{recipe.split_seed}:grouped validation"
    validation = draw_groups(division.train, recipe.validation_fraction, key, group_of)
    train = _without(division.train, validation)
    for split, entries in {"training": train, "validation": validation}.items():
        absent = {entry.class_name for entry in division.train} - {entry.class_name for entry in entries}
        if absent:
            raise fault(
                source,
                "too few groups of near duplicates",
                expected="two or more of each class, one of them small",
                found=f"none of {shown(min(absent))} for {split}",
                remedy="train with --data.split stratified, or add pictures",
            )
    return replace(division, train=tuple(train), validation=tuple(validation))


def draw(pool: Sequence[Entry], fraction: float, key: str, *, spared: int = 1) -> list[Entry]:
    """Return a random share of each class's pictures, at least one of each, sorted by name.

    Args:
        pool: Pictures to draw from.
        fraction: Share that is drawn.
        key: Key of the random draw.
        spared: Number of pictures of each class that are left, if the class has more.
    """
    classes: dict[str, list[Entry]] = {}
    for entry in pool:
        classes.setdefault(entry.class_name, []).append(entry)
    drawn = []
    for members in classes.values():
        ranked = sorted(members, key=lambda entry: _random_rank(entry, key))
        drawn += ranked[: max(1, min(round(fraction * len(members)), len(members) - spared))]
    return sorted(drawn, key=lambda entry: entry.name)


def draw_groups(pool: Sequence[Entry], fraction: float, key: str, group_of: Mapping[str, int]) -> list[Entry]:
    """Return a random share of each class's pictures in whole groups, as well as groups allow, sorted by name.

    Args:
        pool: Pictures to draw from.
        fraction: Share that is drawn; at least one picture of each class is wanted.
        key: Key of the random draw. A group's rank follows from the first name in it.
        group_of: Number of the group of each picture, by its name.
    """
    groups: dict[int, list[Entry]] = {}
    for entry in sorted(pool, key=lambda entry: entry.name):
        groups.setdefault(group_of[entry.name], []).append(entry)
    ranked = sorted(groups.values(), key=lambda members: _random_rank(members[0], key))
    sizes = Counter(entry.class_name for entry in pool)
    shares = {name: max(1, round(fraction * size)) for name, size in sizes.items()}
    taken = choose_groups([[entry.class_name for entry in members] for members in ranked], shares)
    return sorted((entry for position in taken for entry in ranked[position]), key=lambda entry: entry.name)


def _random_rank(entry: Entry, key: str) -> bytes:
    return hashlib.blake2b(f"{key}:".encode() + os.fsencode(entry.name), digest_size=16).digest()


def _without(pool: Sequence[Entry], drawn: Sequence[Entry]) -> list[Entry]:
    """Return the pool's pictures that were not drawn, in their order."""
    gone = set(drawn)
    return [entry for entry in pool if entry not in gone]


def _check_classes(source: Path, listing: PictureList, splits: dict[str, list[Entry]], *, holds_out: bool) -> None:
    """Raise DataError if a split lacks pictures of a class; ``holds_out`` says whether a test set was drawn."""
    for split, entries in splits.items():
        present = {entry.class_name for entry in entries}
        absent = [name for name in listing.class_names if name not in present]
        if absent:
            count = sum(entry.class_name == absent[0] for entry in listing.entries)
            spared = "; --data.test-fraction 0 holds none out for testing" if holds_out and count > 1 else ""
            raise fault(
                source,
                "too few pictures",
                expected=f"one or more of each class for {split}, three of each if splits are drawn",
                found=f"none of {shown(absent[0])} for {split}, {count} in all",
                remedy=f"add pictures of it, or remove the class{spared}",
            )
