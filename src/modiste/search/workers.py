"""Where trials run: executors of ``concurrent.futures`` that can be asked to save and stop, and their supervision.

A worker may die. Each trial runs until it has an outcome, and no trial fails because of another.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import parent_process
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any, ClassVar

from modiste.errors import RunError
from modiste.processes import available_cores, safe_path
from modiste.search.trial import Task, TrialOutcome, run_trial
from modiste.training.interruption import SIGNALS, Interruption

MOST_DEATHS = 3
"""Times that a worker may die under a trial before that counts as failed."""
STOP_SECONDS = 60.0
"""How long workers that were asked to stop may take to save."""


class Workers(Executor):
    """What trials are submitted to."""

    keeps_time: ClassVar[bool] = False
    """Whether a trial that takes too long is ended where it runs, so that nobody else need look at the clock."""

    def interrupt(self) -> None:
        """Ask every worker to save what it trains and stop."""
        raise NotImplementedError

    def kill(self) -> None:
        """End every worker at once."""
        raise NotImplementedError


MakeWorkers = Callable[[], Workers]


class Processes(ProcessPoolExecutor, Workers):
    """Processes of this machine, each with its share of the cores that this process may use.

    Args:
        count: of processes.
    """

    def __init__(self, count: int) -> None:
        threads = max(1, len(available_cores()) // count)
        self._context = _RecordingContext()
        with _starting():
            super().__init__(count, mp_context=self._context, initializer=_begin, initargs=(threads,))

    def submit(self, function: Callable[..., Any], /, *args: Any, **options: Any) -> Future[Any]:
        """Hand a trial to a worker, which is started here if there are fewer than there may be."""
        with _starting():
            return super().submit(function, *args, **options)

    def interrupt(self) -> None:
        """Ask every worker of this pool to save what it trains and stop."""
        for worker in self._context.alive():
            worker.terminate()

    def kill(self) -> None:
        """End every worker of this pool: a pool that lost one would wait for the others, which are deaf."""
        for worker in self._context.alive():
            worker.kill()


@contextmanager
def _starting() -> Iterator[None]:
    """Start processes in the block; RunError when this process may not have as many, or open no more files."""
    try:
        with safe_path():
            yield
    except OSError as error:
        raise RunError(
            f"a process for a trial cannot be started ({error.strerror or error}); "
            "choose fewer --workers, or raise this process's limits (ulimit -a)"
        ) from error


class _RecordingContext(SpawnContext):
    """Starts processes anew, without what this one holds, and records them."""

    def __init__(self) -> None:
        self._started: list[SpawnProcess] = []

    def Process(self, *args: Any, **options: Any) -> SpawnProcess:  # type: ignore[override]  # noqa: N802
        """Return a new process, not yet started."""
        self._started.append(SpawnProcess(*args, **options))
        return self._started[-1]

    def alive(self) -> list[SpawnProcess]:
        """Return the processes that have started and not ended."""
        return [process for process in self._started if process.is_alive()]


def settle_threads(threads: int) -> None:
    """Let this process compute with so many threads: they decide the last bits of what it trains."""
    import torch

    os.environ["OMP_NUM_THREADS"] = str(threads)
    torch.set_num_threads(threads)


def _begin(threads: int) -> None:
    """Make a worker: its threads settled, deaf to signals but while it trains, gone when the driver is gone."""
    settle_threads(threads)
    os.setpgid(0, 0)  # Ctrl-C reaches the driver alone, which passes it on once: a second one would kill
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    driver = parent_process()
    assert driver is not None
    driver.join()
    os._exit(1)


PATIENCE_SECONDS = 0.2
"""How long a request to stop may wait to be seen."""


class TrialPool:
    """Runs what ``ready`` hands out and hands each outcome to ``keep``, until there is nothing more.

    Args:
        workers: makes what trials are submitted to; made anew when its processes died.
        ready: returns the trials that may begin, each once; empty while they wait for outcomes, and at the end.
        keep: takes an outcome; what it says may let further trials begin.
        interruption: a request to stop.
        finished: tells whether nothing more will come; until then the pool waits for what others do.
    """

    def __init__(
        self,
        workers: MakeWorkers,
        ready: Callable[[], list[Task]],
        keep: Callable[[TrialOutcome], None],
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
        running: dict[Future[TrialOutcome], Task] = {}
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

    def _begin(self, suspects: list[Task], running: Mapping[Future[TrialOutcome], Task]) -> list[Task]:
        """Return what may begin now: a suspect while nothing runs, nothing else before all of them are done."""
        if suspects:
            return [] if running else [suspects.pop(0)]
        again, self._again = self._again, []
        return [*again, *self._ready()]

    def _collect(self, running: dict[Future[TrialOutcome], Task]) -> None:
        """Keep what has ended; BrokenProcessPool when a worker has died."""
        for future in wait(running, PATIENCE_SECONDS, FIRST_COMPLETED).done:
            self._keep(future.result())
            del running[future]

    def _give_up_late(self, running: dict[Future[TrialOutcome], Task]) -> bool:
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


def _stop(pool: Workers, running: Mapping[Future[TrialOutcome], Task]) -> None:
    """Let what runs save and stop; end it if that takes too long."""
    for future in running:
        future.cancel()
    pool.interrupt()
    if wait(running, STOP_SECONDS).not_done:
        pool.kill()
