"""What networks think of images that they have not learnt from: each fold answered by one that saw the others."""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from modiste import machine
from modiste.data.dataset import Development, Known
from modiste.errors import StoppedError
from modiste.evaluation.inference import infer
from modiste.processes import CoreWatch
from modiste.recipes.recipe import Recipe
from modiste.training.loop import fit
from modiste.training.setup import open_session, set_up, settle_threads
from modiste.training.tracking import Listener
from modiste.training.trainer import starting_state

LEAST_SHOWN = 8_000
"""Images that a network is shown in each epoch at least, so that a small set is learnt too."""


def held_out_probabilities(
    known: Known, recipe: Recipe, folds: int, *, device: str = "auto", told: Callable[[str], None] = print
) -> Float[Tensor, "n classes"]:
    """Return the probability of each class for each image, by a network that was trained without it.

    Args:
        known: the images; validation images are used like the others, for nothing is chosen here.
        recipe: of the networks; the weights of its last epoch answer, and labels are not smoothed, which would blur
            how sure they are.
        folds: into how many parts the images are divided, each class evenly.
        device: where to compute.
        told: called with a line for each network.

    Raises DivergedError, StoppedError, RecipeError as training does.
    """
    watch = CoreWatch()
    recipe = replace(recipe, pick="last", patience=0, label_smoothing=0.0)
    fold = fold_of(known.images.labels, folds, recipe.seed)
    found = torch.zeros(len(fold), len(known.class_names))
    for number in range(folds):
        own = (fold == number).nonzero().squeeze(1)
        others = (fold != number).nonzero().squeeze(1)
        development = development_of(known, others, own, recipe.batch_size)
        logits = trained_logits(development, recipe, device, watch)
        found[own] = logits.softmax(1)
        right = (logits.argmax(1) == known.images.labels[own]).float().mean().item()
        told(f"network {number + 1} of {folds}: {right:.2%} of {len(own):,} images as they are labelled")
    return found


def fold_of(labels: Int64[Tensor, " n"], folds: int, seed: int) -> Int64[Tensor, " n"]:
    """Return the fold of each image; each class is dealt out evenly, in an order drawn from ``seed``."""
    fold = torch.zeros_like(labels)
    dealt = 0
    for label in torch.unique(labels).tolist():
        members = (labels == label).nonzero().squeeze(1)
        order = torch.randperm(len(members), generator=machine.generator(seed, "fold", label))
        fold[members[order]] = (torch.arange(len(members)) + dealt) % folds
        dealt += len(members)  # else the first fold would get what is left over of every class
    return fold


def development_of(known: Known, train: Int64[Tensor, " n"], fold: Int64[Tensor, " m"], batch_size: int) -> Development:
    """Return a fold as training takes it; a few images are shown often, and none is left alone in a batch."""
    shown = train.repeat(-(-LEAST_SHOWN // len(train)))
    shown = shown[:-1] if len(shown) % batch_size == 1 else shown
    images = known.images[shown]
    return Development(known.name, images, images.images, known.images[fold], known.class_names, known.fingerprint)


def trained_logits(
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
            raise StoppedError("stopped on request; of an audit nothing is kept") from None
    return infer(state.evaluated, run.development.validation.images, run.recipe)
