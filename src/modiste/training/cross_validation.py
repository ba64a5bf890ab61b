"""Cross-validation: a recipe is trained once for each fold of the training and validation images, never of the test."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from modiste import machine
from modiste.data.dataset import SplitImages, development_of_split, load_split_images
from modiste.data.folds import check_folds, fold_split
from modiste.errors import RecipeError, RunError
from modiste.evaluation.statistics import Spread, fold_spread
from modiste.recipes.plain import to_plain
from modiste.recipes.recipe import Recipe
from modiste.runs import run_folder, storage
from modiste.training.distributed import check_alone
from modiste.training.setup import Inputs, Session, check_complete, open_session
from modiste.training.tracking import Listener
from modiste.training.trainer import train_in

RESULT = "cross-validation.json"
"""File with the result, in the folder of the cross-validation."""
METHOD = (
    "Student's 95 % interval of the mean with the variance as Nadeau and Bengio (2003) corrected it. The folds share "
    "training images, and no estimate of this variance is without bias (Bengio and Grandvalet, 2004)."
)


@dataclass(frozen=True, kw_only=True)
class CrossValidation:
    """The result of a cross-validation.

    Attributes:
        folder: Folder of the cross-validation, with a run for each fold.
        recipe: The recipe's name.
        folds: Number of folds.
        images: Number of images, each held out once.
        accuracies: Accuracy of each fold, of the epoch that the recipe selects.
        spread: Their mean with deviation and interval; see METHOD.
        seconds: How long this call took.
    """

    folder: Path
    recipe: str
    folds: int
    images: int
    accuracies: tuple[float, ...]
    spread: Spread
    seconds: float

    def as_plain(self) -> dict[str, Any]:
        """Return the same as dictionaries, lists, numbers and strings, with the method of the interval."""
        plain: dict[str, Any] = dataclasses.asdict(self) | {"folder": str(self.folder)}
        parts: dict[str, Any] = plain.pop("spread")
        return plain | parts | {"method": METHOD}


def cross_validate(
    recipe: Recipe,
    out: Path | str,
    *,
    folds: int = 10,
    device: str = "auto",
    data_folder: Path | str | None = None,
    listeners: Callable[[int], Sequence[Listener]] = lambda _fold: (),
) -> CrossValidation:
    """Train a recipe once for each fold, on all other folds, and return the accuracies on the folds held out.

    The folds are of the training and validation images together, with an even share of every class in each, dealt by
    ``data.split_seed``; where the split is ``grouped``, near duplicates share a fold. Fold k has the recipe's seed plus
    k. Start-up and images are paid once. Each fold is a run of its own in ``out``; the same call continues after an
    interruption. The result is also written to ``cross-validation.json``.

    Args:
        recipe: What to train. If it selects the best epoch, it does so on the fold held out, so that the accuracy is
            slightly too high; ``pick="last"`` is free of that.
        out: Folder of the cross-validation; made if missing.
        folds: Number of folds.
        device: ``auto``, ``cpu``, ``cuda`` ...
        data_folder: See ``modiste.train``.
        listeners: Returns the listeners of a fold.

    Raises:
        RecipeError: The number of folds is impossible, the recipe has extra pictures, teachers or weights of a run, or
            there are several processes.
        RunError: The folder holds runs of another recipe or of other images.
        MissingExtraError: SciPy is not installed.
        DataError, StorageError, DivergedError, FolderInUseError, StoppedError: As in training.

    Example::

        print(cross_validate(modiste.get_recipe("sprint"), "runs/sprint-folds").spread)
    """
    began, folder = time.perf_counter(), Path(out)
    check_alone("a cross-validation")
    if recipe.data.extra:
        raise RecipeError(f"data.extra: not possible in a cross-validation, found {recipe.data.extra}; leave it out")
    check_complete(recipe, "a cross-validation")
    fold_spread([0.0, 0.0], 1.0)  # without SciPy, an error now and not after the last fold
    known = load_split_images(recipe.data, data_folder)
    check_folds(known, folds, recipe.data.split_seed)
    with open_session(device) as session, storage.lock(folder):
        accuracies = []
        for number in range(folds):
            run = _run_fold(session, recipe, folder, known, (number, folds), listeners(number))
            accuracies.append(run.picked.validation_accuracy)
        result = CrossValidation(
            folder=folder,
            recipe=recipe.name,
            folds=folds,
            images=len(known.images),
            accuracies=tuple(accuracies),
            spread=fold_spread(accuracies, _held_out_share(known, folds, recipe.data.images_per_class)),
            seconds=time.perf_counter() - began,
        )
        storage.write_json(folder / RESULT, result.as_plain() | {"fields": to_plain(recipe)})
    return result


def fold_folder(out: Path | str, number: int, folds: int) -> Path:
    """Return the folder of a fold's run, which another number of folds does not share."""
    return Path(out) / f"fold-{number + 1}-of-{folds}"


def _held_out_share(known: SplitImages, folds: int, images_per_class: int) -> float:
    """Return the images held out divided by the images trained on, of all folds together.

    Args:
        known: All training and validation images.
        folds: Number of folds.
        images_per_class: Training images of each class in a fold; 0 for all that are not held out.
    """
    trained = (folds - 1) * len(known.images)
    if images_per_class:
        trained = folds * images_per_class * len(set(known.images.labels.tolist()))
    return len(known.images) / trained


def _run_fold(
    session: Session,
    recipe: Recipe,
    out: Path,
    known: SplitImages,
    which: tuple[int, int],
    listeners: Sequence[Listener],
) -> run_folder.Run:
    """Train the run of a fold unless it has finished, and return it.

    Raises:
        RunError: The finished run was trained on other images.
    """
    number, folds = which
    folder, split = fold_folder(out, number, folds), fold_split(known, folds, number, recipe.data.split_seed)
    own = replace(recipe, seed=recipe.seed + number)
    with machine.threads_restored():
        run = train_in(session, own, folder, Inputs(development_of_split(split, recipe.data)), listeners)
    run = run or run_folder.open_run(folder)
    if run.load_info().fingerprint != split.fingerprint:
        raise RunError(f"{folder}: was trained on other images than those found; restore them, or choose another --out")
    return run
