"""The detector of out-of-distribution images that is stored with a run: found, checked, or learned and stored.

A detector that an earlier version learned by another method is learned again if the images are at hand. Otherwise it
keeps answering.
"""

import logging
import time
from collections.abc import Callable, Mapping
from math import inf
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from modiste.data.dataset import Development
from modiste.data.locations import FASHION_MNIST
from modiste.errors import DataError, FolderInUseError, ReadOnlyError, RunError
from modiste.evaluation.out_of_distribution import acceptance
from modiste.evaluation.out_of_distribution.boundary import Boundary, Energy
from modiste.evaluation.out_of_distribution.features import features
from modiste.evaluation.out_of_distribution.learning import MOST_EXPOSED, allowed_changes, images_to_pass, learn
from modiste.evaluation.out_of_distribution.novelty import Layer, Novelty
from modiste.evaluation.run_images import load_own_development
from modiste.recipes.plain import demand
from modiste.runs import checkpoint, run_folder, storage
from modiste.runs.run_folder import Run

FILE = run_folder.DETECTOR
TRIED = 128
"""Images by which the time of learning is guessed."""
METHOD = "distance and boundary, with what training and photos change"
"""The method by which a stored score was learned."""
UNCHANGED_METHOD = "distance and boundary, of images drawn from all"
"""The method of earlier versions: images as they lie, mirrored and altered ones are not allowed for."""
FIRST_METHOD = "distance and boundary"
"""The same on the first images in the order of the files, not on a sample; see ``_covers_all``."""


def of_run(
    run: Run,
    data_folder: Path | str | None = None,
    *,
    seen: Mapping[str, Float[Tensor, "_ _"]] | None = None,
    announce: Callable[[str], None] | None = None,
) -> Novelty:
    """Return the detector stored with a run, or learn it from the run's training images and store it.

    For a user's own pictures ``data_folder`` is required to learn. The folder that the recipe names is never read
    unasked, because the run may come from an untrusted source.

    Args:
        run: A finished run.
        data_folder: Folder of the training images; see ``load_development``.
        seen: See ``stored``.
        announce: Called with a line about what is computed, and for how long, before the detector is learned.

    Raises:
        DataError: The images are missing or damaged, or ``data_folder`` is required.
        RunError: The stored detector is damaged, or the images are not those of the run.
    """
    if found := stored(run, seen, earlier=not is_learned_again(run, data_folder)):
        return found
    if data_folder is None and run.recipe.data.source != FASHION_MNIST:
        raise DataError(
            f"{run.folder}: has no stored detector of out-of-distribution images, and its data set is not read "
            "unasked; give the folder of its training images once: --data-folder FOLDER"
        )
    try:
        development = load_own_development(run, data_folder)
        if announce is not None:
            announce(_forecast(run, development))
        return learn_for(run, development)
    except DataError:
        if data_folder is None and (found := stored(run, seen, earlier=True)):
            return found
        raise


def _forecast(run: Run, development: Development) -> str:
    """Return a line about the learning of a run's detector, with a guess of its seconds from a few images."""
    model, _ = run.load_model()
    images, some = images_to_pass(development), development.validation.images[:TRIED]
    features(model, some)  # the first images take longer
    started = time.perf_counter()
    features(model, some)
    seconds = images * (time.perf_counter() - started) / len(some)
    return (
        f"{run.folder}: computing once how {images:,} images look to the network, to recognise photos of none of its "
        f"classes; about {max(1, round(seconds)):,} s"
    )


def is_learned_again(run: Run, data_folder: Path | str | None) -> bool:
    """Return whether an earlier version's detector is replaced: its images may be read, unasked or in this folder."""
    if run.recipe.data.extra:
        return False
    return data_folder is not None or run.recipe.data.source == FASHION_MNIST


def stored(
    run: Run, seen: Mapping[str, Float[Tensor, "_ _"]] | None = None, *, earlier: bool = False
) -> Novelty | None:
    """Return the detector stored with a run; None if there is none that was learned from all of its images.

    Args:
        run: A finished run.
        seen: The features of any image in the run's network. They show which layers the network has. If None, the
            network is loaded to compute them.
        earlier: Whether a detector that an earlier version learned by another method is returned too.

    Raises:
        RunError: The stored detector is damaged, or belongs to another network.
    """
    found = _read(run, earlier=earlier) if run_folder.is_listed(run, FILE) else None
    if found:
        _check_layers(found, run, _features_of_blank(run) if seen is None else seen)
    return found


def _features_of_blank(run: Run) -> dict[str, Float[Tensor, "_ _"]]:
    """Return the features of a black image in the run's network."""
    model, info = run.load_model()
    return features(model, torch.zeros(1, *info.task.image_shape, dtype=torch.uint8))


def _check_layers(novelty: Novelty, run: Run, seen: Mapping[str, Float[Tensor, "_ _"]]) -> None:
    """Raise RunError unless the network has the detector's layers, with as many features."""
    for layer in novelty.layers:
        if layer.name not in seen or seen[layer.name].shape[1] != len(layer.whitening):
            raise RunError(f"{run.folder / FILE}: damaged, it is of another network; train the run again")


def learn_for(run: Run, development: Development) -> Novelty:
    """Learn the detector of a finished run from its images, store it with the run, and return it."""
    model, _ = run.load_model()
    novelty = learn(model, development, allowed_changes(run.recipe))
    try:
        run_folder.keep(run, {FILE: content(novelty)})
    except (ReadOnlyError, FolderInUseError) as error:
        logging.getLogger(__name__).warning("the detector of out-of-distribution images was not stored: %s", error)
    return novelty


def write(folder: Path, novelty: Novelty) -> None:
    """Write the detector into a run's folder."""
    storage.write_bytes(folder / FILE, content(novelty))


def content(novelty: Novelty) -> bytes:
    """Return the content of the detector's file."""
    tensors = {f"boundary:{name}": one for name, one in novelty.boundary.tensors().items()}
    for layer in novelty.layers:
        tensors |= {f"{layer.name}:means": layer.means, f"{layer.name}:whitening": layer.whitening}
    plain = {
        "method": METHOD,
        "scales": {layer.name: layer.scale for layer in novelty.layers},
        "threshold": novelty.threshold,
        "false_alarms": novelty.false_alarms,
        "images": novelty.images,
    }
    if novelty.acceptance is not None:
        plain["acceptance"] = novelty.acceptance.plain()
    return checkpoint.to_bytes(tensors, plain)


def _read(run: Run, *, earlier: bool) -> Novelty | None:
    """Return the detector in a run's file; None if it was learned by a method that does not count."""
    path = run.folder / FILE
    tensors, plain = checkpoint.read(path)
    method = plain.get("method")
    counts = method == METHOD or (earlier and method == UNCHANGED_METHOD)
    if not counts and not (earlier and method == FIRST_METHOD and _covers_all(run)):
        return None
    try:
        novelty = _from_plain(tensors, plain)
        _check(novelty)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise RunError(f"{path}: damaged or of another kind ({error}); train the run again") from error
    return novelty


def _covers_all(run: Run) -> bool:
    """Return whether the first images stand for all: Fashion-MNIST is not sorted, a small data set is used whole."""
    first = run.history[0]
    most_images = first.step // first.epoch * run.recipe.batch_size
    return run.recipe.data.source == FASHION_MNIST or most_images <= MOST_EXPOSED


def _from_plain(tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> Novelty:
    """Return the detector that ``content`` wrote; KeyError and the like if a part is missing."""
    layers = tuple(
        Layer(name, tensors[f"{name}:means"], tensors[f"{name}:whitening"], scale)
        for name, scale in sorted(plain["scales"].items())
    )
    kind = Energy if f"boundary:{Energy.NAMES[0]}" in tensors else Boundary
    boundary = kind(*(tensors[f"boundary:{name}"] for name in kind.NAMES))
    table = acceptance.from_plain(plain["acceptance"]) if "acceptance" in plain else None
    return Novelty(layers, boundary, plain["threshold"], plain["false_alarms"], plain["images"], table)


def _check(novelty: Novelty) -> None:
    """Raise RecipeError, a ValueError, unless all numbers are finite and the shapes fit each other."""
    width = 0
    for layer in novelty.layers:
        size = len(layer.whitening)
        _demand_finite(f"{layer.name}:whitening", layer.whitening, (size, size))
        _demand_finite(f"{layer.name}:means", layer.means, (len(layer.means), size))
        width += size
    for name, one in novelty.boundary.tensors().items():
        is_single = name == "bias" or isinstance(novelty.boundary, Energy)
        _demand_finite(f"boundary:{name}", one, (1 if is_single else width,))
    for number in (novelty.threshold, *(layer.scale for layer in novelty.layers)):
        demand(type(number) is float and 0 < number < inf, "threshold and scales", "numbers above 0", number)
    demand(type(novelty.images) is int, "images", "a whole number", novelty.images)
    share = novelty.false_alarms
    demand(type(share) is float and 0 <= share <= 1, "false_alarms", "a number from 0 to 1", share)


def _demand_finite(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    """Raise RecipeError unless the tensor has this shape and finite floating-point numbers."""
    found = tuple(tensor.shape)
    demand(found == shape and found != (0, 0), name, f"numbers of shape {shape}", found)
    demand(tensor.is_floating_point() and bool(tensor.isfinite().all()), name, "finite numbers", "others")
