"""Search: many recipes from a space, trained, compared on validation, none lost."""

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from modiste.data.sources import check_single_location
from modiste.errors import MissingExtraError, RecipeError, StoppedError
from modiste.recipes.recipe import Recipe
from modiste.runs import storage
from modiste.search import outcomes as records
from modiste.search.outcomes import FolderStore, OutcomeStore
from modiste.search.plan import PLAN, Plan, claim
from modiste.search.space import apply
from modiste.search.suggestions import Suggestions
from modiste.search.trial import Task, TrialOutcome
from modiste.search.workers import MakeWorkers, Processes, TrialPool
from modiste.training.interruption import Interruption

PACKAGES = ("matplotlib", "optuna")
Told = Callable[[TrialOutcome, Mapping[int, TrialOutcome]], None]
"""Called with each new outcome and with all there are."""


def search(
    plan: Plan,
    out: Path | str,
    *,
    workers: MakeWorkers | None = None,
    at_once: int | None = None,
    store: OutcomeStore | None = None,
    device: str = "auto",
    data_folder: Path | str | None = None,
    told: Told = lambda _new, _all: None,
) -> list[TrialOutcome]:
    """Run the trials of ``plan`` in the folder ``out``, going on where an earlier call was stopped or killed.

    Every trial is a run folder of its own, trained by ``training.train``, judged by validation. A trial that has an
    outcome is not run again; one that was under way goes on from its last epoch.

    Args:
        plan: what is searched.
        out: folder of the search; made if missing.
        workers: makes what trials are submitted to; processes of this machine if None.
        at_once: trials that this driver runs side by side; as many as the plan allows if None.
        store: where outcomes are kept, for several drivers; in the folder if None.
        device: where each trial computes.
        data_folder: as ``load_dataset`` takes it: of Fashion-MNIST, or of data that have moved.
        told: of every new outcome.

    Returns:
        the outcomes by number.

    Raises:
        RecipeError, RunError, StorageError, FolderInUseError, MissingExtraError; StoppedError after a signal.
    """
    demand_packages()
    folder, at_once = Path(out), at_once or plan.lag
    place = None if data_folder is None else Path(data_folder)
    check_single_location(plan.recipe.data.source, place)
    with (
        storage.lock(folder),
        Interruption() as interruption,
        closing(store or FolderStore(folder)) as kept,
    ):
        claim(folder / PLAN, plan, grows="trials", noun="search")
        kept.enter(plan)
        driver = Driver(plan, folder, kept, at_once, device, place, told)
        make = workers or partial(Processes, at_once)
        if not TrialPool(make, driver.ready, driver.keep, interruption, driver.finished).work():
            raise StoppedError(
                f"stopped on request with {len(driver.outcomes)} of {plan.trials} trials done; everything is saved in "
                f"{folder}, and the same command goes on from here"
            )
        records.write_table(folder, plan, driver.outcomes)
        kept.conclude(plan)
        return [driver.outcomes[number] for number in sorted(driver.outcomes)]


def demand_packages() -> None:
    """Raise MissingExtraError when a package is missing that a search needs, be it only at its end."""
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise MissingExtraError(f"searching needs {' and '.join(missing)}: pip install 'modiste[search]'")


class Driver:
    """Says which trials may begin, and keeps their outcomes."""

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        store: OutcomeStore,
        at_once: int,
        device: str,
        data_folder: Path | None,
        told: Told,
    ) -> None:
        self._plan, self._folder, self._device, self._data_folder = plan, folder, device, data_folder
        self._store, self._told = store, told
        self._suggestions = Suggestions(plan)
        self._open: dict[int, Task] = {}
        self._mine, self._at_once = set[int](), at_once
        self._changed, self._next_look = True, 0.0
        self.outcomes = dict[int, TrialOutcome]()
        for outcome in store.outcomes():
            if outcome.number < plan.trials:
                self.outcomes[outcome.number] = outcome

    def ready(self) -> list[Task]:
        """Return trials that may begin here and now, as many as there is room for."""
        if not self._changed and time.monotonic() < self._next_look:
            return []
        self._changed, self._next_look = False, time.monotonic() + self._store.look_seconds
        for outcome in self._store.news():
            self._note(outcome)
        self._suggest()
        tasks = []
        for number, task in list(self._open.items()):
            if len(self._mine) < self._at_once and self._store.take(number):
                tasks.append(task)
                self._mine.add(number)
                del self._open[number]
        return tasks

    def finished(self) -> bool:
        """Tell whether every trial has its outcome."""
        return len(self.outcomes) >= self._plan.trials

    def keep(self, outcome: TrialOutcome) -> None:
        """Write an outcome down."""
        self._store.write(outcome)
        self._note(outcome)
        self._changed = True

    def _note(self, outcome: TrialOutcome) -> None:
        if outcome.number in self.outcomes or outcome.number >= self._plan.trials:
            return
        self.outcomes[outcome.number] = outcome
        self._mine.discard(outcome.number)
        self._open.pop(outcome.number, None)
        self._told(outcome, self.outcomes)

    def _suggest(self) -> None:
        """Suggest every trial whose suggestion has nothing to wait for; those that have no outcome are open."""
        while self._suggestions.asked < self._plan.trials:
            if not all(number in self.outcomes for number in self._suggestions.awaits()):
                break
            judges = [self.outcomes[number] for number in self._suggestions.awaits()]
            number, values = self._suggestions.asked, self._suggestions.next(self.outcomes)
            if number in self.outcomes:
                continue
            try:
                recipe = apply(self._plan.recipe, values)
            except RecipeError as error:  # each value can be, but not all of them together
                self.keep(TrialOutcome(number, values, "failed", None, reason=str(error)))
            else:
                self._open[number] = self._task(number, values, recipe, judges)

    def _task(self, number: int, values: dict[str, Any], recipe: Recipe, judges: list[TrialOutcome]) -> Task:
        curves = tuple(judge.curve for judge in judges if judge.state == "complete")
        return Task(
            number=number,
            values=values,
            recipe=recipe,
            folder=records.run_folder_of(self._folder, number),
            device=self._device,
            data_folder=self._data_folder,
            curves=curves if self._plan.prune == "median" else (),
            minutes=self._plan.trial_minutes,
        )
