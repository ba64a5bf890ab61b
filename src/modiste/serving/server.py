"""The server process: bounds on what a client sends, deadlines for slow clients, and an orderly shutdown."""

import asyncio
import contextlib
import json
import math
import signal
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn
from httptools import HttpRequestParser

from modiste.compat import HIGH_WATER_LIMIT, FlowControl, HttpToolsProtocol
from modiste.errors import StorageError
from modiste.serving.gate import LINGER_SECONDS, RAW_HEADERS, Gate
from modiste.serving.settings import Limits
from modiste.system.posix import Alarm, process_limit

HEAD_END = b"\r\n\r\n"


class Inbox:
    """The unparsed bytes of one connection.

    A head ends with an empty line, and so does a chunked body. For a body of a stated length, the bytes are counted.

    Attributes:
        framing_bytes: Bytes of the current request since its last byte of payload: head, chunk headers, trailers.
    """

    def __init__(self) -> None:
        self.framing_bytes = 0
        self._bytes, self._at, self._last = b"", 0, b""
        self._payload_left = 0

    def __len__(self) -> int:
        """Return the number of unparsed bytes."""
        return len(self._bytes) - self._at

    def put(self, data: bytes) -> None:
        """Add received bytes."""
        self._bytes, self._at = self._bytes[self._at :] + data, 0

    def clear(self) -> None:
        """Drop all unparsed bytes."""
        self._bytes, self._at = b"", 0

    def expect(self, payload_bytes: int) -> None:
        """Begin a body of this length; 0 if its length is not stated."""
        self.framing_bytes, self._payload_left, self._last = 0, payload_bytes, b""

    def cut(self, most: int) -> bytes:
        """Take the bytes up to the next place where a request may end, at most ``most`` of them."""
        if self._payload_left:
            piece = self._taken(min(self._payload_left, most))
            self._payload_left -= len(piece)
            return piece
        piece = self._taken(min(self._frame_bytes(most), most))
        self._last = (self._last + piece)[1 - len(HEAD_END) :]
        self.framing_bytes += len(piece)
        return piece

    def _taken(self, size: int) -> bytes:
        piece = self._bytes[self._at : self._at + size]
        self._at += len(piece)
        if not self:
            self.clear()
        return piece

    def _frame_bytes(self, most: int) -> int:
        """Return the distance to the end of the next empty line, or at least ``most`` if none is that near.

        The empty line may begin in the piece before.
        """
        begun = len(self._last)
        start = self._last + self._bytes[self._at : self._at + len(HEAD_END) - 1]
        if (end := start.find(HEAD_END)) >= 0:
            return end + len(HEAD_END) - begun
        end = self._bytes.find(HEAD_END, self._at, self._at + most)
        return most if end < 0 else end + len(HEAD_END) - self._at


WAITING_CONNECTIONS = 1024
"""Connections that the kernel queues until they are accepted."""
ACCEPTED_AT_ONCE = 16
"""Connections accepted in one turn of the loop; each takes a file before the number of connections is checked."""
OTHER_FILES = 64
"""Open files reserved for everything else than connections."""
LEAST_CONNECTIONS = 16
PIECE_BYTES = 16 * 1024
PIECES_AT_ONCE = 8
"""Pieces parsed before other clients have their turn: a body may come in chunks of one byte each."""
TOO_LONG = b"431 Request Header Fields Too Large"
NEW_CLIENT_SECONDS = 1.0
"""Time for the first byte of a client that connected just before the server stopped listening."""
EXIT_SECONDS = 5.0
"""Time after ``finish_seconds`` for the rest of the shutdown."""
FRAMING = (b"content-length", b"transfer-encoding")
"""Headers that say where a body ends."""


class Deadline:
    """A timer that calls an action unless it is stopped in time.

    Attributes:
        started: Start of the timer, in seconds of the loop's clock; infinity while it is stopped.
    """

    def __init__(self) -> None:
        self.started = math.inf
        self._timer: asyncio.TimerHandle | None = None

    def start(self, loop: asyncio.AbstractEventLoop, seconds: float, action: Callable[[], object]) -> None:
        """Call the action after ``seconds``, instead of at any time set before."""
        self.stop()
        self.started, self._timer = loop.time(), loop.call_later(seconds, action)

    def stop(self) -> None:
        """Cancel the action."""
        if self._timer is not None:
            self._timer.cancel()
        self.started, self._timer = math.inf, None


class _Flow(FlowControl):
    """Reads nothing more from a client while its next request already waits."""

    def __init__(self, transport: asyncio.Transport, inbox: Inbox) -> None:
        super().__init__(transport)
        self._inbox = inbox

    def resume_reading(self) -> None:
        if not self._inbox:
            super().resume_reading()


class _BodyListener:
    """Passes on a body and its end, and nothing else that a parser finds."""

    def __init__(self, protocol: "BoundedProtocol") -> None:
        self.on_body, self.on_message_complete = protocol.on_body, protocol.on_message_complete


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with bounds on what one client can make the server hold, even without a token.

    uvicorn itself has no deadline for a request's head, nor for a client that does not read its answer. It parses any
    number of requests before the first is answered, and keeps every trailer. Here requests are parsed one at a time.
    """

    limits = Limits()
    most_connections = 0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.head_deadline, self.read_deadline = Deadline(), Deadline()
        self.inbox, self.in_body, self.is_refused = Inbox(), False, False
        self.head_parser = self.parser
        self.flow = _Flow(transport, self.inbox)
        self._await_head()
        if len(self.connections) > self.most_connections:
            longest = min(self.connections, key=lambda one: one.waiting_since)  # type: ignore[union-attr]
            longest.give_up()  # type: ignore[union-attr]

    @property
    def waiting_since(self) -> float:
        """Time when the server began to wait for this client, by the loop's clock; infinity if it does not wait."""
        return min(self.head_deadline.started, self.read_deadline.started)

    def give_up(self) -> None:
        """Close the connection at once, without sending the rest of an answer."""
        self._stop_waiting()
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        if not self.is_refused:
            self.inbox.put(data)
            self._parse()

    def _parse(self) -> None:
        """Parse received bytes, up to the end of an unanswered request and at most ``PIECES_AT_ONCE`` pieces."""
        for _ in range(PIECES_AT_ONCE):
            if not self.inbox or self._is_leaving():
                return
            if self._is_answering():
                self.flow.pause_reading()
                return
            self._feed(self.inbox.cut(PIECE_BYTES))
        self.flow.pause_reading()
        self.loop.call_soon(self._parse_more)

    def _parse_more(self) -> None:
        self._parse()
        if self.cycle is None or self.cycle.response_complete or len(self.cycle.body) <= HIGH_WATER_LIMIT:
            self.flow.resume_reading()

    def _feed(self, piece: bytes) -> None:
        if self.in_body or not self._is_too_long():
            super().data_received(piece)
            if self.in_body and self._asks_to_upgrade():
                self._read_body()
        if self._is_too_long() and not self.is_refused:
            self._refuse(TOO_LONG, f"expected at most {self.limits.head_bytes:,} bytes beside the body")

    def _asks_to_upgrade(self) -> bool:
        """Return whether the head that was parsed last asks for another protocol, of which the server speaks none."""
        return self.parser is self.head_parser and self.parser.should_upgrade()

    def _read_body(self) -> None:
        """Read the body of a request that asks for another protocol, with a second parser.

        The parser of the head takes such a body for what the other protocol sends: the request would lose it, and its
        bytes would be the next request.
        """
        framing = [b"%b: %b\r\n" % header for header in self.headers if header[0] in FRAMING]
        self.parser = HttpRequestParser(_BodyListener(self))
        super().data_received(b"".join([b"POST / HTTP/1.1\r\n", *framing, b"\r\n"]))

    def _is_too_long(self) -> bool:
        return self.inbox.framing_bytes > self.limits.head_bytes

    def _is_answering(self) -> bool:
        return not self.in_body and self.cycle is not None and not self.cycle.response_complete

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.in_body:  # trailers, which come after a body, are dropped
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self.head_deadline.stop()
        self.in_body = True
        self.inbox.expect(int(dict(self.headers).get(b"content-length", b"0")))

    def on_body(self, body: bytes) -> None:
        self.inbox.framing_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._asks_to_upgrade():  # its body follows
            return
        self.in_body = False
        self.inbox.expect(0)
        super().on_message_complete()
        self.parser = self.head_parser

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self.read_deadline.start(self.loop, self.limits.send_seconds, self.give_up)
            return
        self._await_head()
        self._parse()
        self.flow.resume_reading()

    def pause_writing(self) -> None:
        super().pause_writing()
        if not self._is_leaving():
            self.read_deadline.start(self.loop, self.limits.send_seconds, self.give_up)

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self._is_leaving():
            self.read_deadline.stop()

    def _is_leaving(self) -> bool:
        return self.is_refused or self.transport.is_closing()

    def timeout_keep_alive_handler(self) -> None:
        self._hang_up()

    def shutdown(self) -> None:
        """Close the connection once it is idle; a request that is arriving, or the first of a client, is answered."""
        if self.inbox.framing_bytes:
            return
        if self.cycle is None:
            self.head_deadline.start(self.loop, NEW_CLIENT_SECONDS, self._hang_up)
        else:
            super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self.inbox.clear()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        self._refuse(b"400 Bad Request", msg)

    def _refuse(self, status: bytes, message: str) -> None:
        """Answer a malformed or oversized request with an error, and close the connection.

        A client that is still sending would lose the answer if the connection closed at once. So its bytes are dropped
        for ``LINGER_SECONDS``.
        """
        if not (self.in_body and self.cycle.response_started):
            body = json.dumps({"error": message}).encode()
            headers = [
                (b"content-type", b"application/json"),
                (b"content-length", b"%d" % len(body)),
                (b"connection", b"close"),
                *RAW_HEADERS,
            ]
            lines = [b"HTTP/1.1 " + status, *(b"%b: %b" % header for header in headers), b"", body]
            self.transport.write(b"\r\n".join(lines))
        self.is_refused = True
        self.inbox.clear()
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._stop_waiting()
        with contextlib.suppress(OSError):  # the client has left
            self.transport.write_eof()
        self.flow.resume_reading()
        self.read_deadline.start(self.loop, LINGER_SECONDS, self.give_up)

    def _await_head(self) -> None:
        self.head_deadline.start(self.loop, self.limits.receive_seconds, self._hang_up)

    def _hang_up(self) -> None:
        """Close the connection once its answers are sent, or after ``send_seconds`` at the latest."""
        self.head_deadline.stop()
        self.transport.close()
        self.read_deadline.start(self.loop, self.limits.send_seconds, self.give_up)

    def _stop_waiting(self) -> None:
        self.head_deadline.stop()
        self.read_deadline.stop()


class Server(uvicorn.Server):
    """A uvicorn server that shuts down in order.

    First ``/readyz`` reports 503. Then the server stops listening. Then it answers the requests at work.

    Attributes:
        announce: Called once, when the server answers and shuts down in order if it is asked to.

    Raises:
        StorageError: This process may open too few files.
    """

    def __init__(self, gate: Gate) -> None:
        own = {"limits": gate.limits, "most_connections": most_connections(gate.limits)}
        super().__init__(
            uvicorn.Config(
                gate,
                http=type("Protocol", (BoundedProtocol,), own),
                ws="none",
                loop="asyncio",
                lifespan="on",
                log_level="error",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                backlog=ACCEPTED_AT_ONCE,
                timeout_graceful_shutdown=int(gate.limits.finish_seconds),
            )
        )
        self.gate, self.alarm = gate, Alarm()
        self.announce: Callable[[], object] = lambda: None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for one in sockets or ():
            one.listen(WAITING_CONNECTIONS)  # asyncio sets the queue to the number accepted in one turn
        if self.started:
            self.announce()

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            super().run(sockets)
        finally:
            self.alarm.stop()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.gate.draining or not self.started:
            self.force_exit = self.should_exit and sig == signal.SIGINT
            self.should_exit = True
            return
        self.gate.draining = True
        limits = self.gate.limits
        self.alarm.start(limits.drain_seconds + limits.finish_seconds + EXIT_SECONDS)
        loop = self.servers[0].get_loop()
        loop.call_soon_threadsafe(loop.call_later, limits.drain_seconds, self._stop_listening)

    def _stop_listening(self) -> None:
        self.should_exit = True


def most_connections(limits: Limits) -> int:
    """Return how many connections may be open; StorageError if this process may open too few files."""
    files = process_limit("RLIMIT_NOFILE")
    if files is None:
        return limits.connections
    if files < OTHER_FILES + LEAST_CONNECTIONS:
        raise StorageError(
            f"serve: this process may open {files} files; expected at least {OTHER_FILES + LEAST_CONNECTIONS}: "
            f"ulimit -n {OTHER_FILES + LEAST_CONNECTIONS}"
        )
    return min(limits.connections, files - OTHER_FILES)
