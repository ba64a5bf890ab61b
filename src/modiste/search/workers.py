"""Where trials run: executors of ``concurrent.futures`` that can be asked to save and stop, and processes as such."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import parent_process
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any, ClassVar

from modiste.children import safe_path
from modiste.cores import available_cores
from modiste.errors import RunError
from modiste.training.interruption import SIGNALS

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
