"""Settings of a server: its address, who may use it, how it answers, and the limits of requests."""

import ipaddress
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from modiste.errors import RecipeError

LOOPBACK = ("localhost", "127.0.0.1", "::1")
ROOT_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+")
DEFAULT_PORTS = {"http": 80, "https": 443}
HOST = re.compile(r"(\[[0-9a-f:.]+\]|[0-9a-z._-]+)(:[0-9]*)?")
LEAST_TOKEN = 16
MOST_PORT = 65535


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """Where a server listens, who may use it, and how it answers; these are the flags of ``modiste serve``."""

    port: int = 8000
    """Port to listen on; 0 takes a free one."""
    host: str = "127.0.0.1"
    """Address to listen on; any but this machine's own needs a token."""
    token: str = field(default="", repr=False)
    """Token that requests must send as Authorization: Bearer TOKEN; other users cannot see it in MODISTE_TOKEN."""
    background: Literal["trained", "plain", "network", "auto"] = "trained"
    """How to find the garment: on a plain background; by a segmentation network, on any; auto takes what holds."""
    coverage: float | None = None
    """Also answer with a set of classes that holds the right one with this probability, such as 0.95."""
    allow_host: tuple[str, ...] = ()
    """Further host names that requests may use."""
    allow_origin: tuple[str, ...] = ()
    """Sites whose pages may send requests and read the answers, such as https://shop.example."""
    root_path: str = ""
    """Path under which a proxy offers the server, such as /clothes."""
    log: Path | None = None
    """Folder for probabilities and novelty of all answers, never pictures, for modiste drift; unset, no log."""

    def checked(self) -> "ServerSettings":
        """Return these settings with host names, origins and path as requests have them.

        Raises:
            RecipeError: Other machines could reach the server without a token, or the token is easy to guess; or the
                port, a name or the path is unfit.
        """
        _check_token(self.host, self.token)
        if not 0 <= self.port <= MOST_PORT:
            raise RecipeError(f"serve: --port {self.port}: expected a number from 0 to {MOST_PORT:,}")
        return replace(
            self,
            host=self.host.lower(),
            allow_host=tuple(map(allowed_name, self.allow_host)),
            allow_origin=tuple(map(allowed_origin, self.allow_origin)),
            root_path=allowed_root(self.root_path),
        )


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of a server.

    Attributes:
        head_bytes: Size of a request's first line and headers together.
        body_bytes: Size of a request's body, with all its pictures.
        pictures: Number of pictures in one request.
        explained: Number of pictures in one request, from the first, whose evidence is computed.
        receive_seconds: Time for a request's head to arrive, and again for its body.
        send_seconds: Time for the client to read an answer.
        connections: Number of open connections. Fewer are allowed where this process may open fewer files. The one
            that has idled longest is closed for a new one.
        requests: Number of requests at work or waiting. Further ones get 503.
        waiting_bytes: Size of the bodies of all these requests together.
        batch: Number of images that the network computes together.
        drain_seconds: Time from SIGTERM, when readiness ends, until the server stops listening.
        finish_seconds: Time after that for the requests still at work.
    """

    head_bytes: int = 32 * 1024
    body_bytes: int = 8 * 2**20
    pictures: int = 64
    explained: int = 4
    receive_seconds: float = 10.0
    send_seconds: float = 20.0
    connections: int = 1000
    requests: int = 128
    waiting_bytes: int = 256 * 2**20
    batch: int = 64
    drain_seconds: float = 0.5
    finish_seconds: float = 30.0


def _check_token(host: str, token: str) -> None:
    if not is_loopback(host) and not token:
        raise RecipeError(
            f"serve: {host} can be reached from other machines; expected a token: --token or MODISTE_TOKEN"
        )
    if token and (len(token) < LEAST_TOKEN or not (token.isascii() and token.isprintable()) or token != token.strip()):
        raise RecipeError(
            f"serve: expected a token of {LEAST_TOKEN} or more printable ASCII characters, with no blank at its ends"
        )


def host_name(host: str) -> str:
    """Return the name in a Host header, without its port and in lower case; an empty string if it is malformed."""
    found = HOST.fullmatch(host.lower())
    return found[1].strip("[]").removesuffix(".") if found else ""


def allowed_name(name: str) -> str:
    """Return a name for ``--allow-host`` as ``host_name`` finds it in requests; RecipeError if it is no host name."""
    try:
        plain = name if name.isascii() else name.encode("idna").decode()
    except UnicodeError:
        plain = ""
    bracketed = f"[{plain}]" if plain.count(":") > 1 and not plain.startswith("[") else plain
    if not (found := host_name(bracketed)):
        raise RecipeError(f"serve: --allow-host {name!r} is not a host name; expected one such as shop.example")
    return found


def allowed_origin(origin: str) -> str:
    """Return an origin for ``--allow-origin`` as browsers send it; RecipeError if it is none.

    Example:
        >>> allowed_origin("https://Shop.example:443")
        'https://shop.example'
    """
    try:
        parts = urlsplit(origin)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    scheme, host = parts.scheme, (parts.netloc.lower().removesuffix(f":{port}") if port else parts.netloc.lower())
    if scheme not in DEFAULT_PORTS or not HOST.fullmatch(host) or any(parts[2:]) or origin.endswith("/"):
        raise RecipeError(
            f"serve: --allow-origin {origin!r}: expected the scheme and host of one site, such as https://shop.example"
        )
    return f"{scheme}://{host}" + ("" if port in (None, DEFAULT_PORTS[scheme]) else f":{port}")


def allowed_root(path: str) -> str:
    """Return a path for ``--root-path`` without a slash at its end; RecipeError if it is no path of plain names."""
    root = path.rstrip("/")
    if root and not ROOT_PATH.fullmatch(root):
        raise RecipeError(f"serve: --root-path {path!r}: expected a path such as /clothes")
    return root


def is_loopback(host: str) -> bool:
    """Return whether an address is this machine's own, which no other machine can reach."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
