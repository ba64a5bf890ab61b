"""The gate in front of the application: who may ask, how much is read and how long; headers of answers."""

import asyncio
import contextlib
import hmac
import json
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modiste.serving.metrics import Metrics
from modiste.serving.settings import LOOPBACK, Limits, host_name

OPEN_PATHS = (
    *("/", "/page.css", "/samples.js", "/page.js", "/server.js", "/icon.svg", "/api", "/api.js"),
    *("/livez", "/readyz", "/v2/health/live", "/v2/health/ready"),
)
"""Paths that need no token: the probes, the page, which asks for one, and the page about the addresses."""
ONCE = ("host", "authorization", "origin", "content-type", "content-encoding", "inference-header-content-length")
"""Headers that may stand only once: of two, a proxy in front of the server might believe the other."""
PREFLIGHT = {
    "access-control-allow-methods": "GET, HEAD, POST",
    "access-control-allow-headers": "authorization, content-encoding, content-type, inference-header-content-length",
    "access-control-max-age": "600",
}
"""Headers of the answer to a browser that asks what a page of an allowed origin may send."""
CODINGS = {"identity": 0, "gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
"""Supported content codings of HTTP, with zlib's number for each."""
LINGER_SECONDS = 1.0
"""Time for which the server drops what a refused client still sends, so that the client can read the answer."""
WHOLE_BYTES = 64 * 1024
"""An answer longer than this counts as at work until the client has read nearly all of it."""
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
"""Headers of every answer."""
RAW_HEADERS = [(name.encode(), value.encode()) for name, value in HEADERS.items()]


class RefusedError(Exception):
    """A request that the gate answers with an error."""

    def __init__(self, status: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers


@dataclass
class Gate:
    """An ASGI application that checks each request before another application answers it.

    Attributes:
        app: The application that answers.
        limits: How much the server accepts.
        metrics: The server's counters.
        hosts: Allowed Host headers, as ``host_name`` returns them; protects against DNS rebinding.
        token: What requests must carry; if it is empty, no token is needed.
        origins: Sites whose pages may send requests and read the answers, as browsers name them (CORS).
        root_path: Path under which a proxy offers this server; removed from paths that begin with it.
        draining: Whether the server is about to stop.
        at_work: Number of requests that are not answered yet.
        waiting_bytes: Size of their bodies. A body that has not arrived counts with the size that it may reach.
    """

    app: ASGIApp
    limits: Limits
    metrics: Metrics
    hosts: tuple[str, ...] = LOOPBACK
    token: str = field(default="", repr=False)
    origins: tuple[str, ...] = ()
    root_path: str = ""
    draining: bool = False
    at_work: int = 0
    waiting_bytes: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        answer = _Answer(send, self, self._allowed_origin(scope))
        seen = {**scope, "path": self._local_path(scope["path"])}
        if scope["method"] == "HEAD":
            seen["method"] = "GET"  # uvicorn leaves out the body
        try:
            await self._pass(seen, receive, answer)
        except RefusedError as refused:
            await answer.refuse(refused, receive)
        except asyncio.CancelledError:  # finish_seconds are over
            await answer.refuse(RefusedError(503, "the server is stopping, and this request took too long"))
        finally:
            route = getattr(seen.get("route"), "path", "none")
            self.metrics.requests.labels(route, str(answer.status or "none")).inc()
            self.metrics.seconds.labels(route).observe(time.perf_counter() - started)

    async def _pass(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        headers = _read_headers(scope)
        self._check_host(scope, headers)
        if scope["method"] == "OPTIONS" and answer.origin:
            await answer.allow_requests()
            return
        if not scope["path"]:
            raise RefusedError(308, "this path ends with a slash", location=f"{self.root_path}/")
        if scope["path"] != "/" and scope["path"].endswith("/"):
            raise RefusedError(308, "this path has no slash at its end", location=_without_slash(scope))
        self._check_sender(scope, headers)
        if scope["method"] == "GET":
            await self.app(scope, receive, answer)
            return
        if self.at_work >= self.limits.requests:
            raise RefusedError(503, "too many requests at work; try again in a second", **{"retry-after": "1"})
        coding = headers.get("content-encoding", "identity").strip().lower()
        if coding not in CODINGS:
            raise RefusedError(
                415, f"content-encoding: expected one of {', '.join(CODINGS)}", **{"accept-encoding": "gzip, deflate"}
            )
        with self._room_for(self._expected(headers)) as room:
            body = await self._read(receive)
            if coding != "identity":
                body = await asyncio.to_thread(_decompressed, body, coding, self.limits.body_bytes)
            room.resize(len(body))
            await self.app(scope, _replayed(body), answer)

    @contextlib.contextmanager
    def _room_for(self, size: int) -> Iterator["_Room"]:
        """Count a request and the size of its body, before the body is read and until the request is answered."""
        room = _Room(self, size)
        self.at_work += 1
        self.metrics.at_work.set(self.at_work)
        try:
            yield room
        finally:
            room.resize(0)
            self.at_work -= 1
            self.metrics.at_work.set(self.at_work)

    def _expected(self, headers: Mapping[str, str]) -> int:
        """Return the size that a request's body may reach; RefusedError if that is over a limit."""
        most, stated = self.limits.body_bytes, headers.get("content-length", "0")
        size = int(stated) if stated.isdecimal() else most
        if "transfer-encoding" in headers or (size <= most and "content-encoding" in headers):
            size = most
        if size > most:
            raise _too_long(most)
        if self.waiting_bytes + size > self.limits.waiting_bytes:
            raise RefusedError(503, "too many bytes are waiting; try again in a second", **{"retry-after": "1"})
        return size

    def _local_path(self, path: str) -> str:
        """Return a path without ``root_path``, which a proxy may have left or removed."""
        below = self.root_path and (path == self.root_path or path.startswith(f"{self.root_path}/"))
        return path[len(self.root_path) :] if below else path

    def _allowed_origin(self, scope: Scope) -> str:
        """Return the origin of the page that sends a request, if it is one of ``origins``; else an empty string."""
        origin = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"origin"), "")
        return origin if origin in self.origins else ""

    def _check_host(self, scope: Scope, headers: Mapping[str, str]) -> None:
        """Raise RefusedError unless the host name is allowed."""
        if "host" not in headers and scope["http_version"] == "1.1":
            raise RefusedError(400, "expected the header Host")
        if host_name(headers.get("host", "")) not in self.hosts:
            raise RefusedError(421, "this host name is not allowed; start the server with --allow-host NAME")

    def _check_sender(self, scope: Scope, headers: Mapping[str, str]) -> None:
        """Raise RefusedError unless the page of origin and the token are allowed."""
        origin = headers.get("origin")
        is_own = origin is None or origin in self.origins or _netloc(origin) == headers.get("host", "").lower()
        if scope["method"] != "GET" and not is_own:
            raise RefusedError(
                403, "requests from pages of other sites are not allowed; start the server with --allow-origin ORIGIN"
            )
        if self.token and scope["path"] not in OPEN_PATHS and not self._is_token(headers.get("authorization", "")):
            raise RefusedError(401, "expected the header Authorization: Bearer TOKEN", **{"www-authenticate": "Bearer"})

    def _is_token(self, credentials: str) -> bool:
        scheme, _, given = credentials.partition(" ")
        return hmac.compare_digest(given.lstrip(" ").encode(), self.token.encode()) and scheme.lower() == "bearer"

    async def _read(self, receive: Receive) -> bytes:
        """Return a request's body; RefusedError if it is too long, or does not arrive in time."""
        seconds = self.limits.receive_seconds
        try:
            async with asyncio.timeout(seconds):
                return await _whole_body(receive, self.limits.body_bytes)
        except TimeoutError:
            raise RefusedError(408, f"the body did not arrive within {seconds:g} seconds", connection="close") from None


@dataclass
class _Room:
    """Bytes that a gate reserves for one body."""

    gate: Gate
    size: int

    def __post_init__(self) -> None:
        self.gate.waiting_bytes += self.size

    def resize(self, size: int) -> None:
        """Reserve ``size`` bytes instead of those reserved before."""
        self.gate.waiting_bytes += size - self.size
        self.size = size


class _Answer:
    """Sends an answer with the headers of every answer; to a page of an allowed origin, with those that let it read."""

    def __init__(self, send: Send, gate: Gate, origin: str) -> None:
        self.send, self.gate, self.origin, self.status = send, gate, origin, 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": [*message.get("headers", []), *self._missing_headers(message)]}
        elif len(message.get("body", b"")) > WHOLE_BYTES and not message.get("more_body", False):
            await self.send({**message, "more_body": True})  # the end waits until the client has read this
            message = {"type": "http.response.body", "body": b""}
        await self.send(message)

    def _missing_headers(self, message: Message) -> list[tuple[bytes, bytes]]:
        """Return the headers that an answer lacks; after a failure or before the end, also ``connection: close``."""
        have = {name for name, _ in message.get("headers", [])}
        closing = [(b"connection", b"close")] if self.gate.draining or self.status == 500 else []
        named = [(b"vary", b"origin")] if self.gate.origins else []
        if self.origin:
            named += [
                (b"access-control-allow-origin", self.origin.encode("latin-1")),
                (b"access-control-expose-headers", b"inference-header-content-length"),
            ]
        return [(name, value) for name, value in [*RAW_HEADERS, *named, *closing] if name not in have]

    async def allow_requests(self) -> None:
        """Answer the question of a browser, before a page's request, what that page may send."""
        plain = [(name.encode(), value.encode()) for name, value in PREFLIGHT.items()]
        await self({"type": "http.response.start", "status": 204, "headers": plain})
        await self({"type": "http.response.body", "body": b""})

    async def refuse(self, refused: RefusedError, receive: Receive | None = None) -> None:
        """Answer with an error, unless an answer has begun.

        A client that is still sending would lose the answer if the connection closed at once. So what ``receive``
        yields is dropped for ``LINGER_SECONDS``.
        """
        if self.status:
            return
        body = json.dumps({"error": refused.message}).encode()
        headers = {"content-type": "application/json", "content-length": str(len(body)), **refused.headers}
        plain = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self({"type": "http.response.start", "status": refused.status, "headers": plain})
        await self({"type": "http.response.body", "body": body, "more_body": True})
        if receive is not None and ("connection" in headers or self.gate.draining):
            await _discard(receive)
        await self({"type": "http.response.body", "body": b""})


def _read_headers(scope: Scope) -> dict[str, str]:
    """Return a request's headers; RefusedError if one of ``ONCE`` stands twice."""
    headers = dict[str, str]()
    for raw_name, value in scope["headers"]:
        name = raw_name.decode("latin-1")
        if name in ONCE and name in headers:
            raise RefusedError(400, f"expected one header {name}, found more")
        headers[name] = value.decode("latin-1")
    return headers


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
    """Drop what a client still sends, for ``LINGER_SECONDS`` at most."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            while (message := await receive())["type"] == "http.request" and message.get("more_body", False):
                pass


def _decompressed(body: bytes, coding: str, most: int) -> bytes:
    """Return a body decompressed; RefusedError if it is damaged, or longer than ``most`` bytes."""
    reader = zlib.decompressobj(CODINGS[coding])
    try:
        plain = reader.decompress(body, most + 1)
    except zlib.error:
        raise RefusedError(400, f"content-encoding: the body is not {coding}, or damaged") from None
    if len(plain) > most:
        raise RefusedError(413, f"the body is too long when decompressed; expected at most {most:,} bytes")
    if not reader.eof or reader.unused_data:
        raise RefusedError(400, f"content-encoding: the body is not the whole of one {coding} stream")
    return plain


def _replayed(body: bytes) -> Receive:
    """Return an ASGI ``receive`` that yields a body which has been read already."""
    messages: list[dict[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return messages.pop() if messages else {"type": "http.disconnect"}

    return receive


def _too_long(most: int) -> RefusedError:
    return RefusedError(413, f"the body is too long; expected at most {most:,} bytes", connection="close")


def _without_slash(scope: Scope) -> str:
    """Return the place of a path without the slash at its end, relative to it: a proxy may have changed the rest."""
    name, query = scope["path"].rstrip("/").rpartition("/")[2], scope["query_string"].decode("latin-1")
    return f"../{quote(name)}" + (f"?{query}" if query else "")


def _netloc(origin: str) -> str:
    """Return the host and port of a page's address; an empty string if it is malformed."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
