"""What a server accepts: the limits of requests, and the names, pages and path by which it may be addressed."""

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from modiste.errors import RecipeError

LOOPBACK = ("localhost", "127.0.0.1", "::1")
ROOT_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+")
DEFAULT_PORTS = {"http": 80, "https": 443}
HOST = re.compile(r"(\[[0-9a-f:.]+\]|[0-9a-z._-]+)(:[0-9]*)?")


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
