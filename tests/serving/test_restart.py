"""One server follows another on a socket that stays open: no request is lost, and none is refused."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from commands_and_data import PROGRAMS, child_environment

CLIENTS = 8
BODY = b'{"images": ["QQ=="]}'
"""A request with one picture that cannot be read."""


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as opened:
        yield opened


@contextmanager
def serving(listener: socket.socket, model: Path) -> "Iterator[subprocess.Popen[str]]":
    words = [sys.executable, PROGRAMS / "serve_on_socket.py", str(listener.fileno()), str(model)]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, text=True, env=child_environment(), pass_fds=[listener.fileno()]
    ) as process:
        try:
            assert process.stdout is not None
            assert f":{listener.getsockname()[1]}/" in process.stdout.readline()
            yield process
        finally:
            process.kill()


def ask(listener: socket.socket, *, stays: bool) -> int:
    """Ask once or, if the client stays connected, until it is sent away; return how many answers came."""
    host, port = listener.getsockname()
    lines = [
        f"POST /v1/predict HTTP/1.1\r\nHost: {host}",
        f"Content-Length: {len(BODY)}",
        "Content-Type: application/json",
    ]
    head = "\r\n".join([*lines, *([] if stays else ["Connection: close"]), "\r\n"])
    answers = 0
    with socket.create_connection((host, port), timeout=60) as connection, connection.makefile("rb") as incoming:
        while True:
            connection.sendall(head.encode() + BODY)
            found = b"".join(iter(incoming.readline, b"\r\n")).lower()
            assert found.startswith(b"http/1.1 200 "), found
            size = int(found.partition(b"content-length: ")[2].split(b"\r")[0])
            assert len(incoming.read(size)) == size
            answers += 1
            if b"connection: close" in found:
                return answers


@pytest.mark.slow
def test_no_request_is_lost_when_one_server_follows_another(listener: socket.socket, model_file: Path) -> None:
    over = threading.Event()

    def keep_asking(number: int) -> int:
        answers = 0
        while not over.is_set():
            answers += ask(listener, stays=number % 2 == 0)
        return answers

    with ThreadPoolExecutor(CLIENTS) as pool:
        try:
            with serving(listener, model_file) as first:
                ask(listener, stays=False)  # now it also answers SIGTERM
                asking = [pool.submit(keep_asking, number) for number in range(CLIENTS)]
                first.terminate()
                assert first.wait(60) == 0
            with serving(listener, model_file) as second:
                ask(listener, stays=False)
                over.set()
                second.terminate()
                counts = [one.result(60) for one in asking]
                assert second.wait(60) == 0
        finally:
            over.set()
    assert min(counts) >= 1


def test_a_client_that_has_just_connected_is_answered_before_the_end(listener: socket.socket, model_file: Path) -> None:
    with serving(listener, model_file) as server:
        ask(listener, stays=False)
        with socket.create_connection(listener.getsockname(), timeout=20) as connection:
            server.terminate()
            time.sleep(0.8)  # it listens for half a second longer
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert server.wait(30) == 0
