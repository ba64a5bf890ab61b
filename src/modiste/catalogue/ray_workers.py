"""Workers of a Ray cluster: each shard is a plain task on one core, answered without torch."""

import threading
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

from modiste.catalogue.shards import ShardTask, answer_shard, witness_of
from modiste.catalogue.workers import MOST_DEATHS, ShardWorkers, gave_up
from modiste.errors import ClusterError, ModisteError
from modiste.searches.ray_connection import connect, first_line, lost, watch_head

QUEUED = 2
"""Shards handed out for each core, so that no core waits for the driver."""


class RayShardWorkers(ShardWorkers):
    """The cores of a Ray cluster, whose nodes see the pictures at the same paths as the driver.

    Ray answers a shard again if its worker or node died. The shards themselves are written by the driver alone.

    Args:
        address: Address of the cluster; see ``ray_connection.connect``.
        model: Path of the ONNX file, which is sent to each node once.

    Raises:
        MissingExtraError: Ray is not installed.
        ClusterError: No cluster answers, or none of its nodes has a core.
    """

    def __init__(self, address: str, model: Path, _shards: int) -> None:
        self._tasks: dict[Future[bytes], ShardTask] = {}
        self._left, self._loss = threading.Event(), ""
        self._ray = connect(address)
        try:
            self._cores = self._count_cores(address)
            self._model = self._ray.put(model.read_bytes())
            self._remote = self._ray.remote(num_cpus=1, max_retries=MOST_DEATHS - 1)(answer_shard)
            watch_head(self._ray, self._left, self._give_up)
        except BaseException:
            self.close()
            raise

    def _count_cores(self, address: str) -> int:
        cores = int(self._ray.cluster_resources().get("CPU", 0))
        if cores < 1:
            raise ClusterError(f"--ray {address}: no node of the cluster has a core for a shard; add a node with one")
        return cores

    @property
    def slots(self) -> int:
        return QUEUED * self._cores

    def submit(self, task: ShardTask) -> Future[bytes]:
        if self._loss:
            raise lost(self._loss)
        try:
            reference = self._remote.remote(replace(task, witness=witness_of(task)), self._model)
        except self._ray.exceptions.RayError as error:
            raise lost(first_line(error)) from error
        done: Future[bytes] = Future()
        self._tasks[done] = task
        reference.future().add_done_callback(lambda inner: _settle(done, inner))
        return done

    def result(self, future: Future[bytes]) -> bytes:
        errors, task = self._ray.exceptions, self._tasks.pop(future)
        try:
            return future.result()
        except (errors.WorkerCrashedError, errors.OutOfMemoryError) as error:
            raise gave_up(task, MOST_DEATHS) from error
        except errors.RayError as error:
            cause: Any = getattr(error, "cause", None)
            raise cause if isinstance(cause, ModisteError) else lost(first_line(cause or error)) from error

    def restart(self) -> None:
        """Do nothing: Ray replaces workers that have died."""

    def close(self) -> None:
        self._left.set()
        self._ray.shutdown()

    def _give_up(self, loss: str) -> None:
        """End all shards with the reason why the cluster was lost."""
        self._loss = loss
        for future in list(self._tasks):
            if not future.done():
                future.set_exception(lost(loss))


def _settle(done: Future[bytes], inner: Future[bytes]) -> None:
    """Pass on what Ray reports of a shard, unless the cluster was given up before."""
    if done.done():
        return
    if (error := inner.exception()) is not None:
        done.set_exception(error)
    else:
        done.set_result(inner.result())
