"""Names of hosts: those in requests, and those under which a server may be asked."""

import ipaddress
import re

from modiste.errors import RecipeError

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
