"""Training with wrong labels: the accuracy that a recipe keeps when a stated share of its training labels is wrong."""

import hashlib
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from modiste import machine
from modiste.benchmarks.result import Figure, Findings
from modiste.benchmarks.settings import Settings
from modiste.benchmarks.subjects import Candidates, Subjects
from modiste.data.dataset import Development, shown_once, with_extra
from modiste.evaluation.inference import infer
from modiste.evaluation.metrics import accuracy, confusion
from modiste.evaluation.run_images import load_own_development
from modiste.evaluation.statistics import wilson_interval
from modiste.recipes.plain import demand
from modiste.recipes.recipe import Recipe
from modiste.runs import manifest, run_folder
from modiste.runs.run_folder import Run
from modiste.training import trainer
from modiste.training.setup import Inputs, check_complete


def check(settings: Settings) -> None:
    """Raise RecipeError if the share is out of range."""
    demand(0 < settings.share < 1, "share", "a number between 0 and 1, such as 0.2", settings.share)


def check_runs(settings: Settings, candidates: Candidates) -> None:
    """Raise RecipeError if a run learned from a teacher or from another run's weights, or no label would be wrong."""
    for run in candidates.runs:
        check_complete(run.recipe, "the benchmark noise")
    for run in candidates.runs:
        development = load_own_development(run, candidates.data_folder)
        number_wrong(settings.share, len(shown_once(development.train, run.recipe.data)))


def measure(subjects: Subjects, settings: Settings) -> Findings:
    """Train each run's recipe again with wrong labels, and measure it on the images of the split.

    The new runs lie in ``settings.noisy_runs``. The same call continues after an interruption. Validation labels stay
    as they are, so that the selected epoch is that of a person who checked those alone. On test the evaluation is
    counted in the new run too.

    Raises:
        DataError: The images are missing or damaged.
        RunError: The folder of a new run holds another run.
        DivergedError, StoppedError, StorageError: As in training.
    """
    details = [_of_run(subjects, number, settings) for number in range(len(subjects))]
    return Findings(
        figures=tuple(_figures(one, len(subjects.found.labels)) for one in details),
        details=tuple(details),
        settings={"share": settings.share, "wrong": settings.wrong},
    )


def number_wrong(share: float, labels: int) -> int:
    """Return how many of so many labels become wrong; RecipeError if none does."""
    number = round(share * labels)
    demand(number > 0, "share", f"one that makes a label of {labels:,} wrong", share)
    return number


def wrong_labels(
    labels: Int64[Tensor, " n"], share: float, chances: Float[Tensor, "classes classes"], draw: torch.Generator
) -> Int64[Tensor, " n"]:
    """Return the labels, a share of them replaced by the label of another class.

    Args:
        labels: Labels of the images.
        share: Share of the labels that become wrong, 0 to 1; rounded to whole images.
        chances: For each class (row), the weight of each wrong class; the diagonal does not count.
        draw: Draws images and classes.

    Raises:
        RecipeError: No label would be wrong.
    """
    chosen = torch.randperm(len(labels), generator=draw)[: number_wrong(share, len(labels))]
    others = chances.double().clone().fill_diagonal_(0)
    others[others.sum(1) == 0] = 1  # a class that is never confused gets any other class
    others.fill_diagonal_(0)
    changed = labels.clone()
    changed[chosen] = torch.multinomial(others[labels[chosen]], 1, generator=draw)[:, 0]
    return changed


def with_wrong_labels(
    development: Development, share: float, chances: Float[Tensor, "classes classes"], recipe: Recipe
) -> Development:
    """Return the images with wrong training labels, and a fingerprint of their own; see ``wrong_labels``.

    The recipe's seed draws them. An image that an epoch shows several times has one label.
    """
    train, draw = development.train, machine.generator(recipe.seed, "wrong labels")
    once = wrong_labels(shown_once(train, recipe.data).labels.cpu(), share, chances, draw)
    labels = once.repeat(len(train) // len(once))
    fingerprint = hashlib.sha256(development.fingerprint.encode() + labels.numpy().tobytes()).hexdigest()
    return replace(development, train=replace(train, labels=labels.to(train.labels.device)), fingerprint=fingerprint)


def _of_run(subjects: Subjects, number: int, settings: Settings) -> dict[str, Any]:
    """Train a run's recipe with wrong labels, and return the accuracy of both."""
    run, found = subjects.found.runs[number], subjects.found
    known = run.measured()
    chances = confusion(known.logits, known.labels).double()
    if settings.wrong == "symmetric":
        chances = torch.ones_like(chances)
    right = load_own_development(run, subjects.data_folder)
    if run.recipe.data.extra:
        right = with_extra(right, run.recipe.data)
    once = shown_once(right.train, run.recipe.data)
    wrong = with_wrong_labels(right, settings.share, chances, run.recipe)
    folder = settings.noisy_runs / _name(run, settings)
    trainer.train(run.recipe, folder, Inputs(wrong), device=str(subjects.device))
    noisy = run_folder.open_run(folder)
    logits = infer(noisy.load_model()[0].to(subjects.device), subjects.images.images.to(subjects.device), run.recipe)
    if subjects.split == "test":
        run_folder.keep(noisy, {}, openings=1)
    before, after = (accuracy(one, found.labels) for one in (found.logits[number], logits))
    return {
        "accuracy_right_labels": before,
        "accuracy_wrong_labels": after,
        "share_kept": after / before if before else 0.0,
        "wrong_labels": int((right.train.labels != wrong.train.labels).sum()) * len(once) // len(right.train),
        "folder": str(folder),
    }


def _name(run: Run, settings: Settings) -> str:
    """Return the name of the new run's folder; its end tells runs of one name apart, by their weights."""
    weights = manifest.read(run.folder)[0][run_folder.WEIGHTS["picked"]][:8]
    return f"{run.recipe.name}-{run.recipe.seed}-{settings.wrong}-{settings.share:g}-{weights}"


def _figures(one: dict[str, Any], images: int) -> dict[str, Figure]:
    before, after = one["accuracy_right_labels"], one["accuracy_wrong_labels"]
    return {
        "right labels": Figure(before, wilson_interval(round(before * images), images)),
        "wrong labels": Figure(after, wilson_interval(round(after * images), images)),
        "share kept": Figure(one["share_kept"]),
    }
