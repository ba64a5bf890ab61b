"""Out-of-fold probabilities: each fold of the images is classified by a network that was trained on the others."""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from modiste import machine
from modiste.data.dataset import Development, SplitImages
from modiste.errors import StoppedError
from modiste.evaluation.inference import infer
from modiste.processes import CoreWatch
from modiste.recipes.recipe import Recipe
from modiste.training.loop import fit
from modiste.training.setup import open_session, set_up, settle_threads
from modiste.training.tracking import Listener
from modiste.training.trainer import starting_state

LEAST_SHOWN = 8_000
"""Least number of images in an epoch, so that a network also learns a small set."""


def out_of_fold_probabilities(
    known: SplitImages, recipe: Recipe, folds: int, *, device: str = "auto", report: Callable[[str], None] = print
) -> Float[Tensor, "n classes"]:
    """Return the probability of each class for each image, from a network that was trained without that image.

    Args:
        known: the images; validation images are used like the others, because nothing is selected here.
        recipe: of the networks. The weights of its last epoch are used. Labels are not smoothed, because smoothing
            would distort the confidence.
        folds: number of folds, each with an even share of every class.
        device: where to compute.
        report: called with a line for each network.

    Raises:
        RecipeError, DivergedError, StoppedError: as in training.
    """
    watch = CoreWatch()
    recipe = replace(recipe, pick="last", patience=0, label_smoothing=0.0)
    fold = assign_folds(known.images.labels, folds, recipe.seed)
    found = torch.zeros(len(fold), len(known.class_names))
    for number in range(folds):
        own = (fold == number).nonzero().squeeze(1)
        others = (fold != number).nonzero().squeeze(1)
        development = fold_development(known, others, own, recipe.batch_size)
        logits = _train_and_infer(development, recipe, device, watch)
        found[own] = logits.softmax(1)
        right = (logits.argmax(1) == known.images.labels[own]).float().mean().item()
        report(f"network {number + 1} of {folds}: {right:.2%} of {len(own):,} images classified as labelled")
    return found


def assign_folds(labels: Int64[Tensor, " n"], folds: int, seed: int) -> Int64[Tensor, " n"]:
    """Return the fold of each image; each class is dealt out evenly, in a random order given by ``seed``."""
    fold = torch.zeros_like(labels)
    dealt = 0
    for label in torch.unique(labels).tolist():
        members = (labels == label).nonzero().squeeze(1)
        order = torch.randperm(len(members), generator=machine.generator(seed, "fold", label))
        fold[members[order]] = (torch.arange(len(members)) + dealt) % folds
        dealt += len(members)  # else the first fold would get the remainder of every class
    return fold


def fold_development(
    known: SplitImages, train: Int64[Tensor, " n"], fold: Int64[Tensor, " m"], batch_size: int
) -> Development:
    """Return a fold as a data set; few images are repeated to LEAST_SHOWN, and no batch holds a single image."""
    shown = train.repeat(-(-LEAST_SHOWN // len(train)))
    shown = shown[:-1] if len(shown) % batch_size == 1 else shown
    images = known.images[shown]
    return Development(known.name, images, images.images, known.images[fold], known.class_names, known.fingerprint)


def _train_and_infer(
    development: Development, recipe: Recipe, device: str, watch: CoreWatch
) -> Float[Tensor, "m classes"]:
    """Train a network in a temporary folder; return its logits for the images held out."""
    with tempfile.TemporaryDirectory() as name, open_session(device, watch=watch) as session:
        run = set_up(recipe, Path(name), session, development)
        assert run is not None, "a new folder holds no finished run"
        context = run.context(Listener())
        settle_threads(run.folder, watch)
        state = starting_state(run, context)
        try:
            fit(state, context)
        except StoppedError:
            raise StoppedError("stopped on request; an audit keeps nothing") from None
    return infer(state.evaluated, run.development.validation.images, run.recipe)
