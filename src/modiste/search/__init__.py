"""Search: many recipes from a space, trained, compared on validation, none lost."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from modiste import storage
from modiste.errors import RecipeError, StoppedError
from modiste.recipe import Recipe
from modiste.search import outcomes as records
from modiste.search.crew import Crew
from modiste.search.executors import MakeExecutor, processes
from modiste.search.plan import Plan, claim
from modiste.search.space import apply
from modiste.search.suggestions import Suggestions
from modiste.search.trial import Outcome, Task
from modiste.training.interruption import Interruption

Told = Callable[[Outcome, Mapping[int, Outcome]], None]
"""Called with each new outcome and with all there are."""


def search(
    plan: Plan,
    out: Path | str,
    *,
    executor: MakeExecutor | None = None,
    device: str = "auto",
    data_folder: Path | str | None = None,
    told: Told = lambda _new, _all: None,
) -> list[Outcome]:
    """Run the trials of ``plan`` in the folder ``out``, going on where an earlier call was stopped or killed.

    Every trial is a run folder of its own, trained by ``training.run``, judged by validation. A trial that has an
    outcome is not run again; one that was under way goes on from its last epoch.

    Args:
        plan: what is searched.
        out: folder of the search; made if missing.
        executor: makes what trials are submitted to; as many processes of this machine as the plan's lag if None.
        device: where each trial computes.
        data_folder: where Fashion-MNIST lies, if not in one of the usual places.
        told: of every new outcome.

    Returns:
        the outcomes by number.

    Raises:
        RecipeError, RunError, StorageError, FolderInUseError, MissingExtraError; StoppedError after a signal.
    """
    folder = Path(out)
    with storage.lock(folder), Interruption() as interruption:
        claim(folder, plan)
        driver = Driver(plan, folder, device, None if data_folder is None else Path(data_folder), told)
        if not Crew(executor or processes(plan.lag), driver.ready, driver.keep, interruption).work():
            raise StoppedError(
                f"stopped on request with {len(driver.outcomes)} of {plan.trials} trials done; everything is saved in "
                f"{folder}, and the same command goes on from here"
            )
        records.write_table(folder, plan, driver.outcomes)
        records.write_study(folder, plan, driver.outcomes)
        return [driver.outcomes[number] for number in sorted(driver.outcomes)]


class Driver:
    """Says which trials may begin, and keeps their outcomes."""

    def __init__(self, plan: Plan, folder: Path, device: str, data_folder: Path | None, told: Told) -> None:
        self._plan, self._folder, self._device, self._data_folder = plan, folder, device, data_folder
        self._told = told
        self._suggestions = Suggestions(plan)
        self.outcomes = records.read(folder, plan.trials)

    def ready(self) -> list[Task]:
        """Suggest every trial whose suggestion has nothing to wait for; return those that have no outcome yet."""
        tasks = []
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
                self.keep(Outcome(number, values, "failed", None, reason=str(error)))
            else:
                tasks.append(self._task(number, values, recipe, judges))
        return tasks

    def keep(self, outcome: Outcome) -> None:
        """Write an outcome down."""
        records.write(self._folder, outcome)
        self.outcomes[outcome.number] = outcome
        self._told(outcome, self.outcomes)

    def _task(self, number: int, values: dict[str, Any], recipe: Recipe, judges: list[Outcome]) -> Task:
        curves = tuple(judge.curve for judge in judges if judge.state == "complete")
        return Task(
            number=number,
            values=values,
            recipe=recipe,
            folder=records.run_folder_of(self._folder, number),
            device=self._device,
            data_folder=self._data_folder,
            curves=curves if self._plan.prune == "median" else (),
        )


__all__ = ["Outcome", "Plan", "search"]
