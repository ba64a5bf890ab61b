"""Search: trains many recipes from a space and compares them on validation. An interrupted search continues."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modiste.data.locations import check_single_location
from modiste.errors import MissingExtraError, RecipeError, RunError, StoppedError
from modiste.machine import check_device, seed_for
from modiste.recipes.recipe import Recipe
from modiste.runs import storage
from modiste.searches.outcomes import FolderStore, OutcomeStore, run_folder_of, write_table
from modiste.searches.plan import PLAN, Plan, check
from modiste.searches.sent_code import sent_code
from modiste.searches.space import apply, grid
from modiste.searches.trial import TrialOutcome, TrialTask, ignore
from modiste.searches.workers import MakeWorkers, Processes, TrialPool
from modiste.system.processes import Interruption
from modiste.training.setup import check_complete
from modiste.training.tracking import Listener, trackers

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.trial import Trial

PACKAGES = ("matplotlib", "optuna")
OnOutcome = Callable[[TrialOutcome, Mapping[int, TrialOutcome]], None]
"""Called with each new outcome, and with all outcomes so far by number."""
STARTUP_TRIALS = 10
"""Number of random trials before the estimator is used; Optuna's default."""


@dataclass(frozen=True)
class DriverOptions:
    """How one driver takes part in a search; the outcomes do not depend on it.

    Attributes:
        workers: Creates the workers that run trials; None for processes on this machine.
        at_once: Number of trials that this driver runs at the same time; None for the plan's ``lag``.
        store: Store of outcomes shared by several drivers; None for files in the search's folder.
        on_outcome: Called with each new outcome.
    """

    workers: MakeWorkers | None = None
    at_once: int | None = None
    store: OutcomeStore | None = None
    on_outcome: OnOutcome = ignore


ONE_DRIVER = DriverOptions()


def search(
    plan: Plan,
    out: Path | str,
    options: DriverOptions = ONE_DRIVER,
    *,
    device: str = "auto",
    data_folder: Path | str | None = None,
    track: Sequence[str | Listener] = (),
) -> list[TrialOutcome]:
    """Run the trials of ``plan`` in the folder ``out``, or continue them after an interruption.

    Each trial is a run in its own folder, trained by ``trainer.train`` and compared on validation. A trial with an
    outcome is not run again. A trial that was interrupted continues from its last epoch.

    Args:
        plan: Plan of the search.
        out: Folder of the search; created if missing.
        options: How this driver takes part.
        device: Where each trial computes.
        data_folder: Folder of Fashion-MNIST, or of data that have moved; see ``load_dataset``.
        track: Names of trackers that record every trial as a run; see ``tracking.trackers``. Listeners are refused.

    Returns:
        The outcomes of all trials, by number.

    Raises:
        StoppedError: A signal asked the search to stop. Everything is saved.
        RecipeError, RunError, StorageError, FolderInUseError, MissingExtraError: The search cannot be run or continued;
            a trial would need teachers or weights of other runs; or workers could not import the network, loss,
            augmentation, data source or tracker that is not Modiste's.
    """
    with closing(options.store or FolderStore(Path(out))) as kept:  # whatever fails: a store may hold a connection
        demand_packages()
        names = trackers.common_names(track)
        # An unknown name or a missing package is an error before any trial.
        trackers.make(names, Path(out), plan.recipe)
        check_device(device)
        folder, data_folder = Path(out), None if data_folder is None else Path(data_folder)
        check_single_location(plan.recipe.data.source, data_folder)
        check_trials(plan)
        sent = sent_code(plan.recipe, data_folder)
        with storage.lock(folder), Interruption() as interruption:
            begun, plain = check(folder / PLAN, plan, grows="trials", noun="search")
            plan = kept.enter(begun)
            storage.write_json(folder / PLAN, plain)  # after ``enter``: a refused plan must not stay in the folder
            make_task = partial(TrialTask, device=device, data_folder=data_folder, track=names, sent=sent)
            at_once = options.at_once or plan.lag
            driver = Driver(plan, folder, kept, at_once, make_task, options.on_outcome)
            driver.run(options.workers or partial(Processes, at_once), interruption)
            write_table(folder, plan, driver.outcomes)
            kept.conclude(plan)
            return [driver.outcomes[number] for number in sorted(driver.outcomes)]


def demand_packages() -> None:
    """Raise MissingExtraError if a package is missing that the search needs at any point."""
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise MissingExtraError(f"searching needs {' and '.join(missing)}: pip install 'modiste[search]'")


def check_trials(plan: Plan) -> None:
    """Raise RecipeError if a trial would need the files of another run, which a search does not take."""
    check_complete(plan.recipe, "a search")
    for dimension in plan.dimensions():
        for value in dimension.values:
            check_complete(apply(plan.recipe, {dimension.field: value}), "a search")


class Driver:
    """Decides which trials may begin, and keeps their outcomes.

    Args:
        plan: Plan of the search.
        folder: Folder of the search.
        store: Where outcomes are kept.
        at_once: Number of trials that this driver runs at the same time.
        make_task: Makes a task from its other fields; device and folder of the images are given.
        on_outcome: Called with each new outcome.
    """

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        store: OutcomeStore,
        at_once: int,
        make_task: Callable[..., TrialTask],
        on_outcome: OnOutcome,
    ) -> None:
        self._plan, self._folder, self._store = plan, folder, store
        self._make_task, self._on_outcome = make_task, on_outcome
        self._suggestions = Suggestions(plan)
        self._open: dict[int, TrialTask] = {}
        self._mine, self._at_once = set[int](), at_once
        self._changed, self._next_look = True, 0.0
        self.outcomes = dict[int, TrialOutcome]()
        for outcome in store.outcomes():
            if outcome.number < plan.trials:
                self.outcomes[outcome.number] = outcome

    def run(self, workers: MakeWorkers, interruption: Interruption) -> None:
        """Run trials until all have an outcome; StoppedError if a signal asked to stop."""
        if not TrialPool(workers, self.ready, self.keep, interruption, self.finished).work():
            raise StoppedError(
                f"stopped on request with {len(self.outcomes)} of {self._plan.trials} trials done; everything is saved "
                f"in {self._folder}, and the same command goes on from here"
            )

    def ready(self) -> list[TrialTask]:
        """Return the trials that this driver may begin now, as many as it has room for."""
        if not self._changed and time.monotonic() < self._next_look:
            return []
        self._changed, self._next_look = False, time.monotonic() + self._store.look_seconds
        self._note_news()
        self._suggest()
        tasks = []
        for number, task in list(self._open.items()):
            if len(self._mine) < self._at_once and self._store.take(number):
                tasks.append(replace(task, fingerprint=self._fingerprint()))
                self._mine.add(number)
                del self._open[number]
        return tasks

    def finished(self) -> bool:
        """Return whether every trial has an outcome."""
        return len(self.outcomes) >= self._plan.trials

    def keep(self, outcome: TrialOutcome) -> None:
        """Store an outcome; RunError if its images are not those of the trials before it."""
        self._note_news()
        if self._fingerprint() and outcome.fingerprint not in ("", self._fingerprint()):
            raise RunError(
                f"{run_folder_of(self._folder, outcome.number)}: was trained on other images than the trials before "
                "it; delete it and repeat the command with their images, or begin another search with another --out "
                "(and --study)"
            )
        self._store.write(outcome)
        self._note(outcome)
        self._changed = True

    def _fingerprint(self) -> str:
        """Return the fingerprint of the images of the trials so far; empty if it is not known."""
        return next((outcome.fingerprint for outcome in self.outcomes.values() if outcome.fingerprint), "")

    def _note_news(self) -> None:
        """Add the outcomes that other drivers have stored."""
        for outcome in self._store.news():
            self._note(outcome)

    def _note(self, outcome: TrialOutcome) -> None:
        """Add an outcome to those known, whichever driver it comes from."""
        if outcome.number in self.outcomes or outcome.number >= self._plan.trials:
            return
        self.outcomes[outcome.number] = outcome
        self._mine.discard(outcome.number)
        self._open.pop(outcome.number, None)
        self._on_outcome(outcome, self.outcomes)

    def _suggest(self) -> None:
        """Suggest every trial that need not wait for outcomes; those without an outcome become open."""
        while self._suggestions.asked < self._plan.trials:
            if not all(number in self.outcomes for number in self._suggestions.awaits()):
                break
            earlier = [self.outcomes[number] for number in self._suggestions.awaits()]
            number, values = self._suggestions.asked, self._suggestions.next(self.outcomes)
            if number in self.outcomes:
                continue
            try:
                recipe = apply(self._plan.recipe, values)
            except RecipeError as error:  # each value is valid by itself, but not all of them together
                self.keep(TrialOutcome(number, values, "failed", None, reason=str(error)))
            else:
                self._open[number] = self._task(number, values, recipe, earlier)

    def _task(self, number: int, values: dict[str, Any], recipe: Recipe, earlier: list[TrialOutcome]) -> TrialTask:
        """Return the task of a trial; complete trials in ``earlier`` may prune it."""
        curves = tuple(outcome.curve for outcome in earlier if outcome.state == "complete")
        return self._make_task(
            number=number,
            values=values,
            recipe=recipe,
            folder=run_folder_of(self._folder, number),
            curves=curves if self._plan.prune == "median" else (),
            minutes=self._plan.trial_minutes,
        )


class Suggestions:
    """The values for the trials of a plan, in order.

    The values of trial k depend only on the plan and on the outcomes of trials 0 to k - ``lag``. Other trials may have
    finished, but Optuna's study receives only these outcomes before each suggestion, and its sampler gets a new seed
    for each trial. So an interrupted search gives the same results as an uninterrupted one.

    Args:
        plan: Plan of the search.
    """

    def __init__(self, plan: Plan) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._plan, self._space = plan, plan.dimensions()
        self._study = optuna.create_study(direction="maximize")
        self._asked: list[Trial] = []
        self._reported = 0

    @property
    def asked(self) -> int:
        """The number of trials suggested so far, which is also the number of the next trial."""
        return len(self._asked)

    def awaits(self) -> range:
        """Return the numbers of the trials whose outcomes the next suggestion depends on."""
        return range(max(0, self.asked - self._plan.lag + 1))

    def next(self, outcomes: Mapping[int, TrialOutcome]) -> dict[str, Any]:
        """Return the values of the next trial. If it already has an outcome, these are its values.

        Args:
            outcomes: By number; at least those of the trials in ``awaits``.
        """
        number = self.asked
        for earlier in self.awaits()[self._reported :]:
            self._report(outcomes[earlier])
        self._reported = len(self.awaits())
        if number in outcomes:
            self._fix(outcomes[number].values)
        elif self._plan.sampler == "grid":
            self._fix(grid(self._space, number))
        self._study.sampler = sampler(self._plan, number)
        trial = self._study.ask({dimension.field: dimension.distribution() for dimension in self._space})
        self._asked.append(trial)
        return {dimension.field: dimension.drawn(trial.params[dimension.field]) for dimension in self._space}

    def _fix(self, values: Mapping[str, Any]) -> None:
        """Make the study suggest these values next."""
        known = {dimension.field: dimension.category(values[dimension.field]) for dimension in self._space}
        self._study.enqueue_trial(known)

    def _report(self, outcome: TrialOutcome) -> None:
        """Report an outcome to the study."""
        from optuna.trial import TrialState

        trial = self._asked[outcome.number]
        for epoch, accuracy in enumerate(outcome.curve, 1):
            trial.report(accuracy, epoch)
        if outcome.state == "complete":
            self._study.tell(trial, outcome.accuracy)
        else:
            self._study.tell(trial, state=TrialState.PRUNED if outcome.state == "pruned" else TrialState.FAIL)


def sampler(plan: Plan, number: int) -> "BaseSampler":
    """Return the sampler for one trial, with its own seed."""
    from optuna.samplers import RandomSampler, TPESampler

    seed = seed_for(plan.seed, "search", number) % 2**32
    if plan.sampler == "tpe":
        return TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS)
    return RandomSampler(seed=seed)
