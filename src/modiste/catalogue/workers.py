"""Workers that answer shards: processes on this machine. ``ray_workers`` has those of a Ray cluster."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import TracebackType

from modiste.catalogue.shards import ShardTask, answer_shard
from modiste.compat import start_at_once
from modiste.errors import RunError, shown
from modiste.system.processes import RecordingContext, available_cores, begin_worker, starting

MOST_DEATHS = 3
"""A shard is given up when workers have died this many times while they answered it, and no other shard beside it."""


class DiedError(Exception):
    """A worker died, and others may have died with it; the shards at work have to be answered again."""


def gave_up(task: ShardTask, deaths: int) -> RunError:
    """Return the error of a shard over which workers have died this many times."""
    return RunError(
        f"workers died {deaths} times over shard {task.number:,}, {len(task.names):,} pictures from "
        f"{shown(os.fsdecode(task.names[0]))} on; free memory, or take them out; what is done is kept, and the same "
        "command tries them again"
    )


class ShardWorkers(ABC):
    """Processes that answer shards; a context that ends them."""

    @property
    @abstractmethod
    def slots(self) -> int:
        """The number of shards to hand out at the same time."""

    @abstractmethod
    def submit(self, task: ShardTask) -> "Future[bytes]":
        """Hand out a shard; if its worker dies as it starts, ``result`` says so."""

    @abstractmethod
    def result(self, future: "Future[bytes]") -> bytes:
        """Return a shard that is done; DiedError if its worker died, or the error that it raised."""

    @abstractmethod
    def restart(self) -> None:
        """Replace workers that have died."""

    @abstractmethod
    def close(self) -> None:
        """End all workers at once."""

    def __enter__(self) -> "ShardWorkers":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


MakeShardWorkers = Callable[[Path, int], ShardWorkers]
"""Makes the workers, from the path of the model and the number of shards to answer."""


class LocalWorkers(ShardWorkers):
    """Processes on this machine, one on each core, none of them with torch.

    Args:
        model: Path of the ONNX file.
        shards: Number of shards to answer; there are no more processes than that.
    """

    def __init__(self, model: Path, shards: int) -> None:
        self._model, self._count = model, max(1, min(len(available_cores()), shards))
        self._pool = self._started()

    @property
    def slots(self) -> int:
        return self._count + 1  # one waits, so that no process does

    def submit(self, task: ShardTask) -> "Future[bytes]":
        try:
            with starting("a process", "raise its limits (ulimit -a)"):
                return self._pool.submit(answer_shard, task, self._model)
        except BrokenProcessPool as error:
            died: Future[bytes] = Future()
            died.set_exception(error)
            return died

    def result(self, future: "Future[bytes]") -> bytes:
        try:
            return future.result()
        except BrokenProcessPool:
            raise DiedError from None

    def restart(self) -> None:
        self.close()
        self._pool = self._started()

    def close(self) -> None:
        for process in self._context.alive():
            process.kill()
        # Waits for the pool's own thread, which has nothing left to do: at the program's end it would be in the way.
        self._pool.shutdown(cancel_futures=True)

    def _started(self) -> ProcessPoolExecutor:
        self._context = RecordingContext()
        pool = ProcessPoolExecutor(self._count, mp_context=self._context, initializer=begin_worker)
        start_at_once(pool)
        return pool
