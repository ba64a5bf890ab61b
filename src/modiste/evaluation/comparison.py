"""Comparison of finished runs: their differences in accuracy, how certain these are, and on which images they occur."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from modiste.display import Displayed, Table, percent
from modiste.errors import RunError
from modiste.evaluation.assessment import Split, Weights
from modiste.evaluation.ensemble import MeasuredRuns, measure_runs, seedless
from modiste.evaluation.statistics import Difference, crossed_difference, mean_interval, paired_difference, spread
from modiste.evaluation.two_samples import holm
from modiste.recipes.plain import differences, flatten, to_plain
from modiste.recipes.recipe import Recipe
from modiste.runs.run_folder import Run, open_run

LEVEL = 0.05
"""Significance level: two sides differ if the adjusted p-value is below it."""
SHOWN_FIELDS = 3
"""Number of recipe fields in the name of a side, unless the names would then be equal."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """The runs of one recipe, with different seeds.

    Attributes:
        name: Name of the recipe. If several sides share it, the fields in which they differ follow; if there are
            several seeds, their number.
        folders: Folders of the runs.
        seeds: Seeds of the runs.
        accuracies: Accuracies of the runs.
        mean: Mean of the accuracies.
        deviation: Standard deviation of the accuracies; None for a single run.
        interval: Student's 95 % interval of the mean accuracy over seeds, on these images; None for a single run.
    """

    name: str
    folders: tuple[str, ...]
    seeds: tuple[int, ...]
    accuracies: tuple[float, ...]
    mean: float
    deviation: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """The comparison of two sides on the same images, over the seeds that both have.

    Attributes:
        first: Name of the first side.
        second: Name of the second side.
        recipe_differences: Fields in which the recipes differ, except name and seed, with both values.
        seeds: Those that both sides have.
        difference: Accuracy of the first minus accuracy of the second, its 95 % interval, and its p-value.
        adjusted_p_value: The p-value adjusted for all contrasts of the comparison (Holm, 1979).
        per_class: Difference in recall by class name; None for a class without images.
        first_alone: Positions of the images that, with more than half of the seeds, only the first classifies
            correctly.
        second_alone: The same for the second.
    """

    first: str
    second: str
    recipe_differences: tuple[str, ...]
    seeds: tuple[int, ...]
    difference: Difference
    adjusted_p_value: float
    per_class: dict[str, float | None]
    first_alone: tuple[int, ...]
    second_alone: tuple[int, ...]

    @property
    def verdict(self) -> str:
        """The result of the comparison as a sentence."""
        found, better, worse = self.difference, self.first, self.second
        size, (low, high) = found.difference, found.interval
        if size < 0:
            size, low, high, better, worse = -size, -high, -low, worse, better
        doubt = f"95 % interval {_points(low)} to {_points(high)}, p {_p(self.adjusted_p_value)}"
        if self.adjusted_p_value < LEVEL:
            return f"{better} is better than {worse}: {_points(size)} points, {doubt}"
        return f"no difference shown: {better} before {worse} by {_points(size)} points, {doubt}"


@dataclass(frozen=True, kw_only=True, repr=False)
class Comparison(Displayed):
    """The result of comparing runs.

    Attributes:
        split: ``validation`` or ``test``.
        images: Number of images.
        sides: In the order of their first runs.
        contrasts: Contrasts of each side with each later one; empty if all runs have the same recipe.
        wrong_in_any: Number of images that at least one run misclassifies.
        wrong_in_all: Number of images that every run misclassifies.
    """

    split: Split
    images: int
    sides: tuple[Side, ...]
    contrasts: tuple[Contrast, ...]
    wrong_in_any: int
    wrong_in_all: int

    def as_plain(self) -> dict[str, Any]:
        """Return the same, verdicts included, as dictionaries, lists, numbers and strings."""
        plain = dataclasses.asdict(self)
        for row, contrast in zip(plain["contrasts"], self.contrasts, strict=True):
            row["verdict"] = contrast.verdict
        return plain

    def table(self) -> Table:
        """Return each side's mean accuracy with its interval, and the verdict of each contrast."""
        rows = [
            [
                side.name,
                percent(side.mean),
                "" if side.deviation is None else percent(side.deviation),
                "" if side.interval is None else " to ".join(map(percent, side.interval)),
                str(len(side.seeds)),
            ]
            for side in self.sides
        ]
        header = ("recipe", "accuracy", "sd", "95 % interval", "seeds")
        verdicts = [contrast.verdict for contrast in self.contrasts]
        return Table(f"{self.split}, {self.images:,} images", rows, header, verdicts)


def compare(
    folders: Sequence[Path | str],
    *,
    split: Split = "validation",
    weights: Weights = "picked",
    device: str = "auto",
    data_folder: Path | str | None = None,
) -> Comparison:
    """Compare finished runs. Runs of one recipe with different seeds form one side.

    Two sides with one seed in common are compared by the images that only one of them classifies correctly (McNemar).
    The result holds for these two runs, not for their recipes. Two sides with more seeds in common are compared over
    seeds and images (``statistics.crossed_difference``); this result holds for the recipes. P-values of several
    contrasts are adjusted by Holm's method. If all runs have the same recipe, the result is their mean accuracy with
    its standard deviation and interval.

    Example::

        print(modiste.compare(["runs/paper", "runs/sprint"]).contrasts[0].verdict)

    Args:
        folders: The run folders, at least two.
        split: ``validation`` or ``test``; see ``evaluate``, also for the other arguments.
        weights: ``picked`` or ``last``.
        device: Where the logits are computed.
        data_folder: Folder of Fashion-MNIST, or of data that have moved.

    Raises:
        RunError: There are fewer than two runs, a run is given twice, sides have no seed in common, a run is unfinished
            or damaged, the runs were evaluated on different images, or there is a single image for several seeds.
        DataError: The images are missing or damaged.
        MissingExtraError: There are several seeds, and SciPy is not installed.
    """
    paths = different_paths(folders)
    runs = [open_run(path) for path in paths]
    _check_sides(runs)  # before the test set is opened
    if len(groups_by_recipe(runs)[0]) < len(runs):
        mean_interval((0.0, 1.0))  # needs SciPy: an error now, and not after the test set has been counted
    check = partial(_check_sides, runs)
    found = measure_runs(paths, split=split, weights=weights, device=device, data_folder=data_folder, check=check)
    return compare_measured(found, split)


def compare_measured(found: MeasuredRuns, split: Split) -> Comparison:
    """Compare runs that were measured on the same images; see ``compare``."""
    _check_sides(found.runs, len(found.labels))
    correct = torch.stack([logits.argmax(1) == found.labels for logits in found.logits])
    groups, names = groups_by_recipe(found.runs)
    return Comparison(
        split=split,
        images=len(found.labels),
        sides=tuple(_side(found, group, name) for group, name in zip(groups, names, strict=True)),
        contrasts=_contrasts(found, correct, groups, names),
        wrong_in_any=int((~correct).any(0).sum()),
        wrong_in_all=int((~correct).all(0).sum()),
    )


def different_paths(folders: Sequence[Path | str]) -> list[Path]:
    """Return the folders as paths; RunError if there is only one, or one of them twice."""
    paths = [Path(folder) for folder in folders]
    if len({path.resolve() for path in paths}) < len(paths):
        raise RunError("a run is named twice; give each run folder once")
    if len(paths) < 2:
        raise RunError(f"nothing to compare: expected at least 2 runs, found {len(paths)}")
    return paths


def _check_sides(runs: Sequence[Run], images: int | None = None) -> None:
    """Raise RunError unless each recipe has a seed once, and two recipes have seeds in common.

    Args:
        runs: The runs.
        images: Number of images, if it is known. A single one is refused where two recipes have several common seeds.
    """
    groups, names = groups_by_recipe(runs)
    for one, other in combinations(range(len(groups)), 2):
        common = _common_seeds(runs, (groups[one], groups[other]), (names[one], names[other]))
        if images == 1 and len(common) > 1:
            raise RunError(
                f"{names[one]} and {names[other]}: {len(common)} seeds in common, expected at least 2 images, found 1; "
                "measure on more images, or compare one run of each"
            )


def groups_by_recipe(runs: Sequence[Run]) -> tuple[list[list[int]], list[str]]:
    """Return the positions of the runs that differ only in the seed, and their names; RunError for a seed twice."""
    groups: dict[Recipe, list[int]] = {}
    for position, run in enumerate(runs):
        group = groups.setdefault(seedless(run.recipe), [])
        twin = next((runs[other] for other in group if runs[other].recipe.seed == run.recipe.seed), None)
        if twin:
            raise RunError(f"{run.folder}: the same recipe and seed as {twin.folder}; give only one of them")
        group.append(position)
    names = [_counted(name, len(group)) for name, group in zip(_names(list(groups)), groups.values(), strict=True)]
    return list(groups.values()), names


def _names(recipes: Sequence[Recipe]) -> list[str]:
    """Return the names of the sides: of their recipes, with the fields that differ if several recipes share a name."""
    short = [_name(recipe, recipes, SHOWN_FIELDS) for recipe in recipes]
    return short if len(set(short)) == len(short) else [_name(recipe, recipes, None) for recipe in recipes]


def _counted(name: str, seeds: int) -> str:
    """Return the name of a side with its number of seeds, if it has several."""
    if seeds == 1:
        return name
    return f"{name.removesuffix(')')}, {seeds} seeds)" if name.endswith(")") else f"{name} ({seeds} seeds)"


def _name(recipe: Recipe, recipes: Sequence[Recipe], most: int | None) -> str:
    """Return a recipe's name, with at most ``most`` of the fields that differ from recipes of the same name."""
    own = dict(flatten(to_plain(recipe)))
    others = [dict(flatten(to_plain(other))) for other in recipes if other.name == recipe.name]
    fields = [f"{name} {value}" for name, value in own.items() if any(other.get(name) != value for other in others)]
    return f"{recipe.name} ({', '.join(fields[:most])})" if fields else recipe.name


def _side(found: MeasuredRuns, group: list[int], name: str) -> Side:
    """Return the side formed by the runs at these positions."""
    accuracies = tuple(found.assessments[position].accuracy for position in group)
    over_seeds = spread(accuracies)
    return Side(
        name=name,
        folders=tuple(str(found.runs[position].folder) for position in group),
        seeds=tuple(found.runs[position].recipe.seed for position in group),
        accuracies=accuracies,
        mean=over_seeds.mean,
        deviation=over_seeds.deviation,
        interval=over_seeds.interval,
    )


def _contrasts(
    found: MeasuredRuns, correct: Bool[Tensor, "runs n"], groups: list[list[int]], names: list[str]
) -> tuple[Contrast, ...]:
    """Compare each side with each later one; p-values are adjusted for all of these contrasts."""
    raw = [
        _contrast(found, correct, (groups[one], groups[other]), (names[one], names[other]))
        for one, other in combinations(range(len(groups)), 2)
    ]
    adjusted = holm([contrast.difference.p_value for contrast in raw])
    return tuple(replace(one, adjusted_p_value=p) for one, p in zip(raw, adjusted, strict=True))


def _contrast(
    found: MeasuredRuns, correct: Bool[Tensor, "runs n"], sides: tuple[list[int], list[int]], names: tuple[str, str]
) -> Contrast:
    """Compare two sides over the seeds that both have; the p-value is not adjusted yet."""
    common = _common_seeds(found.runs, sides, names)
    one, other = (correct[list(positions)] for positions in zip(*common.values(), strict=True))
    table = one.long() - other.long()
    difference = _difference(table)
    recipes = [seedless(found.runs[side[0]].recipe) for side in sides]
    return Contrast(
        first=names[0],
        second=names[1],
        recipe_differences=tuple(line for line in differences(*recipes) if not line.startswith("name: ")),
        seeds=tuple(common),
        difference=difference,
        adjusted_p_value=difference.p_value,
        per_class=_per_class(table, found.labels, found.class_names),
        first_alone=_with_most(table > 0),
        second_alone=_with_most(table < 0),
    )


def _common_seeds(
    runs: Sequence[Run], sides: tuple[list[int], list[int]], names: tuple[str, str]
) -> dict[int, tuple[int, int]]:
    """Return the positions of both sides' runs by each seed that both have, ascending; RunError if there is none."""
    one, other = ({runs[position].recipe.seed: position for position in side} for side in sides)
    if not one.keys() & other.keys():
        raise RunError(f"{names[0]} and {names[1]}: no seed in common; train both with the same --seed")
    return {seed: (one[seed], other[seed]) for seed in sorted(one.keys() & other.keys())}


def _with_most(found: Bool[Tensor, "seeds n"]) -> tuple[int, ...]:
    """Return the positions of the images for which it is found with more than half of the seeds."""
    return tuple((2 * found.sum(0) > len(found)).nonzero().flatten().tolist())


def _difference(table: Int64[Tensor, "seeds n"]) -> Difference:
    """Return the difference of two sides: over seeds and images, or by McNemar's test for a single seed."""
    if len(table) > 1:
        return crossed_difference(table.double())
    return paired_difference(int((table > 0).sum()), int((table < 0).sum()), table.numel())


def _per_class(
    table: Int64[Tensor, "seeds n"], labels: Int64[Tensor, " n"], names: tuple[str, ...]
) -> dict[str, float | None]:
    """Return the difference in recall of each class; None for a class without images."""
    by_image = table.double().mean(0)
    return {
        name: float(by_image[labels == label].mean()) if (labels == label).any() else None
        for label, name in enumerate(names)
    }


def _points(share: float) -> str:
    return f"{100 * share:.2f}"


def _p(value: float) -> str:
    return f"= {value:.3f}" if value >= 0.001 else "< 0.001"
