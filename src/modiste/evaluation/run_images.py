"""The images of a finished run: the copies in its folder, or its data set.

Users' own pictures may change or move after training. A run on such pictures keeps all validation images and a sample
of the training images. Export, reports and figures need no others. This module cannot reach the test set.
"""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from modiste.data import dataset
from modiste.data.dataset import Development, ImageSet, balanced_sample, load_development, shown_once
from modiste.data.extra_pictures import own_fingerprint
from modiste.data.locations import FASHION_MNIST
from modiste.errors import DataError, RunError
from modiste.recipes.recipe import DataRecipe, Recipe
from modiste.runs import checkpoint, run_folder, storage
from modiste.runs.run_folder import Run

MOST_BYTES = 256 * 2**20
"""If the validation images are larger than this, no images are kept."""
SAMPLE, SAMPLE_BYTES = 500, 64 * 2**20
"""Limits of the sample of training images: number and total size."""


def keep(folder: Path, development: Development, recipe: DataRecipe) -> None:
    """Write the images to keep into a run's folder, before its manifest is written. Warn if they are too large."""
    train, validation = shown_once(development.train, recipe), development.validation
    size = validation.images.nbytes
    if size > MOST_BYTES:
        logging.getLogger(__name__).warning(
            "the validation images take %s bytes, more than %s: they are not kept in the run; "
            "export, report and figures will need the original pictures, unchanged",
            f"{size:,}",
            f"{MOST_BYTES:,}",
        )
        return
    count = min(SAMPLE, SAMPLE_BYTES // train.images[0].nbytes)
    sample = train[balanced_sample(train.labels, count, "kept images").to(train.labels.device)]
    tensors = {**_named("train", sample), **_named("validation", validation)}
    storage.write_bytes(folder / run_folder.IMAGES, checkpoint.to_bytes(tensors, {"name": development.name}))


def development_of(run: Run, data_folder: Path | str | None = None) -> Development:
    """Return the images that a run keeps. If it keeps none, or ``data_folder`` is given, load its data set.

    The kept training images are a sample.

    Raises:
        RunError: The kept images are damaged, or the data set is not the one that the run was trained on.
        DataError: The data set is missing or damaged.
    """
    if data_folder is None and run_folder.is_listed(run, run_folder.IMAGES):
        return _read(run)
    return load_own_development(run, data_folder)


def load_own_development(run: Run, data_folder: Path | str | None = None) -> Development:
    """Load the training and validation images of a run from its data set, without extra pictures.

    Raises:
        RunError: The data set is not the one that the run was trained on.
        DataError: The data set is missing or damaged.
    """
    return load_same_development(run.recipe, run.load_info().fingerprint, run.folder, data_folder)


def load_same_development(
    recipe: Recipe, fingerprint: str, folder: Path, data_folder: Path | str | None = None, data: Any = None
) -> Development:
    """Load the images of a recipe, without extra pictures, if they are those that a run was trained on.

    Args:
        recipe: Names the data set.
        fingerprint: Fingerprint of the images that the run was trained on.
        folder: Folder of the run, for messages.
        data_folder: Folder of the images, if they are not where the recipe says.
        data: Images in memory in place of those that the recipe names, as ``dataset.development_of`` takes them.

    Raises:
        RunError: The images are others.
        DataError: They are missing or damaged.
    """
    own = replace(recipe.data, extra="")
    try:
        if data is None:
            development = load_development(own, data_folder, instead=True)
        else:
            development = dataset.development_of(data, own)
    except DataError as error:
        if data is not None or data_folder is not None or recipe.data.source == FASHION_MNIST:
            raise
        remedy = "if the data have moved, give their folder: --data-folder FOLDER; if they were in memory: data=..."
        raise DataError(f"{error}; {remedy}") from error
    if own_fingerprint(development.fingerprint) != own_fingerprint(fingerprint):
        raise RunError(
            f"{folder}: the data found are not those it was trained on; "
            "restore the original data, or give their folder: --data-folder FOLDER"
        )
    return development


def _named(part: str, images: ImageSet) -> dict[str, Tensor]:
    """Return the tensors of one part (train or validation) under their names in the file."""
    return {f"{part}:images": images.images.cpu(), f"{part}:labels": images.labels.cpu()}


def _read(run: Run) -> Development:
    """Return the images that a run keeps; RunError if the file is damaged."""
    path, info = run.folder / run_folder.IMAGES, run.load_info()
    tensors, plain = checkpoint.read(path)
    names = info.task.class_names
    try:
        sets = [(tensors[f"{part}:images"], tensors[f"{part}:labels"]) for part in ("train", "validation")]
        name = str(plain["name"])
    except KeyError as error:
        raise _damaged(path) from error
    if not all(_are_sound(images, labels, info.task.image_shape, len(names)) for images, labels in sets):
        raise _damaged(path)
    train, validation = (ImageSet(*one) for one in sets)
    return Development(name, train, train.images, validation, names, info.fingerprint, own_pictures=True)


def _are_sound(images: Tensor, labels: Tensor, shape: tuple[int, int, int], classes: int) -> bool:
    """Return whether images and labels have the run's types, shape and classes, and equal lengths."""
    if images.dtype != torch.uint8 or labels.dtype != torch.int64 or images.ndim != 4 or labels.ndim != 1:
        return False
    fits = tuple(images.shape[1:]) == shape and len(images) == len(labels) > 0
    return fits and int(labels.min()) >= 0 and int(labels.max()) < classes


def _damaged(path: Path) -> RunError:
    return RunError(f"{path}: damaged, these are not the run's images; give their folder: --data-folder FOLDER")
