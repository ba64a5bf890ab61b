"""Many clients of a server at once, each on a connection that it keeps, waiting for its answer before it asks again.

They speak just enough HTTP to cost little: the machine's cores are the server's.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Load:
    """What a number of clients saw.

    Attributes:
        seconds: that they asked for.
        latencies: of every answer, in seconds.
    """

    seconds: float
    latencies: list[float]


def request(path: str, body: bytes, **headers: object) -> bytes:
    """Return a POST request; underscores in a header's name stand for hyphens."""
    named = {"host": "localhost", "content_length": len(body), **headers}
    lines = [f"POST {path} HTTP/1.1", *(f"{name.replace('_', '-')}: {value}" for name, value in named.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def load(port: int, requests: Sequence[bytes], *, clients: int, seconds: float) -> Load:
    """Ask for so long, each client through the requests in turn; SystemExit for an answer other than 200."""
    return asyncio.run(_load(port, requests, clients, seconds))


async def _load(port: int, requests: Sequence[bytes], clients: int, seconds: float) -> Load:
    begun = time.perf_counter()
    asked = (_ask(port, requests, number, begun + seconds) for number in range(clients))
    latencies = [latency for found in await asyncio.gather(*asked) for latency in found]
    return Load(time.perf_counter() - begun, latencies)


async def _ask(port: int, requests: Sequence[bytes], number: int, until: float) -> list[float]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    latencies = []
    try:
        while (sent := time.perf_counter()) < until:
            writer.write(requests[number % len(requests)])
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
            answer = await reader.readexactly(int(length))
            if not head.startswith(b"HTTP/1.1 200"):
                raise SystemExit(f"expected 200, found {head.decode()}{answer[:500]!r}")
            latencies.append(time.perf_counter() - sent)
            number += 1
    finally:
        writer.close()
    return latencies
