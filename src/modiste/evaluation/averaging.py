"""Test-time averaging: what a finished run gains by averaging the logits of several views of each image."""

import dataclasses
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jaxtyping import Float, Int64
from torch import Tensor

from modiste.display import Displayed, Table, percent
from modiste.evaluation import metrics
from modiste.evaluation.assessment import Weights, infer_run, load_split
from modiste.evaluation.calibration import fit_temperature
from modiste.recipes.recipe import Recipe
from modiste.runs.run_folder import open_run

CHOICES = ((False, 0), (True, 0), (False, 1), (True, 1), (False, 2), (True, 2))
"""Values of ``mirror`` and ``shifts`` that are compared."""


@dataclass(frozen=True, kw_only=True)
class Averaged:
    """The measures of one way to average.

    Attributes:
        mirror: Whether mirror images are averaged in.
        shifts: Number of pixels of the moves that are averaged in, 0 for none.
        passes: Forward passes for each image.
        accuracy: On validation.
        calibrated_loss: Mean cross-entropy on validation after temperature scaling, in nats.
        mended: Number of images that the run's own way classifies wrongly, and this one correctly.
        spoiled: Number of images for which it is the other way round.
    """

    mirror: bool
    shifts: int
    passes: int
    accuracy: float
    calibrated_loss: float
    mended: int
    spoiled: int


@dataclass(frozen=True, kw_only=True, repr=False)
class AveragingComparison(Displayed):
    """A run on validation with several ways to average over views of each image.

    Attributes:
        folder: Folder of the run.
        weights: ``picked``, ``last`` or ``snapshots``.
        images: Number of validation images.
        own: The way of the run's recipe.
        ways: All ways, the run's own among them.
    """

    folder: str
    weights: Weights
    images: int
    own: Averaged
    ways: tuple[Averaged, ...]

    def as_plain(self) -> dict[str, Any]:
        """Return the same as dictionaries, lists, numbers and strings."""
        return dataclasses.asdict(self)

    def table(self) -> Table:
        """Return the figures of each way; a star marks the run's own."""
        rows = [
            [
                f"{'mirror' if way.mirror else 'no mirror'}, {f'shifts of {way.shifts}' if way.shifts else 'no shifts'}"
                + (" *" if way == self.own else ""),
                str(way.passes),
                percent(way.accuracy),
                f"{way.calibrated_loss:.4f}",
                str(way.mended),
                str(way.spoiled),
            ]
            for way in self.ways
        ]
        title = f"{self.folder}, validation, {self.images:,} images, {self.weights} weights"
        note = "* the run's own; mended and spoiled images are counted against it. The run was not changed."
        return Table(
            title, rows, ("averaged over", "passes", "accuracy", "calibrated loss", "mended", "spoiled"), [note]
        )


def compare_averaging(
    folder: Path | str,
    *,
    weights: Weights = "picked",
    device: str = "auto",
    data_folder: Path | str | None = None,
) -> AveragingComparison:
    """Measure a finished run on validation with several ways to average over views, and leave the run as it is.

    A way that helps is a recipe's ``mirror`` and ``shifts``: a run trained with them uses it everywhere. The
    computation takes as long as 33 passes over the validation images.

    Args:
        folder: The run folder.
        weights: ``picked``, ``last`` or ``snapshots``; see ``evaluate``.
        device: Where the logits are computed.
        data_folder: Folder of Fashion-MNIST, or of data that have moved.

    Raises:
        RunError: The run is unfinished or damaged, or the data are not those that it was trained on.
        DataError: The images are missing or damaged.

    Example::

        print(compare_averaging("runs/sprint"))
    """
    run = open_run(folder)
    known, recipe = load_split(run, "validation", data_folder), run.recipe
    changed = [replace(recipe, mirror=mirror, shifts=shifts) for mirror, shifts in CHOICES]
    recipes = changed if recipe in changed else [recipe, *changed]
    logits = [infer_run(replace(run, recipe=one), known.images, weights, device) for one in recipes]
    own = recipes.index(recipe)
    ways = [_averaged(one, found, logits[own], known.labels) for one, found in zip(recipes, logits, strict=True)]
    return AveragingComparison(folder=str(folder), weights=weights, images=len(known), own=ways[own], ways=tuple(ways))


def _averaged(
    recipe: Recipe, logits: Float[Tensor, "n k"], own: Float[Tensor, "n k"], labels: Int64[Tensor, " n"]
) -> Averaged:
    right, before = (one.argmax(1) == labels for one in (logits, own))
    return Averaged(
        mirror=recipe.mirror,
        shifts=recipe.shifts,
        passes=recipe.views.passes,
        accuracy=metrics.accuracy(logits, labels),
        calibrated_loss=metrics.cross_entropy(logits.double() / fit_temperature(logits, labels), labels),
        mended=int((right & ~before).sum()),
        spoiled=int((before & ~right).sum()),
    )
