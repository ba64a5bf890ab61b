"""Trials on a Ray cluster: placed by their share of cores and GPUs, tried again when a worker or node dies."""

import atexit
import io
import math
import os
import shutil
import signal
import socket
import tarfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from contextlib import contextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

from modiste import compat
from modiste.errors import (
    ClusterError,
    FolderInUseError,
    MissingExtraError,
    ModisteError,
    RecipeError,
    RunError,
    StoppedError,
)
from modiste.processes import safe_path
from modiste.runs import manifest, storage
from modiste.search.trial import Task, TrialOutcome, run_trial
from modiste.search.workers import MOST_DEATHS, STOP_SECONDS, Workers, settle_threads
from modiste.training.interruption import SIGNALS

OBJECT_STORE_BYTES = 200 * 2**20
"""Of a cluster begun here; only run folders that cannot be shared go through it."""
LOCK_SECONDS = 60.0
"""How long a trial waits for the worker of a dead node to let go of its run folder."""
CONNECT_SECONDS = 5.0
LOOK_SECONDS = 1.0
"""Between two looks at whether the cluster's head answers."""
LOST_SECONDS = 20.0
"""A head that has not answered for so long is lost; after 60 seconds Ray itself would end this process."""
QUIETLY: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}


@dataclass(frozen=True)
class Share:
    """What one trial takes of a node: cores, which are its threads as well, and GPUs, parts of one included."""

    cpus: float = 1.0
    gpus: float = 0.0

    def __post_init__(self) -> None:
        for flag, amount in (("--trial-cpus", self.cpus), ("--trial-gpus", self.gpus)):
            if not 0 <= amount < math.inf:
                raise RecipeError(f"{flag}: expected a number of at least 0, found {amount}")
            if amount > 1 and amount != int(amount):
                raise RecipeError(f"{flag}: expected a part of 1 or a whole number, found {amount}")


@dataclass(frozen=True)
class Returned:
    """What comes back from a node.

    Attributes:
        outcome: of the trial; None if it was stopped on request.
        folder: the run folder as an archive, where the driver's own could not be reached.
    """

    outcome: TrialOutcome | None
    folder: bytes | None = None


class RayWorkers(Workers):
    """The workers of a Ray cluster.

    A node that sees the driver's folder, by whatever file system they share, trains in it: a trial goes on from its
    last epoch when its node dies. Any other trains in a folder of its own and sends it home through the object store;
    there a trial whose node dies begins anew.

    Args:
        address: ``auto`` joins the cluster that this machine is part of, or else begins one that only this process
            uses, bound to loopback and without a dashboard; HOST:PORT joins that one.
        folder: where the runs are gathered.
        share: what each trial takes.

    A trial fails for good only when its own worker died, ``MOST_DEATHS`` times. Whatever else happens to the cluster
    ends the search with a ClusterError, and the trial is run again by the next command.

    Raises:
        MissingExtraError: Ray is not installed.
        ClusterError: no cluster answers, or none of its nodes is large enough.
    """

    keeps_time = True

    def __init__(self, address: str, folder: Path, share: Share | None = None) -> None:
        self._share = share or Share()
        self._running: dict[Future[TrialOutcome], Any] = {}
        self._mark = folder / f".seen-{uuid.uuid4().hex}"
        self._left, self._loss = threading.Event(), ""
        with _signals_kept():
            self._ray = _connect(address)
        self._check_size()
        storage.write_text(self._mark, "")
        self._remote = self._ray.remote(
            num_cpus=self._share.cpus, num_gpus=self._share.gpus, max_retries=MOST_DEATHS - 1
        )(run_on_node)
        threading.Thread(target=self._watch, daemon=True).start()

    def submit(self, function: Callable[..., Any], /, *args: Any, **options: Any) -> Future[Any]:
        """Begin a trial as soon as a node has room; ``function`` is ``run_trial``."""
        (task,) = args
        assert function is run_trial
        assert not options
        if self._loss:
            raise _lost(self._loss)
        task = replace(task, folder=task.folder.resolve())
        begun, given = pack(task.folder) if task.folder.exists() else None, time.monotonic()
        try:
            reference = self._remote.remote(task, self._mark.resolve(), begun, max(1, int(self._share.cpus)))
        except self._ray.exceptions.RayError as error:
            raise _lost(_first_line(error)) from error
        done: Future[TrialOutcome] = Future()
        self._running[done] = reference
        done.set_running_or_notify_cancel()
        reference.future().add_done_callback(lambda inner: self._settle(inner, task, given, done))
        return done

    def interrupt(self) -> None:
        """Ask every trial to save and stop; those that have not begun are dropped."""
        for reference in list(self._running.values()):
            self._ray.cancel(reference)

    def kill(self) -> None:
        """End every trial at once."""
        for reference in list(self._running.values()):
            self._ray.cancel(reference, force=True)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Leave the cluster, once what was interrupted has saved."""
        if cancel_futures:
            self.kill()
        if wait:
            wait_for(list(self._running), STOP_SECONDS)
        self._left.set()
        self._mark.unlink(missing_ok=True)
        self._ray.shutdown()

    def _settle(self, inner: Future[Returned], task: Task, given: float, done: Future[TrialOutcome]) -> None:
        """Turn what Ray reports of a trial, submitted at the time ``given``, into its outcome."""
        try:
            outcome = self._outcome(inner, task, given)
        except BaseException as error:
            self._end(done, error)
        else:
            self._end(done, outcome)

    def _outcome(self, inner: Future[Returned], task: Task, given: float) -> TrialOutcome:
        """Return the outcome of a trial; StoppedError when it was cancelled, ClusterError when it could not be run."""
        errors = self._ray.exceptions
        try:
            returned = inner.result()
        except errors.TaskCancelledError:
            raise StoppedError("stopped on request") from None
        except (errors.WorkerCrashedError, errors.OutOfMemoryError) as error:
            late = task.minutes and time.monotonic() - given > MOST_DEATHS * 60 * task.minutes
            reason = f"its worker died {MOST_DEATHS} times ({type(error).__name__})"
            return task.overdue() if late else task.outcome("failed", reason=reason)
        except errors.RayError as error:
            cause = getattr(error, "cause", None)
            raise cause if isinstance(cause, ModisteError) else _lost(_first_line(cause or error)) from error
        if returned.folder is not None:
            unpack(returned.folder, task.folder)
        if returned.outcome is None:
            raise StoppedError("stopped on request")
        return returned.outcome

    def _end(self, done: Future[TrialOutcome], result: TrialOutcome | BaseException) -> None:
        """Hand a trial's result over, unless it has one."""
        if self._running.pop(done, None) is None:
            return
        if isinstance(result, TrialOutcome):
            done.set_result(result)
        else:
            done.set_exception(result)

    def _watch(self) -> None:
        """Give up on every trial when the cluster's head is lost: Ray would wait, and then end this process."""
        address, silent_since = self._ray.get_runtime_context().gcs_address, None
        while not self._left.wait(LOOK_SECONDS):
            try:
                _check_answer(address)
                silent_since = None
            except OSError as error:
                silent_since = silent_since or time.monotonic()
                if time.monotonic() - silent_since > LOST_SECONDS:
                    self._give_up(f"its head at {address} does not answer: {error.strerror or error}")
                    return

    def _give_up(self, loss: str) -> None:
        self._loss = loss
        for done in list(self._running):
            self._end(done, _lost(loss))

    def _check_size(self) -> None:
        wanted = {"CPU": self._share.cpus, "GPU": self._share.gpus}
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        if not any(all(node.get(name, 0) >= amount for name, amount in wanted.items()) for node in nodes):
            largest = {name: max((node.get(name, 0) for node in nodes), default=0) for name in wanted}
            self._ray.shutdown()
            raise ClusterError(
                f"no node of the cluster has {wanted['CPU']:g} cores and {wanted['GPU']:g} GPUs for a trial; the "
                f"largest of its {len(nodes)} nodes have {largest['CPU']:g} and {largest['GPU']:g}; "
                "choose smaller --trial-cpus or --trial-gpus, or another --ray"
            )


def run_on_node(task: Task, mark: Path, begun: bytes | None, threads: int) -> Returned:
    """Run a trial in the driver's folder where this node sees it, else in one of its own that is sent home.

    Args:
        task: of which trial; its folder is the driver's.
        mark: a file in the driver's folder that no other has.
        begun: the run folder as it was, if the trial has begun before.
        threads: to compute with.
    """
    settle_threads(threads)
    with _ended_after(task.minutes):
        return _run_near(task, mark, begun)


def _run_near(task: Task, mark: Path, begun: bytes | None) -> Returned:
    if mark.exists():
        return Returned(_run(task))
    with TemporaryDirectory(prefix="modiste-") as scratch:
        folder = Path(scratch) / "run"
        if begun is not None:
            unpack(begun, folder)
        outcome = _run(replace(task, folder=folder))
        return Returned(outcome, pack(folder) if folder.exists() else None)


@contextmanager
def _ended_after(minutes: float) -> Iterator[None]:
    """Have the kernel end this process, whatever it hangs in, if the block takes longer; 0 never does."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, 60 * minutes)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def pack(folder: Path) -> bytes:
    """Return a run folder as an archive, but for what only its own process needs."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.name.startswith("."):
                tar.add(path, str(path.relative_to(folder)), recursive=False)
    return archive.getvalue()


def unpack(archive: bytes, folder: Path) -> None:
    """Write every file of an archive into ``folder``, each whole or not at all, the manifest last.

    RunError when it is none, or holds anything that is not a file within the folder; nothing is written then.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
            members = [tarfile.data_filter(member, str(folder)) for member in tar]
            files = {member.name: tar.extractfile(member).read() for member in members if member.isreg()}  # type: ignore[union-attr]
    except (tarfile.TarError, OSError, ValueError) as error:
        raise RunError(f"{folder}: a node sent no run's archive ({error})") from error
    for name in sorted(files, key=lambda name: name == manifest.NAME):
        storage.write_bytes(folder / name, files[name])


def _run(task: Task) -> TrialOutcome | None:
    """Run the trial, None if it was stopped; wait while a worker whose node died still holds the folder."""
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


def _connect(address: str) -> Any:
    """Join the cluster, or begin one; return Ray itself."""
    compat.keep_process_without_raylet()
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise MissingExtraError("--ray needs Ray: pip install 'modiste[ray]'") from error
    if address != "auto":
        _join(ray, address)
    elif not _is_joined(ray):
        compat.keep_ray_on_loopback()
        begun: dict[str, Any] = {
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
            compat.RAY_FOLDER: _own_folder(),
        }
        _init(ray, "local", **begun)
    return ray


def _is_joined(ray: Any) -> bool:
    """Join the cluster that this machine is part of; False if it is part of none that lives."""
    address = os.environ.get("RAY_ADDRESS") or compat.read_ray_address()
    if not address:
        return False
    try:
        _join(ray, address)
    except ClusterError:
        return False
    return True


def _own_folder() -> str:
    """Make a folder for a cluster's logs and sockets, gone at the end; in Ray's own, others would find it and join."""
    folder = mkdtemp(prefix="modiste-ray-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _join(ray: Any, address: str) -> None:
    try:
        host = _check_answer(address)
        if ip_address(socket.gethostbyname(host)).is_loopback:
            compat.keep_ray_on_loopback()
        _init(ray, address)
    except (OSError, ValueError, RuntimeError) as error:
        raise ClusterError(f"--ray {address}: no Ray cluster answers; expected auto or HOST:PORT ({error})") from error


def _check_answer(address: str) -> str:
    """Return the host of an address HOST:PORT; OSError when nothing listens there, ValueError when it is none."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")  # of an IPv6 address
    socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    return host


def _lost(reason: str) -> ClusterError:
    return ClusterError(
        f"the Ray cluster cannot be used any longer ({reason}); what has ended is kept, and the same command goes on"
    )


def _first_line(error: BaseException) -> str:
    first = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first}"


def _init(ray: Any, address: str, **begun: Any) -> None:
    with safe_path(), compat.ray_entrypoint_hidden():
        ray.init(address, job_config=compat.ray_job(), **begun, **QUIETLY)


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Give back the handlers that Ray puts its own in the place of."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                signal.signal(number, handler)
