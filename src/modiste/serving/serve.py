"""A model on the network, without torch: a page for people, an API for programs, the Open Inference Protocol."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from modiste.errors import MissingExtraError, RecipeError, RunError, StorageError
from modiste.inference.onnx_check import NEEDS_EXTRA
from modiste.inference.onnx_model import OnnxModel
from modiste.runs import manifest, storage
from modiste.serving.limits import Limits, allowed_name, is_loopback

MODEL = "model.onnx"
LEAST_TOKEN = 16
MOST_PORT = 65535


def serve(
    source: Path | str,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str = "",
    allow_hosts: tuple[str, ...] = (),
    data_folder: Path | None = None,
    limits: Limits | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Answer requests until SIGTERM or SIGINT.

    Args:
        source: an ONNX file of ``modiste export``, or a run's folder that holds one.
        host: address to listen at; another than this machine's own needs a token.
        port: 1 to 65535, or 0 for a free one.
        token: that requests must carry.
        allow_hosts: names under which the server may be asked, beside ``host`` and this machine's own.
        data_folder: where the run's data set lies; asked for only where the run is exported first.
        limits: how much is taken on.
        say: is told where the server listens.

    Raises:
        RunError: there is no such file, or none that may be served.
        RecipeError: it would listen to others without a token; a name or a port is none.
        StorageError: the address cannot be used, or the process may open too few files.
        MissingExtraError: what serves is not installed.
    """
    check_token(host, token)
    if not 0 <= port <= MOST_PORT:
        raise RecipeError(f"serve: --port {port}: expected a number from 0 to {MOST_PORT:,}")
    hosts = tuple(map(allowed_name, allow_hosts))
    model = OnnxModel.load(model_file(Path(source), data_folder))
    try:
        from modiste.serving.app import create_app
        from modiste.serving.server import Server
    except ImportError as error:
        raise MissingExtraError(f"serve: {NEEDS_EXTRA}") from error
    gate = create_app(model, limits=limits, hosts=(host.lower(), *hosts), token=token)
    server = Server(gate)
    with _listening(host, port) as listener:
        shown = f"[{host}]" if ":" in host else host
        say(f"serving {source} on http://{shown}:{listener.getsockname()[1]}/ - stop with Ctrl-C")
        server.run(sockets=[listener])


def check_token(host: str, token: str) -> None:
    """Raise RecipeError when a server that others can reach has no token, or one that is soon guessed."""
    if not is_loopback(host) and not token:
        raise RecipeError(
            f"serve: {host} can be reached from other machines; expected a token: --token or MODISTE_TOKEN"
        )
    if token and (len(token) < LEAST_TOKEN or not (token.isascii() and token.isprintable()) or token != token.strip()):
        raise RecipeError(
            f"serve: expected a token of {LEAST_TOKEN} or more printable ASCII characters, no blank at its ends"
        )


def model_file(source: Path, data_folder: Path | None = None) -> Path:
    """Return the ONNX file of a run's folder, exported now if it was not; RunError unless it is as it was written."""
    if not storage.is_folder(source):
        return source
    files, _ = manifest.read(source)
    if MODEL not in files:
        export(source, data_folder)
        files, _ = manifest.read(source)
    try:
        return manifest.verify(source, MODEL, files.get(MODEL, ""))
    except RunError as error:
        raise RunError(f"{error}; or write it again: modiste export {source}") from error


def export(run: Path, data_folder: Path | None = None) -> None:
    """Export a run in a process of its own, which alone loads torch, and which imports nothing from where it runs."""
    print(f"exporting {run} first", file=sys.stderr, flush=True)
    words = [sys.executable, "-P", "-m", "modiste", "export", str(run)]
    if data_folder is not None:
        words.append(f"--data-folder={data_folder}")
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}  # for the processes that this one starts
    done = subprocess.run(words, stdout=subprocess.DEVNULL, env=environment, check=False)
    if done.returncode:
        raise RunError(f"{run}: could not be exported, see above")


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=1024)
    except (OSError, ValueError, TypeError) as error:  # the last two for what is no host's name
        reason = getattr(error, "strerror", None) or error
        raise StorageError(
            f"serve: cannot listen on {host}:{port} ({reason}); choose another --host or --port"
        ) from error
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else an answer's end waits 40 ms for the client
    return listener
