"""The connection to a Ray cluster: joined or begun, kept on loopback where it can be, and watched."""

import atexit
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address
from tempfile import mkdtemp
from typing import Any

from modiste import compat
from modiste.errors import ClusterError, MissingExtraError
from modiste.system.processes import SIGNALS, safe_path

OBJECT_STORE_BYTES = 200 * 2**20
"""Size of the object store of a cluster started here. Only run folders that are not shared go through it."""
CONNECT_SECONDS = 5.0
LOOK_SECONDS = 1.0
"""Time between two checks that the cluster's head answers."""
LOST_SECONDS = 20.0
"""A head that does not answer for this long counts as lost. After 60 seconds Ray would end this process."""
QUIETLY: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}


def connect(address: str) -> Any:
    """Join a cluster, or begin one; return Ray itself.

    Args:
        address: ``auto`` joins the cluster of this machine. If there is none, it starts one for this process, on
            loopback and without a dashboard. HOST:PORT joins the cluster with that address.

    Raises:
        MissingExtraError: Ray is not installed.
        ClusterError: No cluster answers, none can be begun, or this program has connected to one itself.
    """
    with _signals_kept():
        return _connected(address)


def _connected(address: str) -> Any:
    compat.keep_process_without_raylet()
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise MissingExtraError("--ray needs Ray: pip install 'modiste[ray]'") from error
    if ray.is_initialized():  # its job lets workers search modules elsewhere, and it is not ours to end
        raise ClusterError(
            f"--ray {address}: this program has connected to a Ray cluster itself, and Modiste needs a connection of "
            "its own; call ray.shutdown() before"
        )
    if address != "auto":
        _join(ray, address)
    elif not _is_joined(ray):
        _begin(ray)
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


def _begin(ray: Any) -> None:
    """Begin a cluster for this process on loopback; ClusterError if that fails."""
    compat.keep_ray_on_loopback()
    options: dict[str, Any] = {
        "include_dashboard": False,
        "object_store_memory": OBJECT_STORE_BYTES,
        compat.RAY_FOLDER: _own_folder(),
    }
    try:
        _init(ray, "local", **options)
    except Exception as error:  # Ray raises errors of many types
        raise ClusterError(
            f"--ray auto: no Ray cluster can be started here ({first_line(error)}); check memory, disk and the limits "
            "of processes (ulimit -a), or join a cluster with --ray HOST:PORT"
        ) from error


def _own_folder() -> str:
    """Return a new folder for a cluster's logs and sockets, deleted at exit.

    In Ray's default folder other programs would find the cluster and join it.
    """
    folder = mkdtemp(prefix="modiste-ray-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _join(ray: Any, address: str) -> None:
    """Join the cluster with this address; ClusterError if none answers."""
    try:
        if check_answer(address).is_loopback:
            compat.keep_ray_on_loopback()
        _init(ray, address)
    except Exception as error:
        raise ClusterError(
            f"--ray {address}: no Ray cluster answers; expected auto or HOST:PORT ({first_line(error)})"
        ) from error


def check_answer(address: str) -> IPv4Address | IPv6Address:
    """Return the IP address that answers at HOST:PORT; OSError if nothing listens there, ValueError at another form."""
    host, _, port = address.rpartition(":")
    where = host.strip("[]"), int(port)  # the brackets of an IPv6 address
    with socket.create_connection(where, timeout=CONNECT_SECONDS) as connection:
        return ip_address(connection.getpeername()[0])


def watch_head(ray: Any, left: threading.Event, give_up: Callable[[str], None]) -> None:
    """Start a thread that calls ``give_up`` with the reason when the cluster's head is lost.

    Ray would wait for the head, and then end this process.

    Args:
        ray: The module, connected to a cluster.
        left: Set when this process has left the cluster; the thread then ends.
        give_up: Called at most once.
    """
    address = ray.get_runtime_context().gcs_address

    def watch() -> None:
        silent_since = None
        while not left.wait(LOOK_SECONDS):
            try:
                check_answer(address)
                silent_since = None
            except OSError as error:
                silent_since = silent_since or time.monotonic()
                if time.monotonic() - silent_since > LOST_SECONDS:
                    give_up(f"its head at {address} does not answer: {error.strerror or error}")
                    return

    threading.Thread(target=watch, daemon=True).start()


def lost(reason: str) -> ClusterError:
    """Return the error of a cluster that cannot be used any longer."""
    return ClusterError(
        f"the Ray cluster cannot be used any longer ({reason}); what has ended is kept, and the same command goes on"
    )


def first_line(error: BaseException) -> str:
    """Return the type of an error and the first line of its message."""
    first = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first}"


def _init(ray: Any, address: str, **begun: Any) -> None:
    with safe_path(), compat.ray_entrypoint_hidden():
        ray.init(address, job_config=compat.ray_job(), **begun, **QUIETLY)


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Restore the signal handlers that Ray replaces in this block."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                signal.signal(number, handler)
