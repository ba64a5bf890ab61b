"""Where trials run: processes of this machine."""

import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing import active_children, get_context, parent_process

from modiste.cores import available_cores
from modiste.training.interruption import SIGNALS

MakeExecutor = Callable[[], Executor]


def processes(workers: int) -> MakeExecutor:
    """Return what makes a pool of so many processes, each with its share of the cores that this process may use."""
    threads = max(1, len(available_cores()) // workers)

    def make() -> Executor:
        return ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_begin, initargs=(threads,))

    return make


def interrupt_processes() -> None:
    """Ask every worker of this process to save what it trains and stop."""
    for worker in active_children():
        worker.terminate()


def kill_processes() -> None:
    """End every worker of this process at once: a pool that lost one would wait for the others, which are deaf."""
    for worker in active_children():
        worker.kill()


def _begin(threads: int) -> None:
    """Make a worker: its threads settled, deaf to signals but while it trains, gone when the driver is gone."""
    import torch

    os.environ["OMP_NUM_THREADS"] = str(threads)  # they decide the last bits of what it trains
    torch.set_num_threads(threads)
    os.setpgid(0, 0)  # Ctrl-C reaches the driver alone, which passes it on once: a second one would kill
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    driver = parent_process()
    assert driver is not None
    driver.join()
    os._exit(1)
