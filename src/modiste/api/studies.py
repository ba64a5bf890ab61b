"""Work over many runs, or on a whole data set: search, the paper's reproduction, an audit."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from modiste.api.training import RecipeLike, as_recipe
from modiste.display import Displayed, Table, percent
from modiste.recipes.recipe import DataRecipe, Recipe
from modiste.training.free_folder import RUNS

if TYPE_CHECKING:
    from modiste.audits.audit import Findings
    from modiste.searches.trial import TrialOutcome
    from modiste.training.cross_validation import CrossValidation


@dataclass(frozen=True, repr=False)
class SearchResult(Displayed):
    """The trials of a search.

    Attributes:
        folder: of the search.
        trials: the outcome of each trial, in order.
        best: the complete trial with the highest validation accuracy; None if no trial is complete.
        recipe: that of the best trial; None without one.
    """

    folder: Path
    trials: "tuple[TrialOutcome, ...]"
    best: "TrialOutcome | None"
    recipe: Recipe | None

    def table(self) -> Table:
        """Return a row for each trial: its state, its validation accuracy and its values."""
        fields = list(self.trials[0].values) if self.trials else []
        rows = [
            [
                str(one.number),
                one.state,
                "" if one.accuracy is None else percent(one.accuracy),
                *(_as_text(one.values[name]) for name in fields),
            ]
            for one in self.trials
        ]
        best = f"best: trial {self.best.number}" if self.best else "no trial is complete"
        return Table(f"search in {self.folder}; {best}", rows, ("trial", "state", "validation", *fields))


def search_folder(recipe: Recipe) -> Path:
    """Return the folder of a search over a recipe, if nobody names one."""
    return RUNS / f"search-{recipe.name}"


def folds_folder(recipe: Recipe) -> Path:
    """Return the folder of a cross-validation of a recipe, if nobody names one."""
    return RUNS / f"{recipe.name}-folds"


def reproduction_folder(*, quick: bool) -> Path:
    """Return the folder of the paper's reproduction, if nobody names one."""
    return RUNS / ("reproduction-quick" if quick else "reproduction")


def _as_text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def search(
    recipe: RecipeLike,
    space: Sequence[str],
    out: Path | str | None = None,
    *,
    trials: int = 16,
    sampler: Literal["tpe", "random", "grid"] = "tpe",
    prune: Literal["none", "median"] = "none",
    seed: int = 0,
    workers: int = 2,
    device: str = "auto",
    data_folder: Path | str | None = None,
) -> SearchResult:
    """Train many recipes from a search space, and compare them on validation.

    A search may be interrupted at any time; the same call continues it. Trials run in processes of their own: a script
    that calls this needs the usual ``if __name__ == "__main__":``.

    Args:
        recipe: as ``train`` takes it; each trial changes some of its fields.
        space: a field with its possible values each: ``optimizer.learning_rate=log(1e-4,1e-1)``,
            ``model.dropout=uniform(0,0.5)``, ``epochs=integer(2,6)``, ``batch_size=choice(64,128)``.
        out: folder of the search; by default ``runs/search-NAME``.
        trials: number of recipes to train.
        sampler: ``tpe`` learns from earlier trials, ``random`` does not, ``grid`` tries every combination.
        prune: ``median`` stops a trial below the median of earlier ones after as many epochs.
        seed: of the sampler.
        workers: trials at once, each with its share of the cores.
        device: ``auto``, ``cpu``, ``cuda`` ...
        data_folder: of Fashion-MNIST, or of data that have moved.

    Raises:
        RecipeError: the space does not fit the recipe.
        RunError: the folder holds another search.
        MissingExtraError: Optuna or pandas is not installed.

    Example::

        found = modiste.search("sprint", ["optimizer.learning_rate=log(1e-3,1e-1)"], trials=8)
        run = modiste.train(found.recipe)
    """
    from modiste.recipes.recipe import load
    from modiste.searches import outcomes
    from modiste.searches.plan import Plan
    from modiste.searches.search import search as run
    from modiste.searches.space import read
    from modiste.searches.workers import Processes

    wanted = as_recipe(recipe)
    folder = search_folder(wanted) if out is None else Path(out)
    plan = Plan(
        recipe=wanted, space=read(list(space)), trials=trials, sampler=sampler, prune=prune, seed=seed, lag=workers
    )
    done = run(
        plan,
        folder,
        workers=partial(Processes, workers),
        at_once=workers,
        device=device,
        data_folder=data_folder,
    )
    best = outcomes.best(done)
    return SearchResult(folder, tuple(done), best, load(folder / outcomes.BEST) if best else None)


def cross_validate(
    recipe: RecipeLike,
    out: Path | str | None = None,
    *,
    folds: int = 10,
    device: str = "auto",
    data_folder: Path | str | None = None,
    **fields: Any,
) -> "CrossValidation":
    """Train a recipe once for each fold on all other folds, and return the accuracies on the folds held out.

    The folds are of the training and validation images together; the test set stays closed. The same call continues
    after an interruption.

    Args:
        recipe: as ``train`` takes it.
        out: folder of the folds' runs; by default ``runs/NAME-folds``.
        folds: number of folds, at least 2.
        device: ``auto``, ``cpu``, ``cuda`` ...
        data_folder: of Fashion-MNIST, or of data that have moved.
        fields: changed fields of the recipe.

    Raises:
        DataError, RecipeError, RunError, StorageError: as in training.

    Example::

        print(modiste.cross_validate("sprint", folds=10).spread)
    """
    from modiste.training.cross_validation import cross_validate as run

    wanted = as_recipe(recipe).with_(**fields)
    folder = folds_folder(wanted) if out is None else Path(out)
    return run(wanted, folder, folds=folds, device=device, data_folder=data_folder)


def reproduce(
    out: Path | str | None = None,
    *,
    quick: bool = False,
    seeds: int = 3,
    workers: int = 2,
    device: str = "auto",
    data_folder: Path | str | None = None,
) -> Path:
    """Reproduce the paper: train its model and experiments, judge every claim; return the path of the page.

    Args:
        out: folder of runs, page and figures; by default ``runs/reproduction``, or ``runs/reproduction-quick``.
        quick: a preview in about ten minutes; every page says so.
        seeds: runs of each recipe.
        workers: runs at once.
        device: ``auto``, ``cpu``, ``cuda`` ...
        data_folder: of Fashion-MNIST, or of data that have moved.

    Raises:
        RunError, DataError, StorageError: as ``modiste reproduce``.

    Example::

        print(modiste.reproduce(quick=True))
    """
    from modiste.reproduction.reproduction import reproduce as run
    from modiste.reproduction.work import QUICK, Scope
    from modiste.searches.workers import Processes

    scope = replace(QUICK if quick else Scope(), seeds=seeds)
    folder = reproduction_folder(quick=quick) if out is None else Path(out)
    page, _ = run(scope, folder, workers=partial(Processes, workers), device=device, data_folder=data_folder)
    return page


def audit(
    data: DataRecipe | str | Path = "fashion-mnist",
    *,
    recipe: RecipeLike | None = None,
    folds: int = 4,
    device: str = "auto",
    data_folder: Path | str | None = None,
) -> "Findings":
    """Find duplicate images, and labels that are likely wrong. The test images are not opened.

    Args:
        data: the name or the folder of a data set, or a ``DataRecipe``.
        recipe: of the networks that find wrong labels; by default ``sprint``, for photographs a backbone. It prepares
            the images in its own way, where ``data`` does not say otherwise.
        folds: parts of the images; each is predicted by a network trained on the others. 0 finds only duplicates.
        device: ``auto``, ``cpu``, ``cuda`` ...
        data_folder: of Fashion-MNIST, or of data that have moved.

    Raises:
        DataError, RecipeError: the images are missing or damaged, or cannot be audited.

    Example::

        found = modiste.audit("shop")
        print(found.wrong_labels, found.suspicious[:5])
    """
    from modiste.audits.audit import audit as run
    from modiste.audits.audit import usual_recipe, with_data

    wanted = data if isinstance(data, DataRecipe) else DataRecipe(source=str(data))
    place = None if data_folder is None else Path(data_folder)
    used = usual_recipe(wanted, place).recipe if recipe is None else with_data(as_recipe(recipe), wanted)
    return run(used, folds=folds, device=device, data_folder=place, report=logging.getLogger(__name__).info)
