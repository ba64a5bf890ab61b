"""Trials on a Ray cluster: each takes its share of cores and GPUs, and runs again if its worker or node dies."""

import io
import math
import signal
import tarfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from modiste.errors import (
    ClusterError,
    FolderInUseError,
    ModisteError,
    RecipeError,
    RunError,
    StoppedError,
    shown,
)
from modiste.runs import manifest, run_folder, storage
from modiste.searches.ray_connection import connect, first_line, lost, watch_head
from modiste.searches.trial import TrialOutcome, TrialTask, run_trial
from modiste.searches.workers import MOST_DEATHS, STOP_SECONDS, Workers, settle_threads

LOCK_SECONDS = 60.0
"""Time that a trial waits for the lock of its run folder, which the worker of a dead node may still hold."""


@dataclass(frozen=True)
class Share:
    """The share of a node that one trial takes: cores, which are also its threads, and GPUs; fractions are allowed."""

    cpus: float = 1.0
    gpus: float = 0.0

    def __post_init__(self) -> None:
        for flag, amount in (("--trial-cpus", self.cpus), ("--trial-gpus", self.gpus)):
            if not 0 <= amount < math.inf:
                raise RecipeError(f"{flag}: expected a number of at least 0, found {amount}")
            if amount > 1 and amount != int(amount):
                raise RecipeError(f"{flag}: expected a fraction of 1 or a whole number, found {amount}")


@dataclass(frozen=True)
class NodeResult:
    """The result of a trial on a node.

    Attributes:
        outcome: Outcome of the trial; None if it was stopped on request.
        folder: The run folder as an archive, if the node does not share the driver's folder.
    """

    outcome: TrialOutcome | None
    folder: bytes | None = None


class RayWorkers(Workers):
    """The workers of a Ray cluster.

    A node that shares the driver's folder trains in it. If such a node dies, its trials continue from their last epoch.
    Another node trains in its own folder and sends it to the driver through the object store. If that node dies, its
    trials begin again.

    A trial fails only if its own worker has died ``MOST_DEATHS`` times. Any other failure of the cluster ends the
    search with a ClusterError, and the next command runs the trial again.

    Args:
        address: ``auto`` joins the cluster of this machine. If there is none, it starts one for this process, on
            loopback and without a dashboard. HOST:PORT joins the cluster with that address.
        folder: Folder of the search or reproduction, in which all run folders are gathered.
        share: Share of a node that each trial takes; one core if None.
        at_once: Number of trials on the cluster at the same time; None for as many as there are, which Ray keeps
            waiting until a node has room.

    Raises:
        MissingExtraError: Ray is not installed.
        ClusterError: No cluster answers, or no node is large enough.
        StorageError: The folder cannot be written.
    """

    limits_time = True

    def __init__(self, address: str, folder: Path, share: Share | None = None, at_once: int | None = None) -> None:
        self._share, self.at_once = share or Share(), at_once or Workers.at_once
        self._running: dict[Future[TrialOutcome], Any] = {}
        self._mark = folder / f".seen-{uuid.uuid4().hex}"
        self._left, self._loss = threading.Event(), ""
        self._ray = connect(address)
        try:
            self._check_size()
            storage.write_text(self._mark, "")
            self._remote = self._ray.remote(
                num_cpus=self._share.cpus, num_gpus=self._share.gpus, max_retries=MOST_DEATHS - 1
            )(run_on_node)
            watch_head(self._ray, self._left, self._give_up)
        except BaseException:
            self._leave()
            raise

    def submit(self, function: Callable[..., Any], /, *args: Any, **options: Any) -> Future[Any]:
        """Submit a trial, which begins when a node has room; ``function`` must be ``run_trial``."""
        (task,) = args
        assert function is run_trial
        assert not options
        if self._loss:
            raise lost(self._loss)
        task = replace(task, folder=task.folder.resolve())
        begun, given = pack(task.folder) if task.folder.exists() else None, time.monotonic()
        try:
            reference = self._remote.remote(task, self._mark.resolve(), begun, max(1, int(self._share.cpus)))
        except self._ray.exceptions.RayError as error:
            raise lost(first_line(error)) from error
        done: Future[TrialOutcome] = Future()
        self._running[done] = reference
        done.set_running_or_notify_cancel()
        reference.future().add_done_callback(lambda inner: self._settle(inner, task, given, done))
        return done

    def interrupt(self) -> None:
        """Ask every trial to save and stop; trials that have not begun are cancelled."""
        for reference in list(self._running.values()):
            self._ray.cancel(reference)

    def kill(self) -> None:
        for reference in list(self._running.values()):
            self._ray.cancel(reference, force=True)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Leave the cluster after interrupted trials have saved."""
        if cancel_futures:
            self.kill()
        if wait:
            wait_for(list(self._running), STOP_SECONDS)
        self._leave()

    def _leave(self) -> None:
        """Leave the cluster, which is otherwise joined for as long as this process lives."""
        self._left.set()
        self._ray.shutdown()
        with suppress(OSError):  # that would hide why nothing could be written
            self._mark.unlink()

    def _settle(self, inner: Future[NodeResult], task: TrialTask, given: float, done: Future[TrialOutcome]) -> None:
        """Pass on the outcome, or the error, of a trial that Ray has ended; it was submitted at the time ``given``."""
        try:
            outcome = self._outcome(inner, task, given)
        except BaseException as error:
            self._end(done, error)
        else:
            self._end(done, outcome)

    def _outcome(self, inner: Future[NodeResult], task: TrialTask, given: float) -> TrialOutcome:
        """Return the outcome of a trial; StoppedError if it was cancelled, ClusterError if it could not be run."""
        errors = self._ray.exceptions
        try:
            returned = inner.result()
        except errors.TaskCancelledError:
            raise StoppedError("stopped on request") from None
        except (errors.WorkerCrashedError, errors.OutOfMemoryError) as error:
            crashed = isinstance(error, errors.WorkerCrashedError)  # so ends a trial whose time is up
            late = crashed and task.minutes and time.monotonic() - given > MOST_DEATHS * 60 * task.minutes
            reason = f"its worker died {MOST_DEATHS} times ({type(error).__name__})"
            return task.overdue() if late else task.outcome("failed", reason=reason)
        except errors.RayError as error:
            cause = getattr(error, "cause", None)
            raise cause if isinstance(cause, ModisteError) else lost(first_line(cause or error)) from error
        if returned.folder is not None:
            unpack(returned.folder, task.folder)
        if returned.outcome is None:
            raise StoppedError("stopped on request")
        return returned.outcome

    def _end(self, done: Future[TrialOutcome], result: TrialOutcome | BaseException) -> None:
        """Set the result of a trial, unless it already has one."""
        if self._running.pop(done, None) is None:
            return
        if isinstance(result, TrialOutcome):
            done.set_result(result)
        else:
            done.set_exception(result)

    def _give_up(self, loss: str) -> None:
        """End all trials with the reason why the cluster was lost."""
        self._loss = loss
        for done in list(self._running):
            self._end(done, lost(loss))

    def _check_size(self) -> None:
        """Raise ClusterError unless some node has room for a trial."""
        wanted = {"CPU": self._share.cpus, "GPU": self._share.gpus}
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        if not any(all(node.get(name, 0) >= amount for name, amount in wanted.items()) for node in nodes):
            largest = {name: max((node.get(name, 0) for node in nodes), default=0) for name in wanted}
            raise ClusterError(
                f"no node of the cluster has {wanted['CPU']:g} cores and {wanted['GPU']:g} GPUs for a trial; the "
                f"largest of its {len(nodes)} nodes have {largest['CPU']:g} and {largest['GPU']:g}; "
                "choose smaller --trial-cpus or --trial-gpus, or another --ray"
            )


def run_on_node(task: TrialTask, mark: Path, begun: bytes | None, threads: int) -> NodeResult:
    """Run a trial in the driver's folder if this node shares it, else in a temporary folder that is sent to the driver.

    Args:
        task: The trial; its folder is on the driver's machine.
        mark: A file with a unique name in the driver's folder. It shows whether this node shares the folder.
        begun: The run folder as an archive, if the trial has begun before.
        threads: Number of threads to compute with.
    """
    settle_threads(threads)
    with _time_limit(task.minutes):
        return _run_near(task, mark, begun)


def _run_near(task: TrialTask, mark: Path, begun: bytes | None) -> NodeResult:
    """Run a trial in the shared folder, or in a temporary one."""
    if mark.exists():
        return NodeResult(_run(task))
    with TemporaryDirectory(prefix="modiste-") as scratch:
        folder = Path(scratch) / task.folder.name  # trackers name the run after it
        if begun is not None:
            unpack(begun, folder)
        outcome = _run(replace(task, folder=folder))
        return NodeResult(outcome, pack(folder) if folder.exists() else None)


@contextmanager
def _time_limit(minutes: float) -> Iterator[None]:
    """Let the kernel end this process if the block takes longer, even if the process hangs; 0 for no limit."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, 60 * minutes)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def pack(folder: Path) -> bytes:
    """Return a run folder as a tar archive, without hidden files such as the lock, but with the trackers' identity."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and (not path.name.startswith(".") or path.name == run_folder.TRACKING):
                tar.add(path, str(path.relative_to(folder)), recursive=False)
    return archive.getvalue()


def unpack(archive: bytes, folder: Path) -> None:
    """Write the files of an archive into ``folder``, the manifest last. An interrupted write leaves no partial file.

    Raises:
        RunError: It is not an archive of files, or one of them has a path outside the folder. Nothing is written then.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
            files = {member.name: _content(tar, member, folder) for member in tar}
    except (tarfile.TarError, OSError, ValueError) as error:
        raise RunError(f"{folder}: a node sent something that is not the archive of a run ({error})") from error
    for name in sorted(files, key=lambda name: name == manifest.NAME):
        storage.write_bytes(folder / name, files[name])


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> bytes:
    """Return the content of a member; ValueError unless it is a file, and one for this folder."""
    file = tar.extractfile(member) if member.isreg() else None
    if file is None or not storage.lies_in(folder, member.name):
        raise ValueError(f"{shown(member.name)}: expected a file in the folder of the run")
    return file.read()


def _run(task: TrialTask) -> TrialOutcome | None:
    """Run the trial, or return None if it was stopped; wait while the worker of a dead node still locks the folder."""
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            return run_trial(task)
        except StoppedError:
            return None
        except FolderInUseError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
