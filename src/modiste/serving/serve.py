"""Serving a model over HTTP: export of a run where needed, and the listening socket."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from modiste.errors import MissingExtraError, RunError, StorageError
from modiste.inference.onnx_check import NEEDS_EXTRA
from modiste.inference.onnx_model import OnnxModel
from modiste.runs import manifest, storage
from modiste.serving.settings import Limits, ServerSettings

if TYPE_CHECKING:
    from modiste.serving.server import Server

FIRST_INHERITED = 3
"""Number of the first file that systemd hands to a service (SD_LISTEN_FDS_START)."""


def serve(
    source: Path | str,
    settings: ServerSettings | None = None,
    *,
    data_folder: Path | None = None,
    limits: Limits | None = None,
    say: Callable[[str], None] = print,
    warn: Callable[[str], None] = print,
) -> None:
    """Answer requests until SIGTERM or SIGINT.

    A socket that systemd opened for this process (sd_listen_fds(3)) is used in place of the settings' host and port. It
    stays open between two servers, so that requests wait while one follows the other.

    Args:
        source: An ONNX file of ``modiste export``, or a run's folder, which is exported first if it holds none.
        settings: Where the server listens, who may use it, and how it answers; None for the defaults.
        data_folder: Where the run's data set lies; needed only if the run is exported first.
        limits: How much the server accepts.
        say: Called with a line that names the server's address.
        warn: Called with a line if the log cannot be written while the server runs.

    Raises:
        RunError: The file does not exist, is damaged, or must not be served.
        RecipeError: Other machines could reach the server without a token; or a name, the port or the network is unfit.
        StorageError: The address or the log cannot be used, or the process may open too few files.
        MissingExtraError: A package of the extra ``serve``, or the segmentation network, is not installed.
        DataError: The segmentation network's file is another one.
    """
    settings, inherited = settings or ServerSettings(), _inherited()
    if inherited is not None:
        host, port = inherited.getsockname()[:2]
        settings = replace(settings, host=host, port=port)
    settings = settings.checked()
    model = OnnxModel.load(model_file(Path(source), data_folder))
    server = _server(model, settings, limits, warn)
    with inherited or _listening(settings.host, settings.port) as listener:
        host, port = settings.host, listener.getsockname()[1]
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}{settings.root_path}/"
        server.announce = partial(say, f"serving {source} on {address} - stop with Ctrl-C")
        server.run(sockets=[listener])


def model_file(source: Path, data_folder: Path | None = None) -> Path:
    """Return the ONNX file of a run's folder, exported now if it is missing; RunError if it has changed since."""
    if storage.is_folder(source) and not manifest.has_onnx_file(source):
        export(source, data_folder)
    return manifest.onnx_file(source)


def export(run: Path, data_folder: Path | None = None) -> None:
    """Export a run in another process, so that this one does not load torch.

    That process imports nothing from the working directory.
    """
    print(f"exporting {run} first", file=sys.stderr, flush=True)
    arguments = [sys.executable, "-P", "-m", "modiste", "export", os.path.join(os.curdir, run)]  # noqa: PTH118 - keeps ./
    if data_folder is not None:
        arguments.append(f"--data-folder={data_folder}")
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}  # for the processes that it starts in turn
    done = subprocess.run(arguments, stdout=subprocess.DEVNULL, env=environment, check=False)
    if done.returncode:
        raise RunError(f"{run}: could not be exported, see above; mend that, or export it yourself first")


def _server(model: OnnxModel, settings: ServerSettings, limits: Limits | None, warn: Callable[[str], None]) -> "Server":
    """Return a server of the application; MissingExtraError without the packages that it needs."""
    try:
        from modiste.serving.app import create_app
        from modiste.serving.server import Server
    except ImportError as error:
        raise MissingExtraError(f"serve: {NEEDS_EXTRA}") from error
    return Server(create_app(model, settings, limits=limits, warn=warn))


def _inherited() -> socket.socket | None:
    """Return the socket that systemd opened for this process; None if there is none.

    Raises:
        StorageError: There are several, or it does not listen on a port.
    """
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    count = os.environ.get("LISTEN_FDS", "")
    try:
        listener = socket.socket(fileno=FIRST_INHERITED)
        listens = listener.family in (socket.AF_INET, socket.AF_INET6) and listener.type == socket.SOCK_STREAM
    except OSError:
        listens = False
    if count != "1" or not listens:
        raise StorageError(
            f"serve: LISTEN_FDS is {count!r}; expected one socket that listens on a port (ListenStream=)"
        )
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as below
    return listener


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=1024)
    except (OSError, ValueError, TypeError) as error:  # the last two for a malformed host name
        reason = getattr(error, "strerror", None) or error
        raise StorageError(
            f"serve: cannot listen on {host}:{port} ({reason}); choose another --host or --port"
        ) from error
    # Without this option, the end of an answer waits 40 ms for the client.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
