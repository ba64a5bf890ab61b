"""Several finished runs on the same images: each by itself with their mean, or the ensemble of their probabilities."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from jaxtyping import Float, Int64
from torch import Tensor

from modiste.data.locations import FASHION_MNIST
from modiste.display import Displayed, Table, percent
from modiste.errors import RunError
from modiste.evaluation import metrics
from modiste.evaluation.assessment import (
    Assessment,
    Measurement,
    Split,
    Weights,
    assess,
    class_names,
    keep,
    load_split,
    measure,
)
from modiste.evaluation.predictions import check_path, write_predictions
from modiste.evaluation.statistics import Spread, mean_interval, spread
from modiste.recipes.plain import differences
from modiste.recipes.recipe import DECODERS, Recipe
from modiste.runs.run_folder import Run, open_run

PREPARATION = ("pictures", "side", "colour", "background", "transpose")
"""Fields of the data recipe that say what images become; the decoder is apart, for it hardly changes them."""


@dataclass(frozen=True, kw_only=True, repr=False)
class SeedAssessments(Displayed):
    """Several runs of one recipe, each evaluated by itself on the same images.

    Attributes:
        recipe: The recipe's name.
        folders: Folders of the runs.
        seeds: Seeds of the runs.
        runs: The measures of each run.
        spread: Mean accuracy over the runs, with deviation and Student's 95 % interval over seeds, on these images.
    """

    recipe: str
    folders: tuple[str, ...]
    seeds: tuple[int, ...]
    runs: tuple[Assessment, ...]
    spread: Spread

    def table(self) -> Table:
        """Return the accuracy of each run with its interval, and their mean."""
        rows = [
            [folder, str(seed), percent(run.accuracy), " to ".join(map(percent, run.accuracy_interval))]
            for folder, seed, run in zip(self.folders, self.seeds, self.runs, strict=True)
        ]
        header = ("run", "seed", "accuracy", "95 % interval")
        title = f"{self.recipe}, {self.runs[0].split}, {self.runs[0].images:,} images"
        return Table(title, rows, header, [f"mean of {len(rows)} seeds: {self.spread}"])

    def as_plain(self) -> dict[str, Any]:
        """Return the same as dictionaries, lists, numbers and strings; the parts of the spread by their names."""
        plain: dict[str, Any] = dataclasses.asdict(self)
        parts: dict[str, Any] = plain.pop("spread")
        return plain | parts


def evaluate_seeds(
    folders: Sequence[Path | str],
    *,
    split: Split = "validation",
    weights: Weights = "picked",
    device: str = "auto",
    data_folder: Path | str | None = None,
) -> SeedAssessments:
    """Evaluate several runs that differ only in the seed, each by itself, and return their mean accuracy too.

    With ``split="test"``, this counts as an evaluation on test for each of them.

    Example::

        print(evaluate_seeds(["runs/sprint-0", "runs/sprint-1", "runs/sprint-2"]).spread)

    Args:
        folders: The run folders.
        split: ``validation`` or ``test``.
        weights: See ``evaluate``.
        device: Where the logits are computed.
        data_folder: See ``evaluate``.

    Raises:
        RunError: A run is unfinished or damaged, two differ in more than the seed or have the same, or the runs were
            not evaluated on the same images.
        DataError: The images are missing or damaged.
        MissingExtraError: SciPy is not installed.
    """
    check_seeds_alone([open_run(folder) for folder in folders])
    if len(folders) > 1:
        mean_interval((0.0, 1.0))  # needs SciPy: an error now, and not after the test set has been counted
    found = measure_runs(folders, split=split, weights=weights, device=device, data_folder=data_folder)
    return SeedAssessments(
        recipe=found.runs[0].recipe.name,
        folders=tuple(str(run.folder) for run in found.runs),
        seeds=tuple(run.recipe.seed for run in found.runs),
        runs=found.assessments,
        spread=spread([one.accuracy for one in found.assessments]),
    )


def check_seeds_alone(runs: Sequence[Run]) -> None:
    """Raise RunError unless the runs have different seeds and nothing else differs."""
    by_seed: dict[int, Run] = {}
    for run in runs:
        if changes := differences(seedless(runs[0].recipe), seedless(run.recipe)):
            raise RunError(
                f"{run.folder}: another recipe than {runs[0].folder} ({'; '.join(changes[:3])}); the mean is for runs "
                "that differ only in the seed; compare these (modiste compare), or evaluate them as one (--ensemble)"
            )
        if twin := by_seed.get(run.recipe.seed):
            raise RunError(f"{run.folder}: the same recipe and seed as {twin.folder}; give only one of them")
        by_seed[run.recipe.seed] = run


def check_preparation(runs: Sequence[Run], fields: Sequence[str] = PREPARATION) -> None:
    """Raise RunError unless these fields of the data recipe are the same for all runs."""
    first = runs[0]
    for run in runs[1:]:
        for field in fields:
            own, other = getattr(first.recipe.data, field), getattr(run.recipe.data, field)
            if own != other:
                raise RunError(
                    f"{run.folder}: data.{field} is {other}, that of {first.folder} is {own}; expected runs that "
                    "prepare pictures in one way; leave one of them out"
                )


def seedless(recipe: Recipe) -> Recipe:
    """Return the recipe with seed 0, the same for all runs that differ only in the seed.

    The decoder of picture files is today's where there are no picture files, so that it tells no runs apart.
    """
    data = recipe.data
    if data.source == FASHION_MNIST and not data.extra:
        data = replace(data, decoder=DECODERS[-1])
    return replace(recipe, seed=0, data=data)


def evaluate_together(
    folders: Sequence[Path | str],
    *,
    split: Split = "validation",
    weights: Weights = "picked",
    device: str = "auto",
    data_folder: Path | str | None = None,
    predictions: Path | str | None = None,
) -> Assessment:
    """Evaluate the ensemble of finished runs: the mean of their probabilities.

    Each run is also evaluated by itself. With ``split="test"``, this counts as an evaluation on test for each of them.

    Args:
        folders: The run folders.
        split: ``validation`` or ``test``.
        weights: See ``evaluate``.
        device: Where the logits are computed.
        data_folder: See ``evaluate``.
        predictions: See ``evaluate``; the predictions are the ensemble's.

    Returns:
        The measures of the ensemble. Its ``test_openings`` is the largest of the runs'.

    Raises:
        RunError: A run is unfinished or damaged, or the runs were not evaluated on the same images.
        DataError: The images are missing or damaged.
    """
    if predictions is not None:
        check_path(predictions)
    found = measure_runs(folders, split=split, weights=weights, device=device, data_folder=data_folder)
    logits = metrics.ensemble_logits(found.logits)
    if predictions is not None:
        write_predictions(predictions, logits, found.labels, found.class_names)
    return found.assess(logits)


@dataclass(frozen=True)
class MeasuredRuns:
    """Finished runs evaluated on the same images.

    Attributes:
        split: That they were evaluated on.
        runs: In the order of the folders.
        assessments: Assessments of each run by itself.
        logits: Logits of each run.
        labels: Labels of the images.
        class_names: One per class, the same for all runs.
    """

    split: Split
    runs: tuple[Run, ...]
    assessments: tuple[Assessment, ...]
    logits: tuple[Float[Tensor, "n classes"], ...]
    labels: Int64[Tensor, " n"]
    class_names: tuple[str, ...]

    def assess(self, logits: Float[Tensor, "n classes"]) -> Assessment:
        """Return the measures of an ensemble's logits; its ``test_openings`` is the largest of the runs'."""
        openings = max(one.test_openings for one in self.assessments)
        circumstances = {"split": self.split, "weights": self.assessments[0].weights, "epoch": 0}
        return assess(logits, self.labels, self.class_names, **circumstances, test_openings=openings)


def measure_runs(
    folders: Sequence[Path | str],
    *,
    split: Split = "validation",
    weights: Weights = "picked",
    device: str = "auto",
    data_folder: Path | str | None = None,
    check: Callable[[int], None] = lambda _: None,
) -> MeasuredRuns:
    """Evaluate finished runs on the same images; arguments and errors as for ``evaluate_together``.

    ``check`` is called with the number of images, before logits on test are stored and counted; it may raise an error.
    """
    found = list[Measurement]()
    for folder in folders:
        find = partial(measure, folder, split=split, weights=weights, device=device, data_folder=data_folder)
        one = find()
        if len(folders) > 1 and not one.measured.images:  # an earlier version did not store which images these are of
            one = find(images=load_split(one.run, split, data_folder))
        found.append(one if split == "test" else keep(one))
    _check_same(found)
    check(len(found[0].measured.labels))
    return _together([keep(one) for one in found])


def read_measured_runs(folders: Sequence[Path | str], split: Split) -> MeasuredRuns:
    """Return finished runs with the logits stored in their folders; nothing is computed, and no opening is counted.

    Raises:
        RunError: A run is unfinished or damaged, was not measured on this split, or was measured on other images.
    """
    runs = [open_run(folder) for folder in folders]
    found = [Measurement(run, split, "picked", run.measured(split)) for run in runs]
    _check_same(found)
    return _together(found)


def _check_same(found: Sequence[Measurement]) -> None:
    """Raise RunError unless there is a measurement, and all are of the same images."""
    if not found:
        raise RunError("evaluation: expected at least one finished run, found none; give the folders of runs")
    for one in found:
        _check_same_images(found[0], one)


def _together(found: Sequence[Measurement]) -> MeasuredRuns:
    """Return measurements of the same images as one."""
    return MeasuredRuns(
        split=found[0].split,
        runs=tuple(one.run for one in found),
        assessments=tuple(one.assess() for one in found),
        logits=tuple(one.measured.logits for one in found),
        labels=found[0].measured.labels,
        class_names=class_names(found[0].run),
    )


def _check_same_images(one: Measurement, other: Measurement) -> None:
    """Raise RunError unless two runs have the same classes and were evaluated on the same images."""
    if class_names(one.run) != class_names(other.run):
        raise RunError(
            f"{other.run.folder}: has other classes than {one.run.folder}; compare runs that have the same classes"
        )
    if one.measured.images != other.measured.images or not one.measured.labels.equal(other.measured.labels):
        raise RunError(
            f"{other.run.folder}: measured on other images than {one.run.folder}, or in another order; compare runs "
            "with the same data and the same division (--data.split, --data.split-seed)"
        )
