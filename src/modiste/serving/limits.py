"""What a server accepts: the limits in one table, and the host names under which it may be asked."""

import ipaddress
import re
from dataclasses import dataclass

from modiste.errors import RecipeError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of a server.

    Attributes:
        head_bytes: of a request's first line and headers together.
        body_bytes: of a request's body, with all its pictures.
        pictures: in one request.
        explained: pictures of a request, its first, of which is told where the network looked.
        receive_seconds: for a request's head, and for its body.
        send_seconds: for an answer.
        connections: open at once, fewer where this process may open fewer files; the one that has idled longest makes
            room for the next.
        requests: at work or waiting; the next are told to come again.
        waiting_bytes: bodies of all of these together.
        batch: images that go through the network together.
        drain_seconds: between the wish to stop, from when on readiness is denied, and the end of listening.
        finish_seconds: for the requests that are then still at work.
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


LOOPBACK = ("localhost", "127.0.0.1", "::1")
HOST = re.compile(r"(\[[0-9a-f:.]+\]|[0-9a-z._-]+)(:[0-9]*)?")


def host_name(host: str) -> str:
    """Return the name in a Host header, without its port, in small letters; empty where it is no such header."""
    found = HOST.fullmatch(host.lower())
    return found[1].strip("[]").removesuffix(".") if found else ""


def allowed_name(name: str) -> str:
    """Return a name for ``--allow-host`` as requests will have it; RecipeError when it is no host's name."""
    try:
        plain = name if name.isascii() else name.encode("idna").decode()
    except UnicodeError:
        plain = ""
    bracketed = f"[{plain}]" if plain.count(":") > 1 and not plain.startswith("[") else plain
    if not (found := host_name(bracketed)):
        raise RecipeError(f"serve: --allow-host {name!r} is no host's name; expected one such as shop.example")
    return found


def is_loopback(host: str) -> bool:
    """Tell whether an address is this machine's own, reached by nobody else."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
