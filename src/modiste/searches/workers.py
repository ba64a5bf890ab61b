"""Workers that run trials, and the pool that supervises them.

A worker may die. Each trial runs until it has an outcome, and no trial fails because of another one.
"""

import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Any, ClassVar

from modiste.compat import start_at_once
from modiste.searches.trial import TrialOutcome, TrialTask, run_trial
from modiste.system.processes import Interruption, RecordingContext, available_cores, begin_worker, starting

MOST_DEATHS = 3
"""A trial fails when its worker has died this many times."""
STOP_SECONDS = 60.0
"""Time that workers have to save and stop."""
PATIENCE_SECONDS = 0.2
"""Longest time until a request to stop is noticed."""


class Workers(Executor, ABC):
    """An executor of trials whose workers can be asked to save and stop."""

    limits_time: ClassVar[bool] = False
    """Whether the workers themselves end a trial that takes too long."""
    at_once: int = sys.maxsize
    """Most trials that the pool gives them at the same time."""

    @abstractmethod
    def interrupt(self) -> None:
        """Ask every worker to save its trial and stop."""

    @abstractmethod
    def kill(self) -> None:
        """End every worker at once."""


MakeWorkers = Callable[[], Workers]


class TrialPool:
    """Runs the trials that ``ready`` returns and passes each outcome to ``keep``, until there are no more.

    A worker gets a trial only when it has none. A trial that waits can so be dropped when the search stops, and the
    death of a worker makes only the trials that ran suspect.

    Args:
        workers: Creates the workers; called again if they have died.
        ready: Returns the trials that may begin, each trial once. It returns an empty list while trials wait for
            outcomes, and at the end.
        keep: Called with each outcome, after which further trials may be ready.
        interruption: A request to stop.
        finished: Returns whether there will be no more trials. Until then the pool waits for other drivers.
    """

    def __init__(
        self,
        workers: MakeWorkers,
        ready: Callable[[], list[TrialTask]],
        keep: Callable[[TrialOutcome], None],
        interruption: Interruption,
        finished: Callable[[], bool] = lambda: True,
    ) -> None:
        self._workers, self._ready, self._keep, self._interruption = workers, ready, keep, interruption
        self._finished = finished
        self._deaths: dict[int, int] = {}
        self._waiting: list[TrialTask] = []

    def work(self) -> bool:
        """Run all trials. Return False if a signal asked to stop; the trials that ran have then saved their state.

        If a trial or ``keep`` raises an error, the trials also save, and the error is raised again here.
        """
        suspects: list[TrialTask] | None = []
        while suspects is not None:
            with self._workers() as pool:
                suspects = self._run(pool, suspects)
        return not self._interruption.requested

    def _run(self, pool: Workers, suspects: list[TrialTask]) -> list[TrialTask] | None:
        """Run trials until all are done or a stop is requested, and return None.

        If the pool dies, return the trials that may have killed it. In the next pool these suspects run first, one at a
        time, so that they cannot harm others. A trial that takes too long can only be ended with its pool. The trials
        beside it continue in the next pool.
        """
        running: dict[Future[TrialOutcome], TrialTask] = {}
        while not self._interruption.requested:
            begun = self._begin(suspects, running, pool.at_once - len(running))
            try:
                _submit(pool, begun, running)
                if not running and self._finished():
                    return None
                self._collect(running)
                if not pool.limits_time and self._give_up_late(running):
                    pool.kill()
                    self._waiting = [*running.values(), *self._waiting]
                    return suspects
            except (BrokenProcessPool, CancelledError):
                pool.kill()
                died = list(running.values()) or [begun.pop(0)]  # one whose process died as it started
                return [*self._suspects(died), *begun, *suspects]
            except BaseException:
                _stop(pool, running)
                raise
        _stop(pool, running)
        return None

    def _begin(
        self, suspects: list[TrialTask], running: Mapping[Future[TrialOutcome], TrialTask], free: int
    ) -> list[TrialTask]:
        """Return the trials that may begin now: one suspect if nothing runs, and others only after all suspects.

        Args:
            suspects: Trials that may have killed a pool.
            running: Trials that run.
            free: Number of workers without a trial.
        """
        if suspects:
            return [] if running else [suspects.pop(0)]
        self._waiting += self._ready()
        begun, self._waiting = self._waiting[:free], self._waiting[free:]
        return begun

    def _collect(self, running: dict[Future[TrialOutcome], TrialTask]) -> None:
        """Wait a moment and keep the outcomes of trials that have ended; BrokenProcessPool if a worker has died."""
        if not running:
            time.sleep(PATIENCE_SECONDS)
        for future in wait(running, PATIENCE_SECONDS, FIRST_COMPLETED).done:
            self._keep(future.result())
            del running[future]

    def _give_up_late(self, running: dict[Future[TrialOutcome], TrialTask]) -> bool:
        """Keep a failure for every trial that takes too long; return whether there was one."""
        late = [future for future, task in running.items() if task.is_late()]
        for future in late:
            task = running.pop(future)
            task.clock.unlink(missing_ok=True)
            self._keep(task.overdue())
        return bool(late)

    def _suspects(self, running: list[TrialTask]) -> list[TrialTask]:
        """Return the trials to try again. A trial fails if its worker died too often while no other trial ran."""
        if len(running) != 1:
            return running
        (task,) = running
        self._deaths[task.number] = self._deaths.get(task.number, 0) + 1
        if self._deaths[task.number] < MOST_DEATHS:
            return running
        self._keep(task.outcome("failed", reason=f"the process that ran it died {MOST_DEATHS} times"))
        return []


def _submit(pool: Workers, begun: list[TrialTask], running: dict[Future[TrialOutcome], TrialTask]) -> None:
    """Move trials from ``begun`` to ``running``; if the pool dies meanwhile, the others stay in ``begun``."""
    while begun:
        begun[0].clock.unlink(missing_ok=True)
        running[pool.submit(run_trial, begun[0])] = begun[0]
        del begun[0]


def _stop(pool: Workers, running: Mapping[Future[TrialOutcome], TrialTask]) -> None:
    """Let the running trials save and stop; end them if that takes too long."""
    for future in running:
        future.cancel()
    pool.interrupt()
    if wait(running, STOP_SECONDS).not_done:
        pool.kill()


class Processes(ProcessPoolExecutor, Workers):
    """Processes on this machine, each with its share of the cores that this process may use.

    Args:
        count: Number of processes.
    """

    def __init__(self, count: int) -> None:
        self.at_once = count
        threads = max(1, len(available_cores()) // count)
        self._context = RecordingContext()
        with _starting():
            super().__init__(count, mp_context=self._context, initializer=_begin, initargs=(threads,))
        start_at_once(self)

    def submit(self, function: Callable[..., Any], /, *args: Any, **options: Any) -> Future[Any]:
        """Submit a trial; the first one starts all processes."""
        with _starting():
            return super().submit(function, *args, **options)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes, also those that had started when the system refused another."""
        super().shutdown(wait, cancel_futures=cancel_futures)
        if wait:
            self.kill()

    def interrupt(self) -> None:
        for worker in self._context.alive():
            worker.terminate()

    def kill(self) -> None:
        # A broken pool waits for its other processes, and these ignore its SIGTERM.
        for worker in self._context.alive():
            worker.kill()


_starting = partial(
    starting, "a process for a trial", "choose fewer --workers, or raise this process's limits (ulimit -a)"
)


def settle_threads(threads: int) -> None:
    """Set the number of threads that this process computes with; it affects the last bits of the results."""
    import torch

    os.environ["OMP_NUM_THREADS"] = str(threads)
    torch.set_num_threads(threads)


def _begin(threads: int) -> None:
    """Initialise a worker, which computes with ``threads`` threads; while it trains, it hears its driver's signals."""
    settle_threads(threads)
    begin_worker()
