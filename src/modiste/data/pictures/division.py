"""Splits a source's pictures into training, validation and the held-out test set.

A picture's rank in a random draw follows from its name and the seed alone. So new pictures hardly change the splits of
the old ones: a picture that was held out stays held out.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modiste.data.pictures.listing import Entry, PictureList
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

    A drawn split takes the same share of every class, but at least one picture. At least one is left for training.

    Raises:
        DataError: a class has too few pictures for that, or none in a split that the source names.
        RecipeError: the recipe's split is "last", which only the images of an IDX file can have.
    """
    if recipe.split != "stratified":
        raise RecipeError(f"data.split: expected 'stratified' for picture files, found {recipe.split!r}")
    pool = [entry for entry in listing.entries if entry.split == ""]
    pool += [entry for entry in listing.entries if entry.split == "train"]
    validation = [entry for entry in listing.entries if entry.split == "validation"]
    named_test = sum(entry.split == "test" for entry in listing.entries)
    drawn: list[Entry] = []
    if not named_test and recipe.test_fraction:
        drawn = draw(pool, recipe.test_fraction, f"{recipe.test_seed}:test")
    if not validation:
        rest = _without(pool, drawn)
        validation = draw(rest, recipe.validation_fraction, f"{recipe.split_seed}:validation")
        drawn = drawn + validation
    train = _without(pool, drawn)
    holds_out = bool(recipe.test_fraction) and not named_test
    _check_classes(source, listing, {"training": train, "validation": validation}, holds_out=holds_out)
    return Division(tuple(train), tuple(validation), len(listing.entries) - len(train) - len(validation))


def draw(pool: Sequence[Entry], fraction: float, key: str) -> list[Entry]:
    """Return a random share of each class's pictures, at least one of each, sorted by name."""
    classes: dict[str, list[Entry]] = {}
    for entry in pool:
        classes.setdefault(entry.class_name, []).append(entry)
    drawn = []
    for members in classes.values():
        ranked = sorted(members, key=lambda entry: _random_rank(entry, key))
        drawn += ranked[: max(1, round(fraction * len(members)))]
    return sorted(drawn, key=lambda entry: entry.name)


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
