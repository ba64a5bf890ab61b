"""The images of a finished run: those that it keeps, or those of its data set.

A person's own pictures may change or move after training. Their run keeps all validation images and a sample of the
training images, which is what export, report and figures need. This file cannot reach the test set.
"""

import logging
from pathlib import Path

import torch
from torch import Tensor

from modiste.data.dataset import Development, ImageSet, load_development
from modiste.data.sampling import balanced_sample
from modiste.data.sources import FASHION_MNIST
from modiste.errors import DataError, RunError
from modiste.runs import checkpoint, run_folder, storage
from modiste.runs.run_folder import Run

MOST_BYTES = 256 * 2**20
"""Of the validation images; where they take more, none are kept."""
SAMPLE, SAMPLE_BYTES = 500, 64 * 2**20
"""So many training images are kept at most, and as many as that number of bytes holds."""


def keep(folder: Path, development: Development) -> None:
    """Write what is kept into a run's folder, before it is sealed; a warning where it would be too large."""
    train, validation = development.train, development.validation
    size = validation.images.nbytes
    if size > MOST_BYTES:
        logging.getLogger(__name__).warning(
            "the validation images take %s bytes, more than %s: they are not kept in the run; "
            "export, report and figures need the pictures as they are now",
            f"{size:,}",
            f"{MOST_BYTES:,}",
        )
        return
    count = min(SAMPLE, SAMPLE_BYTES // train.images[0].nbytes)
    sample = train[balanced_sample(train.labels, count, "kept images").to(train.labels.device)]
    tensors = {**_named("train", sample), **_named("validation", validation)}
    storage.write_bytes(folder / run_folder.IMAGES, checkpoint.to_bytes(tensors, {"name": development.name}))


def development_of(run: Run, data_folder: Path | str | None = None) -> Development:
    """Return the images that a run keeps, or those of its data set where it keeps none or a folder is named.

    Of the images that a run keeps, those to train with are a sample.

    Raises:
        RunError: what is kept is damaged, or the data set is not the one that the run was trained on.
        DataError: the data set is missing or damaged.
    """
    if data_folder is None and run_folder.is_listed(run, run_folder.IMAGES):
        return _read(run)
    return load_own_development(run, data_folder)


def load_own_development(run: Run, data_folder: Path | str | None = None) -> Development:
    """Load the training and validation images of a run; RunError when those found are others than it was trained on."""
    try:
        development = load_development(run.recipe.data, data_folder, instead=True)
    except DataError as error:
        if data_folder is not None or run.recipe.data.source == FASHION_MNIST:
            raise
        raise DataError(f"{error}; if they have moved, name their folder: --data-folder FOLDER") from error
    if development.fingerprint != run.load_info().fingerprint:
        raise RunError(
            f"{run.folder}: the data found are not those it was trained on; "
            "restore them, or name the folder that holds them: --data-folder FOLDER"
        )
    return development


def _named(part: str, images: ImageSet) -> dict[str, Tensor]:
    return {f"{part}:images": images.images.cpu(), f"{part}:labels": images.labels.cpu()}


def _read(run: Run) -> Development:
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
    if images.dtype != torch.uint8 or labels.dtype != torch.int64 or images.ndim != 4 or labels.ndim != 1:
        return False
    fits = tuple(images.shape[1:]) == shape and len(images) == len(labels) > 0
    return fits and int(labels.min()) >= 0 and int(labels.max()) < classes


def _damaged(path: Path) -> RunError:
    return RunError(f"{path}: damaged, these are not the run's images; name the folder of those: --data-folder FOLDER")
