"""How much a server takes on, in one table."""

from dataclasses import dataclass


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
