"""Many concurrent clients of a server. Each keeps its connection and waits for a response before its next request.

The clients implement only as much HTTP as they need, to leave the machine's cores to the server.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Load:
    """The measurements of a number of clients.

    Attributes:
        seconds: Duration of the load.
        latencies: Seconds until each response.
    """

    seconds: float
    latencies: list[float]


def request(path: str, body: bytes, **headers: object) -> bytes:
    """Return a POST request; underscores in the names of headers become hyphens."""
    named = {"host": "localhost", "content_length": len(body), **headers}
    lines = [f"POST {path} HTTP/1.1", *(f"{name.replace('_', '-')}: {value}" for name, value in named.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def load(port: int, requests: Sequence[bytes], *, clients: int, seconds: float) -> Load:
    """Send requests for a number of seconds; each client goes through them in turn.

    Raises SystemExit for a response other than 200.
    """
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
