"""Evaluation of a finished run on other labelled images of its classes, kept beside its test and counted apart."""

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from modiste.data import held_out
from modiste.data.dataset import ImageSet, as_image_set, development_of
from modiste.data.extra_pictures import own_fingerprint
from modiste.data.labelled import LabelledImages
from modiste.data.locations import FASHION_MNIST
from modiste.data.pictures.listing import join_names
from modiste.data.tables.contents import letters_of
from modiste.errors import DataError, ReadOnlyError, RecipeError, RunError, shown
from modiste.evaluation.assessment import Assessment, Split, Weights, assess, class_names, epoch_of, infer_run
from modiste.recipes.recipe import DataRecipe
from modiste.runs import run_folder, storage
from modiste.runs.run_folder import Run, open_run

FILE = "other-data.json"
"""In the run folder: every evaluation on other data."""
SPLIT: Literal["other data"] = "other data"


def evaluate_on(folder: Path | str, data: Any, *, weights: Weights = "picked", device: str = "auto") -> Assessment:
    """Evaluate a finished run on other labelled images of its classes; the run's test set stays closed.

    The measures are added to ``other-data.json`` in the run folder. Where the file would be larger than
    ``storage.MOST_BYTES``, its oldest evaluations are dropped, with a warning.

    Args:
        folder: The run folder.
        data: A path of any kind that ``data.source`` takes, or arrays as ``dataset.development_of`` takes them. All of
            its images are measured, whatever part they are in; of IDX files, the test files. Class names, or numbers
            from 0, must be the run's; some may be missing.
        weights: ``picked`` or ``last``.
        device: Where the logits are computed.

    Raises:
        RunError: The run is unfinished or damaged; a class is not the run's; the images have another shape, or are the
            run's own data, which ``evaluate`` measures and counts, or Fashion-MNIST's published ones.
        DataError: The images are missing or damaged.

    Example::

        print(evaluate_on("runs/sprint", "photos-of-march").accuracy)
    """
    run = open_run(folder)
    found = _load(run, data)
    labels = _run_labels(run, found)
    images = replace(as_image_set(found), labels=labels)
    image_shape = run.load_info().task.image_shape
    if tuple(images.images.shape[1:]) != image_shape:
        raise RunError(
            f"{shown(found.name)}: expected images of {image_shape}, as those of {shown(run.folder)}, found "
            f"{tuple(images.images.shape[1:])}; resize them, or give picture files"
        )
    result = assess(
        infer_run(run, images.images, weights, device),
        labels,
        class_names(run),
        split=SPLIT,
        weights=weights,
        epoch=epoch_of(run, weights),
        test_openings=run.test_openings,
    )
    _keep(run, images, found, result)
    return result


def load_images(path: str, recipe: DataRecipe) -> UInt8[Tensor, "n c h w"]:
    """Return all images at a path of any kind that ``data.source`` takes; of IDX files, the test files.

    Args:
        path: Path of the images.
        recipe: Says what picture files become, and whether arrays are transposed.

    Raises:
        DataError: The images are missing or damaged.
    """
    return as_image_set(held_out.load_labelled(path, recipe)).images


def own_images(folder: Path | str, data: Any, split: Split) -> ImageSet | None:
    """Return the images of a split if these data in memory are those that the run was trained on; else None."""
    run_folder.check_split(split)
    if isinstance(data, str | os.PathLike):
        return None
    run = open_run(folder)
    recipe = replace(run.recipe.data, extra="", extra_classes=())
    try:
        development = development_of(data, recipe)
    except (DataError, RecipeError):  # what cannot be trained on may still be measured
        return None
    if own_fingerprint(development.fingerprint) != own_fingerprint(run.load_info().fingerprint):
        return None
    return development.validation if split == "validation" else held_out.test_of(data, recipe)


def evaluations(run: Run) -> list[dict[str, Any]]:
    """Return the run's evaluations on other data, oldest first.

    Each has name, identity (hash of the images), times, and the fields of an ``Assessment``.

    Raises:
        RunError: Their file is damaged.
    """
    if not run_folder.is_listed(run, FILE):
        return []
    rows = storage.read_json(run.folder / FILE).get("evaluations")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise RunError(f"{run.folder / FILE}: damaged, expected a list of evaluations; remove the run's copy of it")
    return rows


def _load(run: Run, data: Any) -> LabelledImages:
    """Read the images; RunError if they are the run's own, or Fashion-MNIST's."""
    recipe = run.recipe.data
    if isinstance(data, str | os.PathLike):
        path = os.fspath(data)
        if path == recipe.source or os.path.realpath(path) == os.path.realpath(recipe.source):
            raise _own_data(run, path)
        if path == FASHION_MNIST:
            raise _published_data(run, path)
    channels, height, width = run.load_info().task.image_shape
    side = width if height == width else recipe.side
    if channels == 3 and not recipe.colour:  # a run on colour images in arrays: pictures are taken whole
        recipe = replace(recipe, pictures="whole", background="plain", colour=True)
    found = held_out.load_labelled(data, replace(recipe, extra="", extra_classes=(), side=side))
    if found.fingerprint == own_fingerprint(run.load_info().fingerprint):
        raise _own_data(run, found.name)
    if found.published:
        raise _published_data(run, found.name)
    return found


def _own_data(run: Run, name: str) -> RunError:
    return RunError(
        f"{shown(run.folder)}: the run's own data: expected others, found {shown(name)}; measure these with "
        "--split validation or --split test"
    )


def _published_data(run: Run, name: str) -> RunError:
    return RunError(
        f"{shown(run.folder)}: Fashion-MNIST's published images: expected others, found {shown(name)}; measure a "
        "run that was trained on them, with --split validation or --split test"
    )


def _run_labels(run: Run, found: LabelledImages) -> Int64[Tensor, " n"]:
    """Return the images' labels as the run numbers its classes; RunError for a class that it does not have."""
    names = class_names(run)
    places = [_place(name, names) for name in found.class_names]
    unknown = [name for name, place in zip(found.class_names, places, strict=True) if place is None]
    if unknown:
        raise RunError(
            f"{shown(found.name)}: classes that {shown(run.folder)} does not have: expected some of "
            f"{join_names(names, 12)}, found {join_names(unknown)}; rename or remove them"
        )
    return torch.tensor([place or 0 for place in places])[torch.from_numpy(found.labels).long()]


def _place(name: str, names: Sequence[str]) -> int | None:
    """Return the position of a class: by its name, by its letters and digits alone, or by its number."""
    if name in names:
        return names.index(name)
    alike = [place for place, own in enumerate(names) if letters_of(own) == letters_of(name)]
    if len(alike) == 1:
        return alike[0]
    is_number = name.isascii() and name.isdecimal() and len(name) < 5
    return int(name) if is_number and int(name) < len(names) else None


def _keep(run: Run, images: ImageSet, found: LabelledImages, result: Assessment) -> None:
    """Add an evaluation to the run folder, or count it again; warn if the folder is read-only."""
    identity = images.identity()

    def with_result(now: Run) -> dict[str, bytes]:
        rows = evaluations(now)
        same = [row for row in rows if (row.get("identity"), row.get("weights")) == (identity, result.weights)]
        times = int(same[0].get("times", 0)) + 1 if same else 1
        row = {"name": found.name, "identity": identity, "times": times} | result.as_plain()
        kept = [*(one for one in rows if one not in same), row]
        return {FILE: _content(now, kept)}

    try:
        run_folder.keep(run, with_result)
    except ReadOnlyError as error:
        logging.getLogger(__name__).warning("nothing was stored: %s", error)


def _content(run: Run, rows: Sequence[dict[str, Any]]) -> bytes:
    """Return the content of the file. The oldest evaluations are left out, with a warning, if it was too large."""
    for first in range(len(rows) + 1):
        content = json.dumps({"evaluations": rows[first:]}).encode()
        if len(content) <= storage.MOST_BYTES:
            break
    if first:
        logging.getLogger(__name__).warning(
            "%s: the oldest evaluations are no longer kept, %s of %s: the file holds at most %s bytes",
            run.folder / FILE,
            f"{first:,}",
            f"{len(rows):,}",
            f"{storage.MOST_BYTES:,}",
        )
    return content


def check_data_alone(split: str, predictions: Path | str | None, runs: int) -> None:
    """Raise DataError if other data come with the test set, with a file of predictions, or with several runs."""
    if split != "validation" or predictions is not None or runs != 1:
        extra = f"--split {split}" if split != "validation" else "--predictions" if predictions else f"{runs} runs"
        raise DataError(f"--data: expected one run, and no --split or --predictions, found {extra}; leave it out")
