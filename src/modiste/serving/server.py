"""The process that listens: deadlines for slow clients, and an orderly end."""

import asyncio
import json
import signal
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from modiste.serving.gate import Gate
from modiste.serving.limits import Limits

HEAD_END = b"\r\n\r\n"


class DeadlineProtocol(HttpToolsProtocol):
    """Gives a client ``receive_seconds`` and ``head_bytes`` for a request's head.

    uvicorn has no such deadline; without one a client that sends a byte now and then keeps its connection for ever.
    """

    limits = Limits()
    deadline: asyncio.TimerHandle | None = None
    head_bytes = 0
    last = b""
    in_body = False

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        if not self.in_body:
            end = (self.last + data).find(HEAD_END)
            self.head_bytes += len(data) if end < 0 else end + len(HEAD_END) - len(self.last)
            self.last = (self.last + data)[1 - len(HEAD_END) :]  # the end may come in two pieces
        if not self.in_body and self.head_bytes > self.limits.head_bytes:
            self._refuse(b"431 Request Header Fields Too Large", f"expected at most {self.limits.head_bytes:,} bytes")
        else:
            super().data_received(data)

    def on_headers_complete(self) -> None:
        self._stop_waiting()
        self.head_bytes, self.last, self.in_body = 0, b"", True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self.in_body = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete and not self.transport.is_closing():
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        self._refuse(b"400 Bad Request", msg)

    def _refuse(self, status: bytes, message: str) -> None:
        """Answer what is no request that an application could answer, and hang up."""
        body = json.dumps({"error": message}).encode()
        head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(head % (status, len(body)) + body)
        self.transport.close()

    def _await_head(self) -> None:
        self._stop_waiting()
        self.deadline = self.loop.call_later(self.limits.receive_seconds, self.transport.close)

    def _stop_waiting(self) -> None:
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None


class Server(uvicorn.Server):
    """Stops in order: readiness is denied, then nothing new is let in, then what is at work is answered."""

    def __init__(self, gate: Gate) -> None:
        super().__init__(
            uvicorn.Config(
                gate,
                http=type("Protocol", (DeadlineProtocol,), {"limits": gate.limits}),
                ws="none",
                loop="asyncio",
                lifespan="on",
                log_level="error",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=int(gate.limits.finish_seconds),
            )
        )
        self.gate = gate

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.gate.draining or not self.started:
            self.should_exit, self.force_exit = True, self.should_exit and sig == signal.SIGINT
            return
        self.gate.draining = True
        loop = self.servers[0].get_loop()
        loop.call_soon_threadsafe(loop.call_later, self.gate.limits.drain_seconds, self._stop_listening)

    def _stop_listening(self) -> None:
        self.should_exit = True
