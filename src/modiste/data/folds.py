"""Folds: parts of the training and validation images, each held out once while a network is trained on the others."""

import hashlib
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from modiste import machine
from modiste.data.dataset import SplitImages
from modiste.errors import RecipeError, shown


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


def assign_groups(
    labels: Int64[Tensor, " n"], groups: Int64[Tensor, " n"], folds: int, seed: int
) -> Int64[Tensor, " n"]:
    """Return the fold of each image; a group lies in one fold, and classes are dealt out as evenly as groups allow.

    Args:
        labels: Labels of the images.
        groups: Number of each image's group, from 0.
        folds: Number of folds.
        seed: Seed of the order in which groups are dealt, the larger ones first.
    """
    sizes = torch.bincount(groups)
    members = torch.split(groups.argsort(stable=True), sizes.tolist())
    order = torch.randperm(len(members), generator=machine.generator(seed, "grouped fold"))
    fold, held = torch.zeros_like(labels), np.zeros((folds, int(labels.max()) + 1), np.int64)
    for number in order[sizes[order].argsort(descending=True, stable=True)].tolist():
        classes = labels[members[number]].numpy()
        chosen = np.lexsort((held.sum(1), held[:, classes].sum(1)))[0]
        fold[members[number]] = int(chosen)
        np.add.at(held[chosen], classes, 1)
    return fold


def fold_split(known: SplitImages, folds: int, number: int, seed: int) -> SplitImages:
    """Return the images with one fold for validation, and all others for training.

    The fingerprint is of its own, so that a run of one fold is not mistaken for a run of another or of the usual split.

    Args:
        known: All training and validation images, however they are split; with groups, each group is in one fold.
        folds: Number of folds, at least 2.
        number: Number of the fold that is held out, from 0.
        seed: Seed of the assignment.
    """
    fold = _assigned(known, folds, seed)
    name = f"{known.fingerprint} fold {number} of {folds}, seed {seed}{'' if known.groups is None else ', grouped'}"
    return replace(
        known,
        train=(fold != number).nonzero().squeeze(1),
        validation=(fold == number).nonzero().squeeze(1),
        fingerprint=hashlib.sha256(name.encode()).hexdigest(),
    )


def check_folds(known: SplitImages, folds: int, seed: int) -> None:
    """Raise RecipeError unless every fold has images and leaves some of every class.

    There must be at least two folds, and an image of every class for each. Groups of near duplicates may still be too
    few or too large. Arguments as ``fold_split``.
    """
    labels = known.images.labels
    counts = torch.bincount(labels)
    least = int(counts[counts > 0].min())
    if not 2 <= folds <= least:
        raise RecipeError(f"folds: expected 2 to {least:,}, the images of the smallest class, found {folds}")
    if known.groups is None:
        return
    places = _assigned(known, folds, seed) * len(counts) + labels
    held = torch.bincount(places, minlength=folds * len(counts)).view(folds, -1)
    gone = ((held == counts) & (counts > 0)).any(0).nonzero().flatten().tolist()
    if gone or not held.any(1).all():
        found = f"all of {shown(known.class_names[gone[0]])} in one fold" if gone else "a fold without images"
        raise RecipeError(
            f"folds: expected groups of near duplicates that fill {folds} folds and leave images of every class, "
            f"found {found}; choose fewer folds, or --data.split stratified"
        )


def _assigned(known: SplitImages, folds: int, seed: int) -> Int64[Tensor, " n"]:
    labels, groups = known.images.labels, known.groups
    return assign_folds(labels, folds, seed) if groups is None else assign_groups(labels, groups, folds, seed)
