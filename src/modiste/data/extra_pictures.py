"""Extra pictures to learn from, beside the data set: class folders whose kinds are one or several of its classes.

Only pictures of the folder's training part are opened, or of the whole folder if it has no parts. A sixth of each kind
is not learnt but used to set the threshold of the answer "none of the classes"; a kind's only picture is learnt.
"""

import hashlib
import json
import os
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from modiste.data import sources
from modiste.data.clothing_download import NAME, fetched_folder
from modiste.data.paths import expand_home, kind_at
from modiste.data.pictures import picture_source
from modiste.data.pictures.class_folders import read_class_folders
from modiste.data.pictures.division import draw
from modiste.data.pictures.listing import PictureList
from modiste.errors import RecipeError, fault, shown
from modiste.recipes.plain import nearest
from modiste.recipes.recipe import DataRecipe

HELD_BACK = 1 / 6
"""Share of each kind's pictures that is not learnt, if it has more than one."""
PART = "extra"
"""Name of the part of the data in the names of cache files."""


@dataclass(frozen=True)
class ExtraPictures:
    """Pictures with the classes that they may show, on one device.

    Attributes:
        images: Pixels, uint8 (N, C, H, W).
        targets: A probability for every class (N, classes): equal for all classes that the picture may show, and for
            every class if it shows none of them.
    """

    images: UInt8[Tensor, "n c h w"]
    targets: Float[Tensor, "n classes"]

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: Tensor) -> "ExtraPictures":
        return ExtraPictures(self.images[index], self.targets[index])

    def to(self, device: torch.device) -> "ExtraPictures":
        """Return the same pictures on ``device``."""
        return ExtraPictures(self.images.to(device), self.targets.to(device))

    @property
    def shows_a_class(self) -> Bool[Tensor, " n"]:
        """Whether each picture shows one of the classes."""
        return self.targets.amin(1) == 0


@dataclass(frozen=True)
class Extra:
    """The extra pictures of a recipe.

    Attributes:
        train: Those to learn from.
        held_back: Those that set the threshold of the answer "none of the classes".
        fingerprint: Hash of the files' content, of their preparation and of the rules.
        notes: Warnings for the user.
    """

    train: ExtraPictures
    held_back: ExtraPictures
    fingerprint: str
    notes: tuple[str, ...] = ()

    def to(self, device: torch.device) -> "Extra":
        """Return the same pictures on ``device``."""
        return replace(self, train=self.train.to(device), held_back=self.held_back.to(device))


def load_extra(recipe: DataRecipe, class_names: tuple[str, ...], image_shape: tuple[int, int, int]) -> Extra:
    """Find, decode and divide the extra pictures of a recipe.

    Args:
        recipe: Names the folder, the rules and the preparation.
        class_names: Class names of the data set.
        image_shape: Shape of its images, (channels, height, width).

    Raises:
        DataError: The folder is missing or holds no class folders, most files cannot be read, or none is left to learn.
        RecipeError: A rule names a folder or a class that does not exist, or one twice; the pictures get another shape;
            or they are the data set's own, and so some of its test pictures.
    """
    shape = (3 if recipe.colour else 1, recipe.side, recipe.side)
    if shape != image_shape:
        raise RecipeError(
            f"data.extra: expected pictures of the data set's shape {image_shape}, found {shape}; set data.side"
        )
    path = _folder(recipe.extra)
    listing = read_class_folders(path)
    rules = _rules(recipe, listing.class_names, class_names)
    entries = [entry for entry in listing.entries if entry.split in ("", "train")]
    _check_apart(path, recipe, listing)
    if not entries:
        raise fault(path, "no training pictures", expected="a folder train", found="none", remedy="check data.extra")
    counts = Counter(entry.class_name for entry in entries)
    several = [entry for entry in entries if counts[entry.class_name] > 1]
    back = {entry.name for entry in draw(several, HELD_BACK, f"{recipe.split_seed}:extra")}
    found = picture_source.decode_entries(path, listing, entries, recipe, PART)
    picture_source.check_readable(path, found, len(entries), recipe)
    pictures = ExtraPictures(torch.from_numpy(found.images), _targets(found.labels, listing, rules, len(class_names)))
    is_back = torch.tensor([name in back for name in found.files])
    if is_back.all():
        expected, count = "pictures to learn from", f"{len(is_back)}, all to be held back"
        raise fault(path, "too few pictures", expected=expected, found=count, remedy="add pictures")
    content = json.dumps([found.fingerprint, sorted(recipe.extra_classes)])
    return Extra(
        pictures[~is_back],
        pictures[is_back],
        hashlib.sha256(content.encode()).hexdigest(),
        picture_source.fault_notes(path, found.faults),
    )


def joined_fingerprint(own: str, extra: Extra) -> str:
    """Return the fingerprint of a data set together with extra pictures: both, with a plus between."""
    return f"{own}+{extra.fingerprint}"


def own_fingerprint(fingerprint: str) -> str:
    """Return the data set's part of a fingerprint, without that of extra pictures."""
    return fingerprint.partition("+")[0]


def _folder(named: str) -> Path:
    path = fetched_folder() if named == NAME else expand_home(Path(named))
    if kind_at(path) == "folder":
        return path
    remedy = f"modiste data fetch {NAME}, or name a folder" if named == NAME else "check --data.extra"
    found = "a file" if kind_at(path) else "nothing"
    raise fault(path, "no extra pictures", expected="a folder of class folders", found=found, remedy=remedy)


def _check_apart(path: Path, recipe: DataRecipe, listing: PictureList) -> None:
    """Raise RecipeError if all pictures of a folder would be learnt that also holds the data set's own."""
    if all(entry.split for entry in listing.entries) or not kind_at(expand_home(Path(recipe.source))):
        return
    pictures, other = sources.locate_pictures(recipe.source), Path(os.path.realpath(path))
    own = None if pictures is None else Path(os.path.realpath(pictures))
    if own is not None and (own.is_relative_to(other) or other.is_relative_to(own)):
        raise RecipeError(
            f"data.extra: expected other pictures than the data set's, found {shown(path)} for {shown(recipe.source)}: "
            "its validation and test pictures would be learnt; name another folder"
        )


def _rules(recipe: DataRecipe, folders: tuple[str, ...], class_names: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """Return the labels of each folder that has a rule."""
    rules = {}
    for rule in recipe.extra_classes:
        folder, _, classes = rule.partition("=")
        names = classes.split("+")
        if folder in rules or len(set(names)) < len(names):
            twice = folder if folder in rules else max(names, key=names.count)
            raise RecipeError(
                f"data.extra_classes: expected each folder and its classes once, found {twice!r} twice; remove one"
            )
        if folder not in folders:
            raise RecipeError(f"data.extra_classes: {folder!r} is no folder there; {nearest(folder, folders)}")
        for name in names:
            if name not in class_names:
                raise RecipeError(f"data.extra_classes: {name!r} is no class; {nearest(name, class_names)}")
        rules[folder] = tuple(class_names.index(name) for name in names)
    return rules


def _targets(
    labels: Int64[np.ndarray, " n"], listing: PictureList, rules: dict[str, tuple[int, ...]], classes: int
) -> Float[Tensor, "n classes"]:
    """Return each picture's target: even over the classes of its folder's rule, over all classes without a rule."""
    rows = torch.zeros(len(listing.class_names), classes)
    for row, folder in zip(rows, listing.class_names, strict=True):
        shown_classes = list(rules.get(folder, range(classes)))
        row[shown_classes] = 1 / len(shown_classes)
    return rows[torch.from_numpy(labels)]
