"""The table of the kinds of source that images may come from. It reaches no test images: ``held_out.py`` does."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from modiste.data.idx.idx_source import IdxSource, load_training, without_files
from modiste.data.labelled import DevelopmentSource, LabelledImages, Source
from modiste.data.locations import FASHION_MNIST, refuse, sought
from modiste.data.pictures.picture_source import PictureSource
from modiste.data.tables import npz, parquet, pixel_csv
from modiste.data.tables.arrays import GREY_OR_COLOUR, refusal
from modiste.errors import RecipeError
from modiste.recipes.recipe import DataRecipe

TABLES = (npz.SOURCE, pixel_csv.SOURCE, parquet.SOURCE)
OWN: tuple[DevelopmentSource, ...] = (IdxSource(), *TABLES, PictureSource())
"""Our own kinds, in the order in which they are tried."""
_added: list[Source] = []


def add(source: Source) -> None:
    """Add a kind of source to the table; it is tried before our own, and before those added earlier.

    A source has ``name``, ``layout``, ``detect(path)``, ``load(path, recipe)`` and ``load_test(path, recipe)``: see
    ``labelled.Source``. Every process that reads the data must add it.

    Raises:
        RecipeError: It lacks one of these, or a source of this name is in the table.

    Example:
        >>> import hashlib, numpy
        >>> class Noise:
        ...     name, layout = "noise", "a file that ends in .noise"
        ...     def detect(self, path):
        ...         return path.suffix == ".noise"
        ...     def load(self, path, recipe):
        ...         images = numpy.random.default_rng(0).integers(0, 256, (60, 8, 8), numpy.uint8)
        ...         digest = hashlib.sha256(images).hexdigest()
        ...         return LabelledImages("noise", images, numpy.arange(60) % 2, ("even", "odd"), digest)
        ...     def load_test(self, path, recipe):
        ...         return self.load(path, recipe)
        >>> add(Noise())
        >>> load(DataRecipe(source="any.noise")).class_names
        ('even', 'odd')
        >>> remove("noise")
    """
    if not isinstance(source, Source):
        needed, found = "name, layout, detect, load and load_test", type(source).__name__
        raise RecipeError(f"sources: expected an object with {needed}, found {found}; see modiste.data.labelled.Source")
    if source.name in {FASHION_MNIST, *(one.name for one in table())}:
        raise RecipeError(f"sources: expected a new name, found {source.name!r}, which is in the table; choose another")
    _added.insert(0, source)


def remove(name: str) -> None:
    """Remove a source that was added; RecipeError if there is none of this name."""
    kept = [one for one in _added if one.name != name]
    if len(kept) == len(_added):
        raise RecipeError(f"sources: expected the name of an added source, found {name!r}")
    _added[:] = kept


def table() -> tuple[DevelopmentSource, ...]:
    """Return all kinds of source, in the order in which they are tried."""
    return (*_added, *OWN)


def added(name: str) -> Source | None:
    """Return the added source of this name; None if there is none."""
    return next((one for one in _added if one.name == name), None)


def locate(source: str, folder: Path | None = None) -> tuple[DevelopmentSource, Path]:
    """Return the kind of the data at ``folder``, or else at ``source``, and their path.

    Raises:
        DataError: There is nothing, or nothing that any source in the table reads.
    """
    path = sought(source, folder)
    for one in table() if source or folder is not None else ():
        if one.detect(path):
            return one, path
    raise refuse(source, folder)


def locate_pictures(source: str, folder: Path | None = None) -> Path | None:
    """Return the CSV file or the folder of picture files that ``folder`` or else ``source`` names.

    None if the data are of another kind; DataError if they are no data set.
    """
    if source == FASHION_MNIST:
        return None
    found, path = locate(source, folder)
    return path if isinstance(found, PictureSource) else None


def load(recipe: DataRecipe, folder: Path | None = None) -> LabelledImages:
    """Read the images that training may use, of any kind.

    Args:
        recipe: Names the source.
        folder: Where Fashion-MNIST is on this machine, or where other data have moved to.

    Raises:
        DataError: The data are missing, damaged, or cannot be trained on.
    """
    if recipe.source == FASHION_MNIST:
        return transposed(without_files(load_training(FASHION_MNIST, folder)), recipe)
    source, path = locate(recipe.source, folder)
    found = source.load(path, recipe)
    return transposed(found if added(source.name) is None else checked(found, source.name), recipe)


def checked(found: Any, name: str) -> LabelledImages:
    """Return what an added source gave, checked: nobody else has looked at it.

    Args:
        found: What ``load`` or ``load_test`` returned.
        name: Name of the source.

    Raises:
        DataError: It is not what ``LabelledImages`` says.
    """
    where, remedy = f"source {name}", "return what modiste.data.labelled.LabelledImages says"
    if not isinstance(found, LabelledImages):
        given = type(found).__name__
        raise refusal(where, "no labelled images", expected="LabelledImages", found=given, remedy=remedy)
    images, labels = found.images, found.labels
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.ndim not in (3, 4) or not images.size:
        expected, given = "an array of uint8, (N, H, W) or (N, C, H, W)", _described(images)
        raise refusal(where, "no images", expected=expected, found=given, remedy=remedy)
    if images.ndim == 4 and images.shape[3] in GREY_OR_COLOUR and images.shape[1] not in GREY_OR_COLOUR:
        given, move = f"shape {images.shape}", "move them: images.transpose(0, 3, 1, 2)"
        raise refusal(where, "channels last", expected="shape (N, C, H, W)", found=given, remedy=move)
    count, classes = len(images), len(found.class_names)
    if not isinstance(labels, np.ndarray) or labels.shape != (count,) or labels.dtype.kind not in "bui":
        expected = f"an array of {count:,} whole numbers, one for each image"
        raise refusal(where, "no labels", expected=expected, found=_described(labels), remedy=remedy)
    if int(labels.min()) < 0 or int(labels.max()) >= classes:
        expected, given = f"0 to {classes - 1} ({classes} classes)", f"{labels.min()} to {labels.max()}"
        raise refusal(where, "a label of no class", expected=expected, found=given, remedy="number the classes from 0")
    if found.validation is not None and not 0 < found.validation < count:
        expected, given = f"1 to {count - 1:,} of {count:,} images, or None", f"{found.validation:,}"
        raise refusal(where, "no validation images", expected=expected, found=given, remedy="give None to draw some")
    return found


def _described(value: Any) -> str:
    """Return the type of a value, and of an array the shape."""
    is_array = isinstance(value, np.ndarray)
    return f"{type(value).__name__}" + (f" of {value.dtype} {value.shape}" if is_array else "")


def transposed(found: LabelledImages, recipe: DataRecipe) -> LabelledImages:
    """Return the images with rows and columns exchanged if the recipe says so; RecipeError for picture files."""
    if not recipe.transpose:
        return found
    if found.files:
        raise RecipeError("data.transpose: expected images in arrays or IDX files, found picture files; omit it")
    images = np.ascontiguousarray(found.images.swapaxes(-1, -2))
    return replace(found, images=images, fingerprint=hashlib.sha256(f"{found.fingerprint} T".encode()).hexdigest())
