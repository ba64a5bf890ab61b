"""How a source's pictures are divided into training, validation and what is sealed for the test.

A picture's place in the draw follows from its name and the seed alone, so that pictures which join a source hardly
move those that are there: what was sealed stays sealed.
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
    """The pictures that training may open, and how many it may not."""

    train: tuple[Entry, ...]
    validation: tuple[Entry, ...]
    withheld: int

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Those of training, then those of validation."""
        return self.train + self.validation


def divide(source: Path, known: PictureList, recipe: DataRecipe) -> Division:
    """Divide as the source says; parts that it does not name are drawn from the rest, the same share of every class.

    Of each class at least one picture goes into every part that is drawn, and one stays for training.

    Raises:
        DataError: a class has too few pictures for that, or none in a part that the source names.
        RecipeError: the recipe asks for the last pictures in a file, and there is none.
    """
    if recipe.split != "stratified":
        raise RecipeError(f"data.split: expected 'stratified' for picture files, found {recipe.split!r}")
    named = {part: [entry for entry in known.entries if entry.part == part] for part in ("", "train", "validation")}
    pool, validation = named[""] + named["train"], named["validation"]
    named_test = sum(entry.part == "test" for entry in known.entries)
    drawn: list[Entry] = []
    if not named_test and recipe.test_fraction:
        drawn = draw(pool, recipe.test_fraction, f"{recipe.test_seed}:test")
    if not validation:
        rest = without(pool, drawn)
        validation = draw(rest, recipe.validation_fraction, f"{recipe.split_seed}:validation")
        drawn = drawn + validation
    train = without(pool, drawn)
    check_classes(source, known, {"training": train, "validation": validation})
    return Division(tuple(train), tuple(validation), len(known.entries) - len(train) - len(validation))


def draw(pool: Sequence[Entry], fraction: float, key: str) -> list[Entry]:
    """Return a share of each class's pictures, at least one of each, in the order of their names."""
    classes: dict[str, list[Entry]] = {}
    for entry in pool:
        classes.setdefault(entry.class_name, []).append(entry)
    drawn = []
    for members in classes.values():
        ranked = sorted(members, key=lambda entry: place_of(entry, key))
        drawn += ranked[: max(1, round(fraction * len(members)))]
    return sorted(drawn, key=lambda entry: entry.name)


def place_of(entry: Entry, key: str) -> bytes:
    """Return a picture's place in a draw."""
    return hashlib.blake2b(f"{key}:".encode() + os.fsencode(entry.name), digest_size=16).digest()


def without(pool: Sequence[Entry], drawn: Sequence[Entry]) -> list[Entry]:
    """Return the pool's pictures that were not drawn, in their order."""
    gone = set(drawn)
    return [entry for entry in pool if entry not in gone]


def check_classes(source: Path, known: PictureList, parts: dict[str, list[Entry]]) -> None:
    """Raise DataError when a part lacks pictures of a class."""
    for part, entries in parts.items():
        present = {entry.class_name for entry in entries}
        absent = [name for name in known.class_names if name not in present]
        if absent:
            count = sum(entry.class_name == absent[0] for entry in known.entries)
            raise fault(
                source,
                "too few pictures",
                expected=f"one or more of each class for {part}, three of each where parts are drawn",
                found=f"none of {shown(absent[0])} for {part}, which has {count} in all",
                remedy="add pictures of it, or remove the class",
            )
