"""Where trials run: executors of ``concurrent.futures`` that can be asked to save and stop, and processes as such."""

import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing import active_children, get_context, parent_process
from typing import ClassVar

from modiste.cores import available_cores
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
        super().__init__(count, mp_context=get_context("spawn"), initializer=_begin, initargs=(threads,))

    def interrupt(self) -> None:
        """Ask every worker of this process to save what it trains and stop."""
        for worker in active_children():
            worker.terminate()

    def kill(self) -> None:
        """End every worker of this process: a pool that lost one would wait for the others, which are deaf."""
        for worker in active_children():
            worker.kill()


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
