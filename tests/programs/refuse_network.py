"""The command, or a request without one, where every socket is refused."""

import http.client
import socket
import sys
from typing import Any


def refuse(*_: Any, **__: Any) -> None:
    """Refuse whatever is asked of the network."""
    raise AssertionError("a socket was opened")


class Refused(socket.socket):
    """A socket that cannot be made."""

    __init__ = refuse


socket.socket = Refused  # type: ignore[misc]
socket.getaddrinfo = socket.gethostbyname = refuse  # type: ignore[assignment]
if sys.argv[1:]:
    from modiste.cli.main import main  # now that nothing it imports can open a socket

    main(sys.argv[1:])
else:
    http.client.HTTPConnection("localhost", 9).request("GET", "/")
