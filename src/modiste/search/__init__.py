"""Search: many recipes from a space, trained, compared on validation, none lost."""

from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from modiste import storage
from modiste.errors import StoppedError
from modiste.search import outcomes as records
from modiste.search.executors import MakeExecutor, interrupt_processes, processes
from modiste.search.plan import Plan, claim
from modiste.search.space import apply
from modiste.search.suggestions import Suggestions
from modiste.search.trial import Outcome, Task, run_trial
from modiste.training.interruption import Interruption

MOST_DEATHS = 3
"""Times that the workers may die under a trial before it counts as failed."""

PATIENCE_SECONDS = 0.2
"""How long a request to stop may wait to be seen."""

Told = Callable[[Outcome, Mapping[int, Outcome]], None]
"""Called with each new outcome and with all there are."""


def search(
    plan: Plan,
    out: Path | str,
    *,
    workers: int = 0,
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
        workers: processes of this machine; as many as the plan's lag if 0. More than that never run at once.
        executor: makes what trials are submitted to, in place of processes.
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
        driver = Driver(plan, folder, device, None if data_folder is None else Path(data_folder), told, interruption)
        driver.drive(executor or processes(workers or plan.lag))
        records.write_table(folder, plan, driver.outcomes)
        records.write_study(folder, plan, driver.outcomes)
        return [driver.outcomes[number] for number in sorted(driver.outcomes)]


class Driver:
    """Asks for trials, submits them, and keeps their outcomes."""

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        device: str,
        data_folder: Path | None,
        told: Told,
        interruption: Interruption,
    ) -> None:
        self._plan, self._folder, self._device, self._data_folder = plan, folder, device, data_folder
        self._told, self._interruption = told, interruption
        self._suggestions = Suggestions(plan)
        self._deaths: dict[int, int] = {}
        self.outcomes = records.read(folder, plan.trials)

    def drive(self, executor: MakeExecutor) -> None:
        """Run trials until every one has an outcome; workers that died are replaced."""
        waiting: list[Task] = []
        while len(self.outcomes) < self._plan.trials:
            with executor() as pool:
                waiting = self._run(pool, waiting)

    def _run(self, pool: Executor, waiting: list[Task]) -> list[Task]:
        """Run trials in a pool, ``waiting`` first, until all are done or the pool dies; return those it died under."""
        running = {pool.submit(run_trial, task): task for task in waiting}
        while True:
            running |= {pool.submit(run_trial, task): task for task in self._ready()}
            if not running:
                return []
            for future in wait(running, PATIENCE_SECONDS, FIRST_COMPLETED).done:
                try:
                    self._keep(future.result())
                except (BrokenProcessPool, CancelledError):
                    return self._bury(running)
                del running[future]
            if self._interruption.requested:
                self._stop(running)

    def _ready(self) -> list[Task]:
        """Suggest every trial whose suggestion has nothing to wait for; those that have an outcome are passed over."""
        tasks = []
        while self._suggestions.asked < self._plan.trials:
            if not all(number in self.outcomes for number in self._suggestions.awaits()):
                break
            judges = [self.outcomes[number] for number in self._suggestions.awaits()]
            number, values = self._suggestions.asked, self._suggestions.next(self.outcomes)
            if number not in self.outcomes:
                tasks.append(self._task(number, values, judges))
        return tasks

    def _task(self, number: int, values: dict[str, object], judges: list[Outcome]) -> Task:
        curves = tuple(judge.curve for judge in judges if judge.state == "complete")
        return Task(
            number=number,
            values=values,
            recipe=apply(self._plan.recipe, values),
            folder=records.run_folder_of(self._folder, number),
            device=self._device,
            data_folder=self._data_folder,
            curves=curves if self._plan.prune == "median" else (),
        )

    def _keep(self, outcome: Outcome) -> None:
        records.write(self._folder, outcome)
        self.outcomes[outcome.number] = outcome
        self._told(outcome, self.outcomes)

    def _bury(self, running: Mapping[Future[Outcome], Task]) -> list[Task]:
        """Return the trials to try again; one under which the workers died too often has failed."""
        again = []
        for task in running.values():
            self._deaths[task.number] = self._deaths.get(task.number, 0) + 1
            if self._deaths[task.number] < MOST_DEATHS:
                again.append(task)
            else:
                reason = f"the process that ran it died {MOST_DEATHS} times"
                self._keep(
                    Outcome(number=task.number, values=task.values, state="failed", accuracy=None, reason=reason)
                )
        return again

    def _stop(self, running: Mapping[Future[Outcome], Task]) -> None:
        """Let running trials save what they have, then say how far the search has come."""
        for future in running:
            future.cancel()
        interrupt_processes()
        raise StoppedError(
            f"stopped on request with {len(self.outcomes)} of {self._plan.trials} trials done; everything is saved in "
            f"{self._folder}, and the same command goes on from here"
        )


__all__ = ["Outcome", "Plan", "search"]
