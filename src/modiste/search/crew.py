"""Trials run by workers that may die: each until it has an outcome, none blamed for another."""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from concurrent.futures.process import BrokenProcessPool

from modiste.search.trial import Outcome, Task, run_trial
from modiste.search.workers import MOST_DEATHS, STOP_SECONDS, MakeWorkers, Workers
from modiste.training.interruption import Interruption

PATIENCE_SECONDS = 0.2
"""How long a request to stop may wait to be seen."""


class Crew:
    """Runs what ``ready`` hands out and hands each outcome to ``keep``, until there is nothing more.

    Args:
        workers: makes what trials are submitted to; made anew when its processes died.
        ready: returns the trials that may begin, each once; empty while they wait for outcomes, and at the end.
        keep: takes an outcome; what it says may let further trials begin.
        interruption: a request to stop.
        finished: tells whether nothing more will come; until then the crew waits for what others do.
    """

    def __init__(
        self,
        workers: MakeWorkers,
        ready: Callable[[], list[Task]],
        keep: Callable[[Outcome], None],
        interruption: Interruption,
        finished: Callable[[], bool] = lambda: True,
    ) -> None:
        self._finished = finished
        self._workers, self._ready, self._keep, self._interruption = workers, ready, keep, interruption
        self._deaths: dict[int, int] = {}
        self._again: list[Task] = []

    def work(self) -> bool:
        """Run trials to the last; False when a signal asked to stop. Those that ran have then saved what they had.

        The same holds when a trial, or whoever keeps its outcome, raises an error, which is raised here again.
        """
        suspects: list[Task] | None = []
        while suspects is not None:
            with self._workers() as pool:
                suspects = self._run(pool, suspects)
        return not self._interruption.requested

    def _run(self, pool: Workers, suspects: list[Task]) -> list[Task] | None:
        """Run trials until all are done, or a stop is asked for: None; or the pool dies: those that may be to blame.

        Those that may be to blame for an earlier pool's death come first and alone, so that no other is. A trial that
        takes too long ends with the pool, for nothing else ends it; those beside it go on in the next.
        """
        running: dict[Future[Outcome], Task] = {}
        while not self._interruption.requested:
            begun = self._begin(suspects, running)
            try:
                while begun:
                    begun[0].clock.unlink(missing_ok=True)
                    running[pool.submit(run_trial, begun[0])] = begun[0]
                    del begun[0]
                if running:
                    self._collect(running)
                    if not pool.keeps_time and self._give_up_late(running):
                        pool.kill()
                        self._again += running.values()
                        return suspects
                elif self._finished():
                    return None
                else:
                    time.sleep(PATIENCE_SECONDS)
            except (BrokenProcessPool, CancelledError):
                pool.kill()
                return [*self._blamed(list(running.values())), *begun, *suspects]
            except BaseException:
                _stop(pool, running)
                raise
        _stop(pool, running)
        return None

    def _begin(self, suspects: list[Task], running: Mapping[Future[Outcome], Task]) -> list[Task]:
        """Return what may begin now: a suspect while nothing runs, nothing else before all of them are done."""
        if suspects:
            return [] if running else [suspects.pop(0)]
        again, self._again = self._again, []
        return [*again, *self._ready()]

    def _collect(self, running: dict[Future[Outcome], Task]) -> None:
        """Keep what has ended; BrokenProcessPool when a worker has died."""
        for future in wait(running, PATIENCE_SECONDS, FIRST_COMPLETED).done:
            self._keep(future.result())
            del running[future]

    def _give_up_late(self, running: dict[Future[Outcome], Task]) -> bool:
        """Keep of every trial that takes too long that it failed; tell whether there was one."""
        late = [future for future, task in running.items() if task.is_late()]
        for future in late:
            task = running.pop(future)
            task.clock.unlink(missing_ok=True)
            self._keep(task.overdue())
        return bool(late)

    def _blamed(self, running: list[Task]) -> list[Task]:
        """Return the trials to try again; one that died too often, with no other running, has failed."""
        if len(running) != 1:
            return running
        (task,) = running
        self._deaths[task.number] = self._deaths.get(task.number, 0) + 1
        if self._deaths[task.number] < MOST_DEATHS:
            return running
        self._keep(task.outcome("failed", reason=f"the process that ran it died {MOST_DEATHS} times"))
        return []


def _stop(pool: Workers, running: Mapping[Future[Outcome], Task]) -> None:
    """Let what runs save and stop; end it if that takes too long."""
    for future in running:
        future.cancel()
    pool.interrupt()
    if wait(running, STOP_SECONDS).not_done:
        pool.kill()
