"""Out-of-fold probabilities from linear classifiers on fixed features, for many random divisions into folds.

A recipe that fits the last layer alone gives every fold the same features. They are computed once, and a fold costs
seconds. So the images are divided several times, and the probabilities of an image are the mean over the divisions. An
image about which classifiers of different training images disagree thus gets a moderate probability. A single division
puts such images among the first suspicions.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from modiste.data.batch import as_targets, class_weights
from modiste.data.dataset import Development, SplitImages
from modiste.data.folds import assign_folds
from modiste.errors import StoppedError
from modiste.recipes.recipe import Recipe
from modiste.system.processes import CoreWatch
from modiste.training.setup import Inputs, Session, open_session, set_up, settle_threads
from modiste.training.tracking import Listener
from modiste.training.trainer import take_weights
from modiste.training.transfer import linear_probe
from modiste.training.warm_start.progress import Progress

DIVISIONS = 8
"""Random divisions into folds."""


@dataclass(frozen=True, eq=False)
class Examples:
    """What the linear classifiers learn from.

    Attributes:
        features: Features of all images, on the CPU.
        labels: As given in the data set.
        classes: Number of classes.
        balance: As in a recipe: 1 weights all classes equally, 0 all images.
    """

    features: Float[Tensor, "n d"]
    labels: Int64[Tensor, " n"]
    classes: int
    balance: float = 0.0


def has_fixed_features(recipe: Recipe) -> bool:
    """Return whether training changes the last layer alone, so that the features depend on no label."""
    return recipe.transfer.linear_probe and not recipe.epochs and recipe.warm_start == "none"


def probe_probabilities(
    known: SplitImages, recipe: Recipe, folds: int, *, device: str = "auto", report: Callable[[str], None] = print
) -> Float[Tensor, "n classes"]:
    """Return the probability of each class for each image, from classifiers that were fitted without that image.

    Args:
        known: The images; validation images are used like the others.
        recipe: One with fixed features; see ``has_fixed_features``. Labels are not smoothed.
        folds: Number of folds in each division, each with an even share of every class.
        device: Where the features are computed.
        report: Called with a line for each division.

    Raises:
        MissingExtraError: SciPy, or the weights that the recipe names, are not installed.
        RecipeError, RunError: As in training.
        StoppedError: A signal asked to stop.
    """
    with open_session(device, watch=CoreWatch()) as session:
        features = fixed_features(known, recipe, session)
        examples = Examples(features, known.images.labels, len(known.class_names), recipe.balance)

        def stop_on_request() -> None:
            if session.interruption.requested:
                raise StoppedError("stopped on request; the same command finds the features that were computed")

        return mean_probabilities(examples, folds, recipe.seed, report=report, before_fit=stop_on_request)


def fixed_features(known: SplitImages, recipe: Recipe, session: Session) -> Float[Tensor, "n d"]:
    """Return the features of all images, on the CPU; those of an earlier audit are read from the user's cache."""
    images = known.images
    development = Development(known.name, images, images.images, images, known.class_names, known.fingerprint)
    with tempfile.TemporaryDirectory() as name:
        run = set_up(recipe, Path(name), session, Inputs(development))
        assert run is not None, "a new folder holds no finished run"
        context = run.context(Listener())
        settle_threads(run.folder, session.watch)
        take_weights(run.model, context, None, has_begun=False)
        progress = Progress(linear_probe.NAME, context.listener, context.interruption)
        return linear_probe.head_inputs(run.model, run.development.train.images, run.recipe, progress)


def mean_probabilities(
    examples: Examples,
    folds: int,
    seed: int,
    *,
    report: Callable[[str], None] = print,
    before_fit: Callable[[], None] = lambda: None,
) -> Float[Tensor, "n classes"]:
    """Return each image's out-of-fold probabilities, as their mean over DIVISIONS random divisions into folds.

    The first division selects the penalty of the weights: the one with the least loss out of fold.

    Args:
        examples: Features and labels.
        folds: Number of folds in each division, at least 2.
        seed: Seed of the divisions.
        report: Called with a line for each division.
        before_fit: Called before each fit; may raise an error to stop.
    """
    labels, found, penalty = examples.labels, torch.zeros(len(examples.labels), examples.classes), 0.0
    for number in range(DIVISIONS):
        fold = assign_folds(labels, folds, seed + number)
        if not penalty:
            logits, penalty = _select(examples, fold, before_fit)
        else:
            logits, _ = fold_logits(examples, fold, penalty, _new_classifiers(examples, fold), before_fit)
        found += logits.softmax(1) / DIVISIONS
        right = (logits.argmax(1) == labels).float().mean().item()
        report(f"division {number + 1} of {DIVISIONS}: {right:.2%} of {len(labels):,} images classified as labelled")
    return found


def _select(
    examples: Examples, fold: Int64[Tensor, " n"], before_fit: Callable[[], None]
) -> tuple[Float[Tensor, "n k"], float]:
    """Return the logits of the penalty with the least loss out of fold, among those up to the first rise, and it."""
    classifiers = _new_classifiers(examples, fold)
    best, penalty, least = torch.empty(0), linear_probe.PENALTIES[0], float("inf")
    for candidate in linear_probe.PENALTIES:
        logits, classifiers = fold_logits(examples, fold, candidate, classifiers, before_fit)
        loss = F.cross_entropy(logits, examples.labels).item()
        if loss >= least:
            break
        best, penalty, least = logits, candidate, loss
    return best, penalty


def fold_logits(
    examples: Examples,
    fold: Int64[Tensor, " n"],
    penalty: float,
    starts: list[Float[Tensor, "k e"]],
    before_fit: Callable[[], None] = lambda: None,
) -> tuple[Float[Tensor, "n k"], list[Float[Tensor, "k e"]]]:
    """Return the logits of each image by a classifier fitted to the images of the other folds, and the classifiers.

    Args:
        examples: Features and labels.
        fold: Fold of each image, from 0.
        penalty: Penalty of the squared weights.
        starts: For each fold, weights and biases to begin at; they too must not come from the fold's own images.
        before_fit: Called before each fit.
    """
    logits, fitted = torch.zeros(len(fold), examples.classes), []
    for number, start in enumerate(starts):
        before_fit()
        own, labels = fold == number, examples.labels[fold != number]
        found = linear_probe.standardized(examples.features[~own], examples.features[own])
        targets = as_targets(labels, examples.classes, smoothing=0.0)
        weights = targets @ class_weights(labels, examples.classes, examples.balance)
        both = linear_probe.logistic_regression(found.train, targets, weights, penalty, start)
        logits[own] = found.validation @ both[:, :-1].T + both[:, -1]
        fitted.append(both)
    return logits, fitted


def _new_classifiers(examples: Examples, fold: Int64[Tensor, " n"]) -> list[Float[Tensor, "k e"]]:
    """Return a classifier of zeros for each fold."""
    return [torch.zeros(examples.classes, examples.features.shape[1] + 1) for _ in range(int(fold.max()) + 1)]
