"""What a request passes before anything looks at it: who asks, how much, how long; and what every answer carries."""

import asyncio
import contextlib
import hmac
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modiste.serving.limits import Limits
from modiste.serving.metrics import Metrics

LOOPBACK = ("localhost", "127.0.0.1", "::1")
OPEN_PATHS = ("/", "/page.css", "/page.js", "/icon.svg", "/livez", "/readyz", "/v2/health/live", "/v2/health/ready")
"""What holds no answers needs no token: probes, and the page, which asks for one."""
LINGER_SECONDS = 1.0
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
RAW_HEADERS = [(name.encode(), value.encode()) for name, value in HEADERS.items()]


class RefusedError(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers


@dataclass
class Gate:
    """An ASGI application around another.

    Attributes:
        app: what answers those that pass.
        limits: how much is taken on.
        metrics: what is counted.
        hosts: names under which the server may be asked: a foreign page's name, made to point here, is none of them.
        token: that requests must carry; none is asked for if empty.
        draining: whether the server is about to stop.
        at_work: requests that have not been answered yet.
        waiting_bytes: of their bodies: as many as each has, or may still have while it arrives.
    """

    app: ASGIApp
    limits: Limits
    metrics: Metrics
    hosts: tuple[str, ...] = LOOPBACK
    token: str = field(default="", repr=False)
    draining: bool = False
    at_work: int = 0
    waiting_bytes: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, answer = time.perf_counter(), _Answer(send, self.limits.send_seconds)
        try:
            await self._pass(scope, receive, answer)
        except RefusedError as refused:
            await answer.refuse(refused, receive)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            self.metrics.requests.labels(route, str(answer.status or "none")).inc()
            self.metrics.seconds.labels(route).observe(time.perf_counter() - started)

    async def _pass(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        self._check_sender(scope, headers)
        if scope["method"] in ("GET", "HEAD"):
            await self.app(scope, receive, answer)
            return
        if self.at_work >= self.limits.requests:
            raise RefusedError(503, "too many requests at work; come again in a second", **{"retry-after": "1"})
        with self._room_for(self._expected(headers)) as room:
            body = await self._read(receive)
            room.shrink(len(body))
            await self.app(scope, _replayed(body), answer)

    @contextlib.contextmanager
    def _room_for(self, size: int) -> Iterator["_Room"]:
        """Count a request, and the bytes of its body before the first is read, as long as it is at work."""
        room = _Room(self, size)
        self.at_work += 1
        self.metrics.at_work.set(self.at_work)
        try:
            yield room
        finally:
            room.shrink(0)
            self.at_work -= 1
            self.metrics.at_work.set(self.at_work)

    def _expected(self, headers: Mapping[str, str]) -> int:
        """Return how long a request's body may become; RefusedError when that is too long, or too much just now."""
        most, said = self.limits.body_bytes, headers.get("content-length", "0")
        size = most if "transfer-encoding" in headers or not said.isdecimal() else int(said)
        if size > most:
            raise _too_long(most)
        if self.waiting_bytes + size > self.limits.waiting_bytes:
            raise RefusedError(503, "too much is waiting; come again in a second", **{"retry-after": "1"})
        return size

    def _check_sender(self, scope: Scope, headers: Mapping[str, str]) -> None:
        host = _parts("//" + headers.get("host", "")).hostname
        if host not in self.hosts:
            raise RefusedError(421, "this server is not known by that name; start it with --allow-host NAME")
        origin = headers.get("origin")
        if origin is not None and scope["method"] != "GET" and _parts(origin).netloc != headers.get("host"):
            raise RefusedError(403, "requests from pages of other sites are not answered")
        if self.token and scope["path"] not in OPEN_PATHS:
            given = headers.get("authorization", "").removeprefix("Bearer ")
            if not hmac.compare_digest(given.encode(), self.token.encode()):
                raise RefusedError(
                    401, "expected the header Authorization: Bearer TOKEN", **{"www-authenticate": "Bearer"}
                )

    async def _read(self, receive: Receive) -> bytes:
        """Return a request's body; RefusedError when it becomes too long, or does not come in time."""
        seconds = self.limits.receive_seconds
        try:
            async with asyncio.timeout(seconds):
                return await _whole_body(receive, self.limits.body_bytes)
        except TimeoutError:
            raise RefusedError(408, f"the body did not arrive within {seconds:g} seconds", connection="close") from None


@dataclass
class _Room:
    """Bytes that a gate keeps free for one body."""

    gate: Gate
    size: int

    def __post_init__(self) -> None:
        self.gate.waiting_bytes += self.size

    def shrink(self, size: int) -> None:
        """Give back all but ``size`` bytes."""
        self.gate.waiting_bytes += size - self.size
        self.size = size


class _Answer:
    """Sends an answer with the headers that every answer carries, and gives up on a client that does not read it."""

    def __init__(self, send: Send, seconds: float) -> None:
        self.send, self.seconds, self.status = send, seconds, 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            have = {name for name, _ in message.get("headers", [])}
            more = [(name, value) for name, value in RAW_HEADERS if name not in have]
            message = {**message, "headers": [*message.get("headers", []), *more]}
        async with asyncio.timeout(self.seconds):
            await self.send(message)

    async def refuse(self, refused: RefusedError, receive: Receive) -> None:
        """Answer with an error, unless an answer has begun.

        A client that is still sending would lose the answer if the connection were closed at once.
        """
        if self.status:
            return
        body = json.dumps({"error": refused.message}).encode()
        headers = {"content-type": "application/json", "content-length": str(len(body)), **refused.headers}
        plain = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self({"type": "http.response.start", "status": refused.status, "headers": plain})
        await self({"type": "http.response.body", "body": body, "more_body": True})
        if "connection" in headers:
            await _discard(receive)
        await self({"type": "http.response.body", "body": b""})


async def _whole_body(receive: Receive, most: int) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RefusedError(400, "the client left")
        body += message.get("body", b"")
        if len(body) > most:
            raise _too_long(most)
        if not message.get("more_body", False):
            return bytes(body)


async def _discard(receive: Receive) -> None:
    """Take what a client still sends, for a moment, and drop it."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            while (message := await receive())["type"] == "http.request" and message.get("more_body", False):
                pass


def _replayed(body: bytes) -> Receive:
    """Return what hands an application a body that has been read already."""
    messages: list[dict[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return messages.pop() if messages else {"type": "http.disconnect"}

    return receive


def _too_long(most: int) -> RefusedError:
    return RefusedError(413, f"the body is too long; expected at most {most:,} bytes", connection="close")


def _parts(url: str) -> SplitResult:
    """Return the parts of an address; of what is none they are empty."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")
