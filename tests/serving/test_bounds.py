"""What a client can send, or leave unread, without end has a bound, before any token is asked for."""

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import psutil
import pytest
from server_process import Server, listening

from commands_and_data import PROGRAMS
from fault_counter import Faults

MEGABYTE = 2**20
IMPATIENT = '{"send_seconds": 1.0}'
SERVE_WITH_LIMITS = PROGRAMS / "serve_with_limits.py"
STARTS = {
    "GET": "GET /livez HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n",
    "POST": "POST /v1/predict HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n",
}
ENDLESS = {
    "trailers": (b"1\r\nx\r\n0\r\n", b"a:b\r\n" * 13_000),
    "one trailer": (b"0\r\na:", b"b" * 65_000),
    "a chunk's extension": (b"1;", b"b" * 65_000),
    "extensions of a chunk": (b"1", b";b=c" * 16_000),
    "noughts before a chunk's size": (b"", b"0" * 65_000),
    "extensions of many chunks": (b"", (b"1;" + b"b" * 65_000 + b"\r\nx\r\n")),
}


def memory(server: Server) -> int:
    return psutil.Process(server.process.pid).memory_info().rss


@contextlib.contextmanager
def connection_to(server: Server, *, seconds: float = 20) -> Iterator[socket.socket]:
    with socket.create_connection((server.host, server.port), timeout=seconds) as connection:
        yield connection


def send_all_of(connection: socket.socket, piece: bytes, size: int) -> int:
    """Send a piece again and again until so many bytes are sent or the server stops taking them; return how many."""
    sent = 0
    with contextlib.suppress(OSError):
        while sent < size:
            connection.sendall(piece)
            sent += len(piece)
    return sent


def receive_all(connection: socket.socket) -> bytes:
    received = bytearray()
    with contextlib.suppress(OSError):
        while part := connection.recv(65536):
            received += part
    return bytes(received)


@pytest.mark.parametrize("kind", ENDLESS)
@pytest.mark.parametrize("method", STARTS)
def test_what_stands_beside_a_body_has_an_end(server: Server, faults: Faults, method: str, kind: str) -> None:
    begin, piece = ENDLESS[kind]
    with server.client() as client:
        assert client.get("/livez").text == "ok"
        before = memory(server)
        for _ in faults("serving: trailers and extensions without end", few=1, many=100):
            with connection_to(server) as connection:
                connection.sendall(STARTS[method].replace("HOST", server.host).encode() + begin)
                send_all_of(connection, piece, 40 * MEGABYTE)
                answer = receive_all(connection)
            assert answer.count(b"HTTP/1.1 ") <= 1
            assert answer == b"" or answer.startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 200 ")), answer[:200]
            assert client.get("/livez").text == "ok"
    assert memory(server) - before < 30 * MEGABYTE


def test_a_trailer_is_read_over(server: Server) -> None:
    body = b'{"images": ["QQ=="]}'
    head = f"POST /v1/predict HTTP/1.1\r\nHost: {server.host}\r\nContent-Type: application/json\r\n".encode()
    chunks = b"%x;more=1\r\n%b\r\n0\r\nX-Sum: 5\r\nHost: elsewhere\r\n\r\n" % (len(body), body)
    request = head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks
    last = f"GET /livez HTTP/1.1\r\nHost: {server.host}\r\nConnection: close\r\n\r\n".encode()
    answer = server.raw(request + request + last)
    assert answer.count(b"HTTP/1.1 200 OK") == 3
    assert answer.endswith(b"ok")


def pipelined(server: Server, path: str = "/page.js") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {server.host}\r\n\r\n".encode() * 1_000


@pytest.mark.slow
def test_requests_wait_until_those_before_them_are_answered_and_read(server: Server, faults: Faults) -> None:
    with server.client() as client:
        client.get("/livez")
        before = memory(server)
        for _ in faults("serving: pipelined requests whose answers nobody reads", few=1, many=50):
            with connection_to(server, seconds=2) as connection:
                sent = send_all_of(connection, pipelined(server), 24 * MEGABYTE)
                assert sent < 24 * MEGABYTE  # what the kernels between hold, and no more
                assert client.get("/livez").text == "ok"
                assert memory(server) - before < 30 * MEGABYTE


def test_pipelined_requests_are_answered_in_their_order(server: Server) -> None:
    host, body = f"Host: {server.host}\r\n".encode(), b'{"images": ["\r\n\r\n"]}'
    json = b"Content-Type: application/json\r\n"
    requests = [
        b"GET /livez HTTP/1.1\r\n" + host + b"\r\n",
        b"POST /v1/predict HTTP/1.1\r\n" + host + json + b"Content-Length: %d\r\n\r\n%b" % (len(body), body),
        b"HEAD /page.js HTTP/1.1\r\n" + host + b"\r\n",
        b"POST /v1/predict HTTP/1.1\r\n" + host + json + b"Transfer-Encoding: chunked\r\n\r\n"
        b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body),
        b"GET /nowhere HTTP/1.1\r\n" + host + b"Content-Length: 4\r\n\r\n\r\n\r\n",
    ]
    expected = [b"200", b"422", b"200", b"422", b"404"] * 20
    whole = b"".join(requests * 20) + b"GET /livez HTTP/1.1\r\n" + host + b"Connection: close\r\n\r\n"
    for cuts in (1, 7, 4_096, len(whole)):
        with connection_to(server) as connection:
            for start in range(0, len(whole) if cuts > 1 else 2_000, cuts):
                connection.sendall(whole[start : start + cuts])
            connection.sendall(whole[2_000:] if cuts == 1 else b"")
            answer = receive_all(connection)
        assert [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]] == [*expected, b"200"]


@pytest.mark.slow
def test_a_client_that_does_not_read_is_left(model_file: Path) -> None:
    with listening(model_file, "--limits", IMPATIENT, program=SERVE_WITH_LIMITS) as server:
        process = psutil.Process(server.process.pid)
        with server.client() as client:
            client.get("/livez")
        before = process.num_fds()
        with contextlib.ExitStack() as stack:
            for _ in range(5):
                connection = stack.enter_context(connection_to(server, seconds=0.5))
                send_all_of(connection, pipelined(server), 24 * MEGABYTE)
            assert becomes(lambda: process.num_fds() <= before)
        assert_quiet_end(server)


def becomes(holds: object, seconds: float = 20) -> bool:
    """Tell whether something comes to hold within a time that only a fault needs."""
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:  # type: ignore[operator]
        time.sleep(0.05)
    return bool(holds())  # type: ignore[operator]


def assert_quiet_end(server: Server) -> None:
    server.process.terminate()
    _, complaints = server.process.communicate(timeout=60)
    assert complaints == ""


def test_idle_connections_keep_nobody_out(model_file: Path, faults: Faults) -> None:
    """More connections than the process may open files: the longest idle make room, and the log stays empty."""
    with listening(model_file, "--files", 256, program=SERVE_WITH_LIMITS) as server, contextlib.ExitStack() as stack:
        for _ in faults("serving: idle connections", few=600, many=60_000, each=600):
            for _ in range(600):
                stack.enter_context(connection_to(server))
            started = time.monotonic()
            with server.client() as client:
                assert client.get("/livez").text == "ok"
                assert client.post("/v1/predict", json={"images": ["QQ=="]}).status_code == 200
            assert time.monotonic() - started < 9  # sooner than idle connections are left anyway
            stack.close()
        assert psutil.Process(server.process.pid).num_fds() < 256
        assert_quiet_end(server)


def test_a_request_at_work_is_no_idle_connection(model_file: Path) -> None:
    with listening(model_file, "--files", 96, program=SERVE_WITH_LIMITS) as server, connection_to(server) as waiting:
        head = f"POST /v1/predict HTTP/1.1\r\nHost: {server.host}\r\nContent-Type: application/json\r\n"
        waiting.sendall(f"{head}Content-Length: 20\r\nConnection: close\r\n\r\n".encode())
        time.sleep(0.2)
        with contextlib.ExitStack() as stack:
            for _ in range(100):
                stack.enter_context(connection_to(server))
            waiting.sendall(b'{"images": ["QQ=="]}')
            assert receive_all(waiting).startswith(b"HTTP/1.1 200 ")


def test_too_few_files_are_told(model_file: Path) -> None:
    with (
        pytest.raises(AssertionError, match="may open 70 files; expected at least 80"),
        listening(model_file, "--files", 70, program=SERVE_WITH_LIMITS),
    ):
        pass


TENSOR = b'{"inputs": [{"name": "images", "shape": [1, 1, 28, 28], "datatype": "UINT8", "data": ['
INFER = "/v2/models/sprint/infer"
HEAVY = {
    "empty lists": (INFER, TENSOR + b"[]," * 2_600_000 + b"[]]}]}"),
    "lists in lists": (INFER, TENSOR + b"[[[[[[]]]]]]," * 600_000 + b"[]]}]}"),
    "numbers": (INFER, TENSOR + b"0," * 4_000_000 + b"0]}]}"),
    "outputs": (INFER, TENSOR + b']}], "outputs": [' + b'{"name": "a"},' * 300_000 + b'{"name": "b"}]}'),
    "outputs that are none": (INFER, TENSOR + b']}], "outputs": [' + b"1," * 250_000 + b"1]}"),
    "keys": (INFER, b"{" + b",".join(b'"%d": 1' % number for number in range(600_000)) + b"}"),
    "parameters": (INFER, b'{"parameters": {' + b",".join(b'"%d": 1' % number for number in range(200_000)) + b"}}"),
    "pictures that are none": ("/v1/predict", b'{"images": [' + b"1," * 4_000_000 + b"1]}"),
    "empty pictures": ("/v1/predict", b'{"images": [' + b'"",' * 2_600_000 + b'""]}'),
    "keys of a prediction": ("/v1/predict", b"{" + b",".join(b'"%d": 1' % n for n in range(600_000)) + b"}"),
}


@pytest.mark.parametrize("kind", HEAVY)
def test_json_that_is_small_and_heavy_is_refused_before_it_is_parsed(server: Server, kind: str) -> None:
    path, body = HEAVY[kind]
    assert len(body) < 8 * MEGABYTE
    with server.client() as client:
        answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, "at most" in answer.json()["error"]) == (422, True)


def test_as_many_numbers_as_may_be(server: Server) -> None:
    count = 2**18 // 784
    body = TENSOR.replace(b"[1, 1, 28, 28]", b"[%d, 1, 28, 28]" % count)
    row = b"[" + b",".join([b"0"] * 28) + b"]"
    body += b",".join([b"[[" + b",".join([row] * 28) + b"]]"] * count) + b"]}]}"
    with server.client() as client:
        answer = client.post(INFER, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200
    assert {output["shape"][0] for output in answer.json()["outputs"]} == {count}


def test_a_fault_does_not_repeat_all_that_was_sent(server: Server) -> None:
    names = TENSOR + b",".join([b"0"] * 784) + b']}], "outputs": [{"name": "%b"}]}' % (b"a" * MEGABYTE)
    with server.client() as client:
        answer = client.post(INFER, content=names, headers={"Content-Type": "application/json"})
        key = client.post(
            "/v1/predict",
            content=b'{"images": ["QQ=="], "%b": 1}' % (b"a" * MEGABYTE),
            headers={"Content-Type": "application/json"},
        )
    assert isinstance(answer, httpx2.Response)
    assert (answer.status_code, key.status_code) == (400, 422)
    assert max(len(answer.content), len(key.content)) < 1_000
