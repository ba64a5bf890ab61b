"""Serving a model over HTTP: checks of the arguments, export of a run where needed, and the listening socket."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modiste.errors import MissingExtraError, RecipeError, RunError, StorageError
from modiste.inference.onnx_check import NEEDS_EXTRA
from modiste.inference.onnx_model import OnnxModel
from modiste.runs import manifest, storage
from modiste.serving.limits import Limits, allowed_name, allowed_origin, allowed_root, is_loopback

if TYPE_CHECKING:
    from modiste.serving.server import Server

LEAST_TOKEN = 16
MOST_PORT = 65535
FIRST_INHERITED = 3
"""Number of the first file that systemd hands to a service (SD_LISTEN_FDS_START)."""


def serve(
    source: Path | str,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str = "",
    allow_hosts: tuple[str, ...] = (),
    allow_origins: tuple[str, ...] = (),
    root_path: str = "",
    data_folder: Path | None = None,
    background: str | None = None,
    coverage: float | None = None,
    limits: Limits | None = None,
    log: Path | None = None,
    say: Callable[[str], None] = print,
    warn: Callable[[str], None] = print,
) -> None:
    """Answer requests until SIGTERM or SIGINT.

    A socket that systemd opened for this process (sd_listen_fds(3)) is used in place of ``host`` and ``port``. It stays
    open between two servers, so that requests wait while one follows the other.

    Args:
        source: An ONNX file of ``modiste export``, or a run's folder, which is exported first if it holds none.
        host: Address to listen on; any other than this machine's own needs a token.
        port: 1 to 65535, or 0 for a free one.
        token: What requests must carry; if it is empty, no token is needed.
        allow_hosts: Allowed host names, beside ``host`` and this machine's own.
        allow_origins: Sites whose pages may use this server from a browser (CORS), such as https://shop.example.
        root_path: Path under which a proxy offers this server, such as /clothes; the proxy may remove it or not.
        data_folder: Where the run's data set lies; needed only if the run is exported first.
        background: How garments are found, a key of ``photo.separation.BACKGROUNDS``; None as for the training.
        coverage: See ``app.create_app``.
        limits: How much the server accepts.
        log: Folder for probabilities and novelty of all answers, never pictures; None for no log.
        say: Called with a line that names the server's address.
        warn: Called with a line if the log cannot be written while the server runs.

    Raises:
        RunError: The file does not exist, is damaged, or must not be served.
        RecipeError: Other machines could reach the server without a token; or a name, the port or the network is unfit.
        StorageError: The address or the log cannot be used, or the process may open too few files.
        MissingExtraError: A package of the extra ``serve``, or the segmentation network, is not installed.
        DataError: The segmentation network's file is another one.
    """
    inherited = _inherited()
    if inherited is not None:
        host, port = inherited.getsockname()[:2]
    check_token(host, token)
    check_port(port)
    hosts, root = tuple(map(allowed_name, allow_hosts)), allowed_root(root_path)
    origins = tuple(map(allowed_origin, allow_origins))
    model = OnnxModel.load(model_file(Path(source), data_folder))
    server = _server(
        model,
        limits=limits,
        hosts=(host.lower(), *hosts),
        token=token,
        origins=origins,
        root_path=root,
        background=background,
        coverage=coverage,
        log=log,
        warn=warn,
    )
    with inherited or _listening(host, port) as listener:
        shown = f"[{host}]" if ":" in host else host
        line = f"serving {source} on http://{shown}:{listener.getsockname()[1]}{root}/ - stop with Ctrl-C"
        server.announce = partial(say, line)
        server.run(sockets=[listener])


def check_port(port: int) -> None:
    """Raise RecipeError if there is no such port."""
    if not 0 <= port <= MOST_PORT:
        raise RecipeError(f"serve: --port {port}: expected a number from 0 to {MOST_PORT:,}")


def check_token(host: str, token: str) -> None:
    """Raise RecipeError if other machines can reach the server without a token, or if the token is easy to guess."""
    if not is_loopback(host) and not token:
        raise RecipeError(
            f"serve: {host} can be reached from other machines; expected a token: --token or MODISTE_TOKEN"
        )
    if token and (len(token) < LEAST_TOKEN or not (token.isascii() and token.isprintable()) or token != token.strip()):
        raise RecipeError(
            f"serve: expected a token of {LEAST_TOKEN} or more printable ASCII characters, with no blank at its ends"
        )


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


def _server(model: OnnxModel, **options: Any) -> "Server":
    """Return a server of the application with these options; MissingExtraError without the packages that it needs."""
    try:
        from modiste.serving.app import create_app
        from modiste.serving.server import Server
    except ImportError as error:
        raise MissingExtraError(f"serve: {NEEDS_EXTRA}") from error
    return Server(create_app(model, **options))


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
