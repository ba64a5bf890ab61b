"""Work over many runs, or on a whole data set: search, the paper's reproduction, an audit."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from modiste.api.own import Code, with_own_code
from modiste.api.training import RecipeLike, Track, as_recipe, listeners_of
from modiste.display import Displayed, Table, percent
from modiste.errors import RecipeError, printable
from modiste.recipes.plain import demand
from modiste.recipes.recipe import DataRecipe, Precision, Recipe
from modiste.searches.trial import ignore
from modiste.training.free_folder import RUNS
from modiste.training.tracking import Listener

if TYPE_CHECKING:
    from modiste.audits.audit import Findings
    from modiste.reproduction.reproduction import OnOutcome as OnRun
    from modiste.searches.outcomes import OutcomeStore
    from modiste.searches.plan import Plan
    from modiste.searches.search import OnOutcome
    from modiste.searches.trial import TrialOutcome
    from modiste.searches.workers import MakeWorkers
    from modiste.training.cross_validation import CrossValidation


@dataclass(frozen=True, repr=False)
class SearchResult(Displayed):
    """The trials of a search.

    Attributes:
        folder: Folder of the search.
        trials: The outcome of each trial, in order.
        best: The complete trial with the highest validation accuracy; None if no trial is complete.
        recipe: That of the best trial; None without one.
    """

    folder: Path
    trials: "tuple[TrialOutcome, ...]"
    best: "TrialOutcome | None"
    recipe: Recipe | None

    def table(self) -> Table:
        """Return a row for each trial: its state, its validation accuracy and its values."""
        from modiste.searches.outcomes import as_text

        fields = list(self.trials[0].values) if self.trials else []
        rows = [
            [
                str(one.number),
                one.state,
                "" if one.accuracy is None else percent(one.accuracy),
                *(as_text(one.values[name]) for name in fields),
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


def search(
    recipe: RecipeLike,
    space: str | Sequence[str],
    out: Path | str | None = None,
    *,
    trials: int = 16,
    sampler: Literal["tpe", "random", "grid"] = "tpe",
    prune: Literal["none", "median"] = "none",
    sampler_seed: int = 0,
    workers: int = 2,
    ray: str | None = None,
    trial_cpus: float = 1.0,
    trial_gpus: float = 0.0,
    trial_minutes: float = 0.0,
    storage: str | None = None,
    study: str | None = None,
    drivers: int = 1,
    network: Code | None = None,
    loss: Code | None = None,
    augmentation: Code | None = None,
    device: str = "auto",
    data_folder: Path | str | None = None,
    track: Track = (),
    quiet: bool = False,
    **fields: Any,
) -> SearchResult:
    """Train many recipes from a search space, and compare them on validation.

    A search may be interrupted at any time; the same call continues it. Trials run in processes of their own: a script
    that calls this needs the usual ``if __name__ == "__main__":``. A row is printed for every trial that ends.

    A network, a loss, an augmentation or a kind of data source of your own (``sources.add``) is imported by those
    processes, so it must stand at the top level of a module. One of a notebook or of the script itself is refused, and
    so are listeners.

    Args:
        recipe: As ``train`` takes it; each trial changes some of its fields.
        space: A field with its possible values each: ``optimizer.learning_rate=log(1e-4,1e-1)``,
            ``model.dropout=uniform(0,0.5)``, ``epochs=integer(2,6)``, ``batch_size=choice(64,128)``.
        out: Folder of the search; by default ``runs/search-NAME``.
        trials: Number of recipes to train.
        sampler: ``tpe`` learns from earlier trials, ``random`` does not, ``grid`` tries every combination.
        prune: ``median`` stops a trial below the median of earlier ones after as many epochs.
        sampler_seed: Seed of the sampler; ``seed`` is that of training.
        workers: Trials at once, each with its share of the cores.
        ray: Train on a Ray cluster: ``auto`` joins this machine's or starts one, ``HOST:PORT`` joins that one.
        trial_cpus: Cores, and threads, of each trial on the cluster.
        trial_gpus: GPUs of each trial on the cluster.
        trial_minutes: End a trial that takes longer, and count it as failed; 0 for no limit.
        storage: ``postgresql://USER@HOST/DATABASE``, through which drivers on several machines share the search.
        study: Its name in that storage; by default the recipe's.
        drivers: Number of drivers that share the storage.
        network: As ``train`` takes it; a class, a function or an import path.
        loss: The same for a loss.
        augmentation: The same for an augmentation.
        device: ``auto``, ``cpu``, ``cuda`` ...
        data_folder: Folder of Fashion-MNIST, or of data that have moved.
        track: Names of trackers that record every trial.
        quiet: Print nothing.
        fields: Changed fields of the recipe, as ``train`` takes them.

    Raises:
        RecipeError: The space does not fit the recipe, the workers could not import code of your own, or an argument
            needs ``storage`` or ``ray``.
        RunError: The folder holds another search, or the images are not those of its earlier trials.
        MissingExtraError: Optuna, Matplotlib, Ray or the storage's package is not installed.
        DataError, StorageError, ClusterError, StoppedError: The search ended early; the same call continues it.

    Example::

        found = modiste.search("sprint", "optimizer.learning_rate=log(1e-3,1e-1)", trials=8)
        run = modiste.train(found.recipe)
    """
    from modiste.searches.plan import Plan
    from modiste.searches.search import DriverOptions
    from modiste.searches.search import search as run
    from modiste.searches.space import read

    wanted = with_own_code(as_recipe(recipe), network=network, loss=loss, augmentation=augmentation, **fields)
    demand(drivers >= 1, "drivers", "at least 1", drivers)
    if not storage:
        _demand_unset("--storage", {"--study": study is not None, "--drivers": drivers != 1})
    folder = search_folder(wanted) if out is None else Path(out)
    make_workers = _workers(workers, folder, ray=ray, trial_cpus=trial_cpus, trial_gpus=trial_gpus)
    plan = Plan(
        recipe=wanted,
        space=read([space] if isinstance(space, str) else space),
        trials=trials,
        sampler=sampler,
        prune=prune,
        seed=sampler_seed,
        lag=workers * drivers,
        trial_minutes=trial_minutes,
    )
    done = run(
        plan,
        folder,
        DriverOptions(make_workers, workers, _store(storage, study or wanted.name), _on_outcome(plan, quiet=quiet)),
        device=device,
        data_folder=data_folder,
        track=[track] if isinstance(track, str | Listener) else track,
    )
    return _result(folder, done)


def _store(storage: str | None, study: str) -> "OutcomeStore | None":
    """Return the store of outcomes that drivers share; None without a storage."""
    if not storage:
        return None
    from modiste.searches.postgres import PostgresStore

    return PostgresStore(storage, study)


def _on_outcome(plan: "Plan", *, quiet: bool) -> "OnOutcome":
    """Return what prints a row for every trial that ends."""
    if quiet:
        return ignore
    from modiste.searches.outcomes import ProgressTable

    return ProgressTable(plan, lambda line: print(printable(line), flush=True)).add


def _result(folder: Path, done: "list[TrialOutcome]") -> SearchResult:
    from modiste.recipes.recipe import load
    from modiste.searches import outcomes

    best = outcomes.best(done)
    return SearchResult(folder, tuple(done), best, load(folder / outcomes.BEST) if best else None)


def cross_validate(
    recipe: RecipeLike,
    out: Path | str | None = None,
    *,
    folds: int = 10,
    network: Code | None = None,
    loss: Code | None = None,
    augmentation: Code | None = None,
    device: str = "auto",
    data_folder: Path | str | None = None,
    track: Track = (),
    quiet: bool = False,
    **fields: Any,
) -> "CrossValidation":
    """Train a recipe once for each fold on all other folds, and return the accuracies on the folds held out.

    The folds are of the training and validation images together; the test set stays closed. The same call continues
    after an interruption.

    Args:
        recipe: As ``train`` takes it.
        out: Folder of the folds' runs; by default ``runs/NAME-folds``.
        folds: Number of folds, at least 2.
        network: As ``train`` takes it. Every fold begins with the weights of a network that has been built.
        loss: As ``train`` takes it.
        augmentation: As ``train`` takes it.
        device: ``auto``, ``cpu``, ``cuda`` ...
        data_folder: Folder of Fashion-MNIST, or of data that have moved.
        track: As ``train`` takes it; every fold is a run.
        quiet: Show no progress.
        fields: Changed fields of the recipe.

    Raises:
        DataError, RecipeError, RunError, StorageError: As in training.

    Example::

        print(modiste.cross_validate("sprint", folds=10).spread)
    """
    from modiste.training.cross_validation import cross_validate as run
    from modiste.training.cross_validation import fold_folder

    wanted = with_own_code(as_recipe(recipe), network=network, loss=loss, augmentation=augmentation, **fields)
    folder = folds_folder(wanted) if out is None else Path(out)

    def listeners(number: int) -> list[Listener]:
        own, place = replace(wanted, seed=wanted.seed + number), fold_folder(folder, number, folds)
        return listeners_of(place, own, track, title=f"fold {number + 1} of {folds}", quiet=quiet)

    return run(wanted, folder, folds=folds, device=device, data_folder=data_folder, listeners=listeners)


def reproduce(
    out: Path | str | None = None,
    *,
    quick: bool = False,
    experiments: str | Sequence[str] = (),
    seeds: int = 3,
    study_epochs: int | None = None,
    precision: Precision | None = None,
    workers: int = 2,
    ray: str | None = None,
    trial_cpus: float = 1.0,
    trial_gpus: float = 0.0,
    device: str = "auto",
    data_folder: Path | str | None = None,
    page_only: bool = False,
    on_outcome: "OnRun" = ignore,
) -> Path:
    """Reproduce the paper: train its model and experiments, judge every claim; return the path of the page.

    Args:
        out: Folder of runs, page and figures; by default ``runs/reproduction``, or ``runs/reproduction-quick``.
        quick: A preview in about ten minutes; every page says so.
        experiments: Names of those to train and to show, such as ``["dropout", "batch-size"]``; by default all seven.
            Others can be added later, in the same folder; the page shows those of earlier calls as well.
        seeds: Runs of each recipe.
        study_epochs: Epochs of the experiments, if 50 take too long; every page says so.
        precision: Number format of training, if the paper's float32 takes too long; every page says so.
        workers: Runs at once.
        ray: Train on a Ray cluster: ``auto`` joins this machine's or starts one, ``HOST:PORT`` joins that one.
        trial_cpus: Cores, and threads, of each run on the cluster.
        trial_gpus: GPUs of each run on the cluster.
        device: ``auto``, ``cpu``, ``cuda`` ...
        data_folder: Folder of Fashion-MNIST, or of data that have moved.
        page_only: Train nothing, and write the page of the runs that are finished; the other runs may be in training.
            Number of seeds and epochs are those of the folder.
        on_outcome: Called with each new outcome of a run, the number of outcomes so far, and the number of runs.

    Raises:
        RecipeError: The paper has no such experiment, a number is impossible, or an argument needs ``ray``.
        RunError, DataError, StorageError, ClusterError: As ``modiste reproduce``.

    Example::

        print(modiste.reproduce(quick=True))
    """
    from modiste.reproduction.experiments import Work, scope_of, selected
    from modiste.reproduction.reproduction import reproduce as run
    from modiste.reproduction.reproduction import write_page

    folder = reproduction_folder(quick=quick) if out is None else Path(out)
    wanted = selected([experiments] if isinstance(experiments, str) else experiments)
    if page_only:
        return write_page(folder, experiments=wanted, data_folder=data_folder)[0]
    scope = scope_of(quick=quick, seeds=seeds, study_epochs=study_epochs, precision=precision)
    page, _ = run(
        Work(scope, folder, wanted),
        workers=_workers(workers, folder, ray=ray, trial_cpus=trial_cpus, trial_gpus=trial_gpus),
        device=device,
        data_folder=data_folder,
        on_outcome=on_outcome,
    )
    return page


def _workers(count: int, folder: Path, *, ray: str | None, trial_cpus: float, trial_gpus: float) -> "MakeWorkers":
    """Return a function that makes the workers of runs, on this machine or on a Ray cluster.

    Args:
        count: Number of runs at once.
        folder: Folder in which all run folders are gathered.
        ray: Address of a Ray cluster, see ``RayWorkers``; None for processes on this machine.
        trial_cpus: Cores, and threads, of each run on the cluster.
        trial_gpus: GPUs of each run on the cluster.

    Raises:
        RecipeError: A number is impossible, or a share of the cluster is given without the cluster.
    """
    demand(count >= 1, "workers", "at least 1", count)
    if ray is None:
        _demand_unset("--ray", {"--trial-cpus": trial_cpus != 1, "--trial-gpus": trial_gpus != 0})
        from modiste.searches.workers import Processes

        return partial(Processes, count)
    from modiste.searches.ray_cluster import RayWorkers, Share

    return partial(RayWorkers, ray, folder, Share(trial_cpus, trial_gpus), count)


def _demand_unset(needed: str, given: Mapping[str, bool]) -> None:
    """Raise RecipeError if one of the flags was given, which have no effect without the flag ``needed``."""
    if idle := " and ".join(flag for flag, is_given in given.items() if is_given):
        raise RecipeError(f"{idle}: expected with {needed}, found without it; add {needed}, or leave {idle} out")


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
        data: The name or the folder of a data set, or a ``DataRecipe``.
        recipe: Recipe of the networks that find wrong labels; by default ``sprint``, for photographs a backbone. It
            prepares the images in its own way, where ``data`` does not say otherwise.
        folds: Parts of the images; each is predicted by a network trained on the others. 0 finds only duplicates.
        device: ``auto``, ``cpu``, ``cuda`` ...
        data_folder: Folder of Fashion-MNIST, or of data that have moved.

    Raises:
        DataError, RecipeError: The images are missing or damaged, or cannot be audited.

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
