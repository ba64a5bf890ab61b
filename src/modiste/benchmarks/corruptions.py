"""Accuracy on corrupted images, by kind and severity; mean corruption error (Hendrycks and Dietterich, 2019)."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import mean

import numpy as np
import torch

from modiste.benchmarks.corrupted_images import CORRUPTIONS, SEVERITIES, every_corruption, grey
from modiste.benchmarks.result import Figure, Findings, Published
from modiste.benchmarks.settings import Settings
from modiste.benchmarks.subjects import Candidates, Subjects
from modiste.display import Table, percent
from modiste.evaluation.ensemble import seedless
from modiste.evaluation.metrics import accuracy
from modiste.evaluation.statistics import wilson_interval
from modiste.recipes import named
from modiste.recipes.recipe import Recipe

BASELINE = "paper"
"""The recipe whose errors the mean corruption error is relative to."""
MEAN_ERROR = "mean corruption error"
PUBLISHED = (
    Published(
        "accuracy on Fashion-MNIST-C",
        "not comparable: it draws one corruption for each image, unseeded",
        "Weiss and Tonella, 2022, Simple techniques work surprisingly well for neural network test "
        "prioritization and active learning",
    ),
)
Accuracies = Mapping[str, Sequence[float]]
"""Of one run: by kind, at each severity."""


def check_runs(settings: Settings, candidates: Candidates) -> None:
    """Raise DataError if the images have several channels."""
    grey(candidates.images.images.cpu().numpy())


def measure(subjects: Subjects, settings: Settings) -> Findings:
    """Measure accuracy under all corruptions.

    The mean corruption error of a run is the mean over kinds of its errors at all severities, divided by the errors of
    the baseline: the runs of recipe ``paper`` among the subjects. Without such runs it is left out.

    Raises:
        DataError: The images have several channels.
    """
    found = subjects.found
    table, digest = _accuracies(subjects)
    clean = [accuracy(logits, found.labels) for logits in found.logits]
    baseline = [one for one, run in zip(table, found.runs, strict=True) if is_baseline(run.recipe)]
    relative = [relative_errors(one, baseline) for one in table]
    figures = tuple(map(_figures, clean, table, relative, [len(found.labels)] * len(table)))
    details = tuple({"accuracy": one, "corruption_error": errors} for one, errors in zip(table, relative, strict=True))
    names = [str(run.folder) for run in found.runs]
    tables = [_by_kind(names, table), *(_by_severity(name, one) for name, one in zip(names, table, strict=True))]
    notes = {"baseline": f"{len(baseline)} run(s) of recipe {BASELINE}" if baseline else None}
    return Findings(figures=figures, details=details, tables=tuple(tables), settings={"images_sha256": digest, **notes})


def is_baseline(recipe: Recipe) -> bool:
    """Return whether a recipe is ``paper`` unchanged, but for seed and precision."""
    paper = named.get(BASELINE)
    return seedless(replace(recipe, precision=paper.precision)) == seedless(paper)


def _accuracies(subjects: Subjects) -> tuple[list[Accuracies], str]:
    """Return the accuracies of each run, and the hash of all corrupted images in their order."""
    labels, digest = subjects.found.labels, hashlib.sha256()
    table: list[dict[str, list[float]]] = [{kind: [] for kind in CORRUPTIONS} for _ in subjects.found.runs]
    for kind, _, images in every_corruption(grey(subjects.images.images.cpu().numpy())):
        digest.update(np.ascontiguousarray(images).data)
        batch = torch.from_numpy(images)[:, None]
        for number, row in enumerate(table):
            row[kind].append(accuracy(subjects.logits(number, batch), labels))
    return [{kind: tuple(values) for kind, values in row.items()} for row in table], digest.hexdigest()


def relative_errors(one: Accuracies, baseline: list[Accuracies]) -> dict[str, float]:
    """Return the corruption error of each kind; empty without a baseline, or if that makes no error."""
    if not baseline:
        return {}
    usual = {kind: mean(sum(1 - value for value in other[kind]) for other in baseline) for kind in one}
    if not all(usual.values()):
        return {}
    return {kind: sum(1 - value for value in values) / usual[kind] for kind, values in one.items()}


def _figures(clean: float, one: Accuracies, errors: dict[str, float], images: int) -> dict[str, Figure]:
    worst = min(one, key=lambda kind: mean(one[kind]))
    found = {
        "clean accuracy": Figure(clean, wilson_interval(round(clean * images), images)),
        "mean accuracy, corrupted": Figure(mean(mean(values) for values in one.values())),
        "accuracy, worst kind": Figure(mean(one[worst])),
    }
    if errors:
        found[MEAN_ERROR] = Figure(mean(errors.values()))
    return found


def _by_kind(names: list[str], table: list[Accuracies]) -> Table:
    rows = [[kind, *(percent(mean(one[kind])) for one in table)] for kind in CORRUPTIONS]
    return Table("Accuracy by kind, mean of the five severities", rows, ("corruption", *names))


def _by_severity(name: str, one: Accuracies) -> Table:
    rows = [[kind, *map(percent, values)] for kind, values in one.items()]
    return Table(f"Accuracy by kind and severity, {name}", rows, ("corruption", *map(str, SEVERITIES)))
