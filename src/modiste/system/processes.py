"""Free processor cores, this process among others, its imports, requests to stop it, and processes that it starts.

Threads that share the work of a layer wait for one another by spinning. If another process holds a core, two such
threads take turns on one core and spin in vain: training becomes ten times slower, not twice. One thread fewer avoids
this.
"""

import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import parent_process
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from modiste.errors import RunError
from modiste.system import posix

STAT = Path("/proc/stat")
IDLE, WAITING = 4, 5
"""Columns of a line such as ``cpu0 user nice system idle iowait ...``, in clock ticks (proc_stat(5))."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""Requests to stop: of Ctrl-C, and of the system or a scheduler."""


class CoreWatch:
    """Measures, from its construction on, how many of this process's cores other processes leave free."""

    def __init__(self) -> None:
        self.cores = available_cores()
        self._idle, self._own, self._began = idle_seconds(self.cores), time.process_time(), time.perf_counter()

    def free(self) -> int:
        """Return how many cores were idle or used by this process, at least 1; all of them without ``/proc/stat``."""
        now = idle_seconds(self.cores)
        if self._idle is None or now is None:
            return len(self.cores)
        share = (now - self._idle + time.process_time() - self._own) / (time.perf_counter() - self._began)
        return min(max(round(share), 1), len(self.cores))


def available_cores() -> set[int]:
    """Return the numbers of the cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def idle_seconds(cores: set[int]) -> float | None:
    """Return the idle time of these cores since the system started, summed, in seconds; None without ``/proc/stat``."""
    try:
        lines = [line.split() for line in STAT.read_text(encoding="utf-8").splitlines()]
    except OSError:
        return None
    wanted = {f"cpu{number}" for number in cores}
    ticks = sum(int(line[IDLE]) + int(line[WAITING]) for line in lines if line and line[0] in wanted)
    return ticks / os.sysconf("SC_CLK_TCK")


def is_first_process() -> bool:
    """Return whether this process may print and track: of the processes that torchrun started, only the first may."""
    return is_alone() or os.environ["RANK"] == "0"


def is_alone() -> bool:
    """Return whether torchrun did not start this process, or started it without others to train with."""
    return "TORCHELASTIC_RUN_ID" not in os.environ or os.environ["WORLD_SIZE"] == "1"


@contextmanager
def importing_torch() -> Iterator[None]:
    """Import torch, and what needs it, in the block without Python's garbage collector, in a seventh less time.

    The collector would walk through all that is imported several times, and find nothing to free. It leaves the modules
    alone afterwards too. If torch has been imported already, the block changes nothing.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()


SAFE_PATH = "PYTHONSAFEPATH"
"""Environment variable that keeps the working directory off Python's module search path, from version 3.11 on."""


@contextmanager
def safe_path() -> Iterator[None]:
    """Keep the working directory off the module search path of every Python process that the block starts.

    Python puts that directory first for ``-c`` and ``-m``, and so does ``multiprocessing`` for its processes. If it
    is a downloaded folder with a file named ``torch.py``, that file would run instead of torch.
    """
    before = os.environ.get(SAFE_PATH)
    os.environ[SAFE_PATH] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[SAFE_PATH]
        else:
            os.environ[SAFE_PATH] = before


@contextmanager
def starting(process: str, remedy: str) -> Iterator[None]:
    """Start processes of a pool in this block, as ``safe_path`` has them.

    Args:
        process: What is started, such as ``a process``, for the message.
        remedy: What to do if the system refuses.

    Raises:
        BrokenProcessPool: A process was killed as it started, which leaves its pipe broken.
        RunError: The system allows no more processes or open files.
    """
    try:
        with safe_path():
            yield
    except BrokenPipeError as error:
        from concurrent.futures.process import BrokenProcessPool  # whoever has a pool has loaded it

        raise BrokenProcessPool("a process died as it started") from error
    except OSError as error:
        raise RunError(f"{process} cannot be started ({error.strerror or error}); {remedy}") from error


class RecordingContext(SpawnContext):
    """Spawns processes, which inherit nothing from this one, and records them."""

    def __init__(self) -> None:
        self._started: list[SpawnProcess] = []

    def Process(self, *args: Any, **options: Any) -> SpawnProcess:  # type: ignore[override]  # noqa: N802
        """Return a new process, not yet started."""
        self._started.append(SpawnProcess(*args, **options))
        return self._started[-1]

    def alive(self) -> list[SpawnProcess]:
        """Return the processes that are running."""
        return [process for process in self._started if process.is_alive()]


def begin_worker() -> None:
    """Initialise a process of a pool: only the driver hears requests to stop, and the process ends with it.

    The driver passes such a request on once, in its own way. A second one would end the process at once.
    """
    posix.leave_group()
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """Wait until the process that started this one has ended, then end this one."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


class Interruption:
    """A context in which the first SIGINT or SIGTERM sets ``requested`` and the next one ends the process.

    In a thread other than the main one, where Python allows no signal handlers, ``requested`` stays False. So it does
    for a signal whose handler is not Python's, but that of a program which embeds it: Python could not restore it.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            own = [number for number in SIGNALS if signal.getsignal(number) is not None]
            self._previous = {number: signal.signal(number, self._request) for number in own}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _request(self, number: int, _frame: FrameType | None) -> None:
        if self.requested:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.requested = True
