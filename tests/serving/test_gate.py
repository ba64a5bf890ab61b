"""Who and what is let in: real sockets, bodies that lie, clients that dawdle, more requests than can be carried."""

import base64
import contextlib
import gzip
import itertools
import json
import os
import random
import re
import signal
import socket
import struct
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import httpx2
import psutil
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from server_process import Server, listening

from commands_and_data import PROGRAMS, run_modiste
from fault_counter import MINUTES, Faults

INSIDE = re.compile(
    rb"Traceback|\.py\b|/usr/|/home/|/root/|/tmp/|site-packages|uvicorn|starlette|fastapi", re.IGNORECASE
)


def with_limits(model: Path, **changes: float) -> AbstractContextManager[Server]:
    """Start the server with other limits than its own, so that a test need not wait for them."""
    return listening(model, "--limits", json.dumps(changes), program=PROGRAMS / "serve_with_limits.py")


def post(server: Server, body: bytes, *headers: str) -> bytes:
    lines = [f"Host: {server.host}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return server.raw(b"POST /v1/predict HTTP/1.1\r\n" + "\r\n".join(lines).encode() + b"\r\n\r\n" + body)


def test_a_body_that_says_to_be_too_long_is_refused_unread(server: Server) -> None:
    head = f"POST /v1/predict HTTP/1.1\r\nHost: {server.host}\r\nContent-Length: 8388609\r\n\r\n".encode()
    answer = server.raw(head + b"x" * 100)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"expected at most 8,388,608 bytes" in answer


def test_a_body_in_pieces_is_cut_off_at_the_limit(server: Server) -> None:
    piece = b"%x\r\n%b\r\n" % (2**20, b"x" * 2**20)
    with socket.create_connection((server.host, server.port), timeout=20) as connection:
        connection.sendall(f"POST /v1/predict HTTP/1.1\r\nHost: {server.host}\r\n".encode())
        connection.sendall(b"Transfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n")
        with contextlib.suppress(OSError):  # it hangs up
            for _ in range(9):
                connection.sendall(piece)
        answer = receive_all(connection)
    assert answer.startswith(b"HTTP/1.1 413 ")


def receive_all(connection: socket.socket) -> bytes:
    try:
        return b"".join(iter(lambda: connection.recv(65536), b""))
    except OSError:
        return b""


def test_a_body_at_the_limit_is_read(server: Server) -> None:
    body = b'{"images": ["' + b"A" * (8 * 2**20 - 16) + b'"]}'
    assert len(body) == 8 * 2**20
    answer = post(server, body, "Content-Type: application/json")
    assert answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.slow
def test_a_body_has_its_room_before_it_comes(model_file: Path) -> None:
    """Bodies on their way count whole, those of unknown length as the longest; and no longer than they stay."""
    body = b'{"images": ["' + b"A" * 299_985 + b'"]}'
    announced, unknown = f"Content-Length: {len(body)}", "Transfer-Encoding: chunked"
    limits = {"waiting_bytes": 2 * len(body), "body_bytes": len(body), "receive_seconds": 1.0}
    with with_limits(model_file, **limits) as server, contextlib.ExitStack() as stack:
        for _ in range(2):  # whatever becomes of those that wait, their room is free again

            def opened(*headers: str) -> socket.socket:
                one = stack.enter_context(socket.create_connection((server.host, server.port), timeout=20))
                lines = [f"POST /v1/predict HTTP/1.1\r\nHost: {server.host}", "Connection: close", *headers]
                one.sendall("\r\n".join([*lines, "Content-Type: application/json\r\n\r\n"]).encode())
                return one

            waiting = [opened(announced), opened(unknown), opened("Content-Length: 1")]
            assert receive_all(waiting[2]).startswith(b"HTTP/1.1 503 ")
            waiting[0].sendall(body)
            assert receive_all(waiting[0]).startswith(b"HTTP/1.1 200 ")
            leaving = opened(announced)
            assert receive_all(opened(unknown)).startswith(b"HTTP/1.1 503 ")
            leaving.close()
            small = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body[-20:]), body[-20:])
            waiting[1].sendall(small)
            assert receive_all(waiting[1]).startswith(b"HTTP/1.1 422 ")
            late = [opened(announced), opened(unknown)]
            assert all(receive_all(one).startswith(b"HTTP/1.1 408 ") for one in late)


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("text/plain", b"hello", 415),
        ("application/json", b"{", 422),
        ("application/json", b'{"images": []}', 422),
        ("application/json", b'{"images": ["QQ=="], "more": 1}', 422),
        ("application/json", b"[" * 100_000, 422),
        ("application/json", b'{"images": [' + b'"",' * 64 + b'""]}', 422),
        ("multipart/form-data", b"no boundary", 400),
        ("multipart/form-data; boundary=x", b"--y\r\n\r\n--y--", 400),
        (
            "multipart/form-data; boundary=x",
            b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\nb\r\n--x--\r\n",
            422,
        ),
        ("multipart/form-data; boundary=" + "x" * 300, b"--x", 400),
    ],
)
def test_a_malformed_body(server: Server, kind: str, body: bytes, status: int) -> None:
    answer = post(server, body, f"Content-Type: {kind}")
    assert answer.split()[1] == str(status).encode(), answer[:300]
    assert b'{"error":' in answer
    assert not INSIDE.search(answer)


def dawdle(server: Server, start: str, drop: bytes) -> float:
    """Send the start of a request, then a drop now and then; return after how many seconds the server hung up."""
    with socket.create_connection((server.host, server.port), timeout=0.1) as connection:
        connection.sendall(start.replace("HOST", server.host).encode())
        begun = time.monotonic()
        with contextlib.suppress(ConnectionError):  # it hung up while a drop was on its way
            while time.monotonic() - begun < 100 and not has_ended(connection):
                connection.sendall(drop)
        return time.monotonic() - begun


def has_ended(connection: socket.socket) -> bool:
    try:
        return not connection.recv(65536)
    except TimeoutError:
        return False


DAWDLERS = {
    "silent": ("", b""),
    "a head in drops": ("GET /livez HTTP/1.1\r\nX-Slow: ", b"x"),
    "half a head": ("GET /livez HTTP/1.1\r\nHost: HOST\r\n", b""),
    "no body": ("POST /v1/predict HTTP/1.1\r\nHost: HOST\r\nContent-Length: 9999\r\n\r\n", b""),
    "a body in drops": ("POST /v1/predict HTTP/1.1\r\nHost: HOST\r\nContent-Length: 9999\r\n\r\n", b"x"),
    "pieces": ("POST /v1/predict HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "nothing more": ("GET /livez HTTP/1.1\r\nHost: HOST\r\n\r\n", b""),
    "a body where none is read": ("GET /livez HTTP/1.1\r\nHost: HOST\r\nContent-Length: 9999\r\n\r\n", b"x"),
}


@pytest.mark.slow
def test_slow_clients_are_left_while_others_are_served(model_file: Path, photos: list[bytes], faults: Faults) -> None:
    seconds = 10.0 if os.environ.get(MINUTES) else 1.0  # the server's own limit, or one that nobody waits for
    turns = faults("serving: a slow client", few=8, many=64, each=8)
    with (
        with_limits(model_file, receive_seconds=seconds) as server,
        ThreadPoolExecutor(len(DAWDLERS)) as pool,
        server.client() as client,
    ):
        for _ in turns:
            slow = {name: pool.submit(dawdle, server, *given) for name, given in DAWDLERS.items()}
            while not all(one.done() for one in slow.values()):
                assert client.post("/v1/predict", files={"images": photos[0]}).status_code == 200
            found = {name: one.result() for name, one in slow.items()}
            assert max(found.values()) < seconds + 40, found  # without a limit it would wait for ever


@pytest.mark.parametrize(("size", "status"), [(32 * 1024, 200), (32 * 1024 + 1, 431)])
@pytest.mark.parametrize("pieces", [1, 3])
def test_a_head_at_the_limit_is_read(server: Server, size: int, status: int, pieces: int) -> None:
    start = f"GET /livez HTTP/1.1\r\nHost: {server.host}\r\nConnection: close\r\nX: ".encode()
    head = start + b"y" * (size - len(start) - 4) + b"\r\n\r\n"
    with socket.create_connection((server.host, server.port), timeout=20) as connection:
        for cut in ((0, size),) if pieces == 1 else ((0, 999), (999, size - 2), (size - 2, size)):
            connection.sendall(head[slice(*cut)])
            time.sleep(0.05)
        assert receive_all(connection).startswith(b"HTTP/1.1 %d " % status)


def test_as_many_pictures_as_may_be(server: Server) -> None:
    body = b'{"images": [' + b'"",' * 63 + b'""]}'
    assert post(server, body, "Content-Type: application/json").startswith(b"HTTP/1.1 200 ")


def test_a_head_without_end_is_refused(server: Server) -> None:
    answer = server.raw(b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: %b\r\n" % (n, b"y" * 100) for n in range(400)))
    assert answer.startswith(b"HTTP/1.1 431 ")


def test_more_than_can_be_carried_is_told_to_come_again(model_file: Path, photos: list[bytes], faults: Faults) -> None:
    """Ten times as many clients as may be at work: each has an answer or is told at once; then all is as before."""
    at_work = 4
    with (
        with_limits(model_file, requests=at_work) as server,
        ThreadPoolExecutor(10 * at_work) as pool,
        server.client() as client,
    ):

        def ask(number: int) -> httpx2.Response:
            return client.post("/v1/predict?explain=true", files={"images": photos[number % 16]})

        for _ in faults("serving: ten times the load", few=200, many=10_000, each=200):
            found = list(pool.map(ask, range(200)))
            assert {one.status_code for one in found} == {200, 503}
            assert all(one.headers["retry-after"] == "1" for one in found if one.status_code == 503)
            assert [ask(number).status_code for number in range(at_work)] == [200] * at_work


@pytest.mark.slow
def test_what_is_at_work_is_answered_before_the_end(model_file: Path, photos: list[bytes], faults: Faults) -> None:
    for _ in faults("serving: requests at work when asked to stop", few=32, many=960, each=32):
        stop_under_load(model_file, photos)


def stop_under_load(model_file: Path, photos: list[bytes]) -> None:
    with with_limits(model_file, drain_seconds=1.0, finish_seconds=120.0) as server:  # the machine may be busy
        ready, answered = threading.Barrier(33), []

        def ask(number: int) -> None:
            with server.client(timeout=150) as client:
                client.get("/livez")
                ready.wait()
                files = [("images", photos[(number + turn) % 16]) for turn in range(8)]
                answered.append(client.post("/v1/predict?explain=true", files=files).status_code)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(32)]
        for thread in threads:
            thread.start()
        with server.client() as client, server.client() as other:
            assert client.get("/readyz").status_code == other.get("/livez").status_code == 200
            ready.wait()
            while at_work(client) + len(answered) < len(threads):
                time.sleep(0.01)
            server.process.send_signal(signal.SIGTERM)
            while (ready_status := client.get("/readyz").status_code) == 200:
                time.sleep(0.01)
            assert ready_status == 503
            assert other.get("/livez").status_code == 200
        for thread in threads:
            thread.join()
        assert answered == [200] * 32
        assert server.process.wait(60) in (0, -signal.SIGTERM)


def at_work(client: httpx2.Client) -> int:
    """Count the requests that the server has not answered yet."""
    (line,) = (
        line for line in client.get("/metrics").text.splitlines() if line.startswith("modiste_requests_at_work ")
    )
    return int(float(line.split()[1]))


def test_foreign_names_and_pages_are_refused(server: Server) -> None:
    with server.client() as client:
        assert client.get("/livez", headers={"Host": "shop.example"}).status_code == 421
        assert client.get("/livez", headers={"Host": f"localhost:{server.port}"}).status_code == 200
        picture = {"files": {"images": b"x"}}
        refused = client.post("/v1/predict", headers={"Origin": "http://shop.example"}, **picture)
        assert (refused.status_code, "other sites" in refused.json()["error"]) == (403, True)
        assert client.post("/v1/predict", headers={"Origin": "null"}, **picture).status_code == 403
        assert client.post("/v1/predict", headers={"Origin": server.url}, **picture).status_code == 200


def test_a_name_is_compared_as_names_are(model_file: Path) -> None:
    allowed = ("--allow-host", "Shop.Example", "b\u00fccher.example:80", "2001:DB8::1")
    with listening(model_file, *allowed) as server, server.client() as client:

        def status(host: str) -> int:
            return client.get("/livez", headers={"Host": host}).status_code

        for host in ("shop.example", "SHOP.example:1", "shop.example.", "xn--bcher-kva.example", "[2001:db8::1]:8000"):
            assert status(host) == 200, host
        for host in (
            "shop.example.org",
            "me@shop.example",
            "shop.example/path",
            "shop.example#",
            "[shop.example]",
            ".",
        ):
            assert status(host) == 421, host


@pytest.mark.parametrize(
    "headers",
    [
        ["Host: localhost", "Host: shop.example"],
        ["Host: shop.example", "Host: localhost"],
        ["Host: localhost", "host: localhost"],
        [],
        ["Host: localhost", "Authorization: Bearer a", "Authorization: Bearer b"],
        ["Host: localhost", "Origin: http://localhost", "Origin: http://shop.example"],
        ["Host: localhost", "Content-Type: application/json", "Content-Type: text/plain"],
    ],
)
def test_a_header_that_decides_is_there_once(server: Server, headers: list[str]) -> None:
    head = "\r\n".join(["GET /livez HTTP/1.1", *headers, "Connection: close", "", ""])
    answer = server.raw(head.encode())
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'{"error":' in answer


def test_every_answer_carries_its_safeguards(server: Server) -> None:
    with server.client() as client:
        for response in (client.get("/"), client.get("/nowhere"), client.get("/livez", headers={"Host": "x"})):
            policy = response.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert response.headers["x-content-type-options"] == "nosniff"
            assert "access-control-allow-origin" not in response.headers
            assert "server" not in response.headers


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1" + b"0" * 5_000 + b"\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: " + b"a" * 40_000, 431),
    ],
)
def test_what_is_no_request_is_answered_with_the_same_safeguards(
    server: Server, request_bytes: bytes, status: int
) -> None:
    head, _, body = server.raw(request_bytes).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    with server.client() as client:
        usual = client.get("/livez").headers
    lines = head.decode().lower().splitlines()
    for name in ("content-security-policy", "x-content-type-options", "referrer-policy", "cache-control"):
        assert f"{name}: {usual[name]}".lower() in lines
    assert "connection: close" in lines
    assert list(json.loads(body)) == ["error"]


def test_head_is_answered_as_get_without_a_body(server: Server) -> None:
    with server.client() as client:
        paths = ("/", "/page.js", "/livez", "/readyz", "/v1/model", "/v2", "/v2/health/ready", "/v2/models/sprint")
        for path in (*paths, "/openapi.json", "/nowhere", "/v1/predict"):
            head, whole = client.head(path), client.get(path)
            assert (head.status_code, head.content) == (whole.status_code, b"")
            assert head.headers["content-length"] == str(len(whole.content))
        assert client.head("/metrics").status_code == 200
        assert client.head("/livez", headers={"Host": "shop.example"}).status_code == 421
        assert client.get("/livez").text == "ok"  # over the same connection


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
def test_a_request_that_asks_for_another_protocol_keeps_its_body(server: Server, protocol: str, chunked: bool) -> None:
    """Java's client and ``curl --http2`` ask so with every first request; a server may answer in HTTP/1.1."""
    body = b'{"images": ["QQ=="]}'
    length, sent = f"Content-Length: {len(body)}", body
    if chunked:
        length, sent = "Transfer-Encoding: chunked", b"%x\r\n%b\r\n0\r\nX-Sum: 5\r\n\r\n" % (len(body), body)
    lines = ["POST /v1/predict HTTP/1.1", f"Host: {server.host}", "Content-Type: application/json", length]
    asking = [*lines, f"Upgrade: {protocol}", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAAQ"]
    requests = [("\r\n".join(head) + "\r\n\r\n").encode() + sent for head in (asking, lines, asking, lines)]
    last = f"GET /livez HTTP/1.1\r\nHost: {server.host}\r\nUpgrade: {protocol}\r\nConnection: Upgrade, close\r\n\r\n"
    answer = server.raw(b"".join(requests) + last.encode())
    assert (answer.count(b"HTTP/1.1 200 OK"), answer.count(b'"fault":"not a readable image')) == (5, 4), answer
    assert answer.endswith(b"ok")


@pytest.mark.parametrize("length", ["Content-Length: %d", "Transfer-Encoding: chunked"])
def test_the_body_of_such_a_request_is_no_other_request(server: Server, length: str) -> None:
    hidden = f"GET /v1/model HTTP/1.1\r\nHost: {server.host}\r\nConnection: close\r\n\r\n".encode()
    sent = hidden if "%" in length else b"%x\r\n%b\r\n0\r\n\r\n" % (len(hidden), hidden)
    lines = ["GET /livez HTTP/1.1", f"Host: {server.host}", "Connection: upgrade", "Upgrade: x"]
    head = "\r\n".join([*lines, length.replace("%d", str(len(hidden)))]) + "\r\n\r\n"
    last = f"GET /livez HTTP/1.1\r\nHost: {server.host}\r\nConnection: close\r\n\r\n"
    answer = server.raw(head.encode() + sent + last.encode())
    assert answer.count(b"HTTP/1.1 ") == 2
    assert b"image_shape" not in answer


def test_a_client_that_left_before_it_was_refused_is_no_failure(model_file: Path) -> None:
    with listening(model_file) as server:
        for _ in range(5):
            with socket.create_connection((server.host, server.port)) as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.sendall(f"GET /livez HTTP/1.1\r\nHost: {server.host}\r\n\r\nnonsense\r\n\r\n".encode())
            with server.client() as client:  # closed by a reset: the socket lingers for 0 seconds
                assert client.get("/livez").text == "ok"
        server.process.terminate()
        _, told = server.process.communicate(timeout=60)
    assert told == ""


def compressed(coding: str, content: bytes) -> bytes:
    return gzip.compress(content) if coding == "gzip" else zlib.compress(content)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_compressed_body_is_unpacked_up_to_the_limit(server: Server, photos: list[bytes], coding: str) -> None:
    plain = json.dumps({"images": [base64.b64encode(photos[0]).decode()]}).encode()
    whole, most = compressed(coding, plain), 8 * 2**20
    cases = {
        whole: 200,
        compressed(coding, plain + b" " * (most - len(plain))): 200,
        compressed(coding, plain + b" " * (most + 1 - len(plain))): 413,
        compressed(coding, b" " * 2**27): 413,
        whole[:-1]: 400,
        whole + b"more": 400,
        plain: 400,
        b"": 400,
    }
    process = psutil.Process(server.process.pid)
    with server.client() as client:
        before = process.memory_info().rss
        for body, status in cases.items():
            headers = {"Content-Type": "application/json", "Content-Encoding": coding.upper()}
            answer = client.post("/v1/predict", content=body, headers=headers)
            assert (answer.status_code, "error" in answer.json()) == (status, status != 200)
        assert process.memory_info().rss - before < 100 * 2**20


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "compress", "x"])
def test_another_compression_is_told_what_is_taken(server: Server, coding: str) -> None:
    with server.client() as client:
        headers = {"Content-Type": "application/json", "Content-Encoding": coding}
        answer = client.post("/v1/predict", content=b"{}", headers=headers)
    assert (answer.status_code, answer.headers["accept-encoding"]) == (415, "gzip, deflate")


@pytest.mark.parametrize("length", ["9" * 5_000, "9" * 18, "3", "-1", "+1", "1.5", "0x1", "", "\u0663"])
def test_a_length_of_json_that_is_none(server: Server, length: str) -> None:
    with server.client() as client:
        headers = {"Content-Type": "application/json", "Inference-Header-Content-Length": length.encode()}
        answer = client.post("/v2/models/sprint/infer", content=b"{}", headers=headers)
    assert (answer.status_code, "expected a number of bytes" in answer.json()["error"]) == (400, True)


def test_a_token_is_asked_for(model_file: Path, photos: list[bytes]) -> None:
    token = "a-long-enough-token"
    with listening(model_file, "--host", "0.0.0.0", MODISTE_TOKEN=token) as server:
        local = Server(server.process, "127.0.0.1", server.port)
        with local.client() as client:
            assert client.get("/livez").status_code == client.get("/").status_code == 200
            for path in ("/v1/model", "/metrics", "/openapi.json", "/v2/models/sprint"):
                assert client.get(path).status_code == 401
            scheme = ("", "Bearer", "Bearer wrong", "Basic " + token, "Bearer " + token + "x")
            for wrong in (*scheme, token, "Bearer" + token, "Bearer Bearer " + token, "Token " + token):
                refused = client.post("/v1/predict", files={"images": photos[0]}, headers={"Authorization": wrong})
                assert refused.status_code == 401
            for right in ("Bearer ", "bearer ", "BEARER  "):
                answer = client.post(
                    "/v1/predict", files={"images": photos[0]}, headers={"Authorization": right + token}
                )
                assert answer.status_code == 200


@pytest.mark.parametrize(
    ("options", "complaint", "code"),
    [
        (("--host", "0.0.0.0"), "expected a token", 4),
        (("--token", "short"), "16 or more printable", 4),
        (("--token", "a-long-enough-token "), "no blank at its ends", 4),
        (("--port", "99999"), "expected a number from 0 to 65,535", 4),
        (("--port", "-1"), "expected a number from 0 to 65,535", 4),
        (("--allow-host", "*"), "is not a host name", 4),
        (("--allow-host", "http://shop.example"), "is not a host name", 4),
        (("--allow-host", "\u00fc" * 70), "is not a host name", 4),
        (("--host", "\u00fc" * 70, "--token", "a-long-enough-token"), "cannot listen on", 5),
        (("--host", "no.such.invalid", "--token", "a-long-enough-token"), "cannot listen on", 5),
        (("--host", "198.51.100.7", "--token", "a-long-enough-token"), "cannot listen on", 5),
    ],
)
def test_it_does_not_start(model_file: Path, options: tuple[str, ...], complaint: str, code: int) -> None:
    done = run_modiste("serve", model_file, "--port", "0", *options)
    assert (done.returncode, complaint in done.stderr, "Traceback" in done.stderr) == (code, True, False)


def test_raw_bytes_never_break_it(server: Server, faults: Faults) -> None:
    """Requests with bytes changed, cut, doubled and made up: an answer in one shape or none, and it goes on."""
    chance = random.Random(5)
    whole = f"POST /v1/predict?steps=true HTTP/1.1\r\nHost: {server.host}\r\nContent-Length: 14\r\n".encode()
    whole += b'Content-Type: application/json\r\nConnection: close\r\n\r\n{"images":[""]}'[:-1] + b"}"
    for _ in faults("serving: raw bytes", few=2_000, many=50_000):
        changed = bytearray(whole)
        for _ in range(chance.randint(1, 8)):
            place = chance.randrange(len(changed))
            changed[place : place + chance.randint(0, 3)] = chance.randbytes(chance.randint(0, 4))
        answer = ask_raw(server, bytes(changed))
        assert not INSIDE.search(answer)
        assert not answer or answer.startswith(b"HTTP/1.1 ")
        assert b" 500 " not in answer.split(b"\r\n")[0]
    with server.client() as client:
        assert client.get("/livez").text == "ok"


def ask_raw(server: Server, content: bytes) -> bytes:
    """Send bytes and no more, and take what comes."""
    with socket.create_connection((server.host, server.port), timeout=20) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(content)
            connection.shutdown(socket.SHUT_WR)
        return receive_all(connection)


@pytest.mark.slow
def test_memory_does_not_grow(server: Server, photos: list[bytes], faults: Faults) -> None:
    """Good and bad requests in turn. A leak grows in every fifth of them; what an allocator keeps does not."""
    process, boundary = psutil.Process(server.process.pid), "multipart/form-data; boundary=x"
    with server.client() as client:

        def post(content: bytes, kind: str = "application/json", path: str = "/v1/predict") -> httpx2.Response:
            return client.post(path, content=content, headers={"Content-Type": kind})

        asking = [
            lambda number: client.post("/v1/predict", files={"images": photos[number % 16]}),
            lambda number: client.post("/v1/predict?steps=true", files={"images": photos[1][: number % 900]}),
            lambda _: client.post("/v1/predict", json={"images": ["QUJD"]}),
            lambda _: post(b"{" * 50),
            lambda number: client.get(f"/nowhere/{number}"),
            lambda number: post(b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n%d" % number, boundary),
            lambda number: post(b'{"inputs": [%d]}' % number, path=f"/v2/models/{number}/infer"),
            lambda number: client.get("/livez", headers={"Host": f"shop-{number}.example"}),
            lambda number: client.post("/v1/predict", content=iter([b"x" * (number % 5000)])),
            lambda number: client.request("BREW", f"/v1/predict?steps={number}"),
        ]

        def ask(number: int) -> None:
            answer = asking[number % len(asking)](number)
            assert answer.status_code < 500, answer.text
            assert answer.status_code == 200 or not INSIDE.search(answer.content)

        for number in range(1_000):
            ask(number)
        sizes = [process.memory_info().rss]
        for number in faults("serving: good and bad requests mixed", few=5_000, many=100_000):
            ask(number)
            sizes.append(process.memory_info().rss)
    ends = [sizes[part * (len(sizes) - 1) // 5] for part in range(6)]
    growth = sorted(after - before for before, after in itertools.pairwise(ends))
    print("growth of memory in the fifths of the mixed requests:", *(f"{grown / 2**20:+.2f} MB" for grown in growth))
    assert growth[1] < 2**19  # not the least: one fifth may give back what another took
    assert sum(growth) < 50 * 2**20


@pytest.mark.slow
def test_the_document_is_kept(server: Server) -> None:
    """Property-based requests after the server's own document (schemathesis): no check of its finds anything."""
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    tried = sum(tries(one.ok(), mode) for one in schema.get_all_operations() for mode in schemathesis.GenerationMode)
    assert tried > 100
    print(f"requests after the document: {tried}, nothing found")


@pytest.mark.parametrize(
    "charset", ["unicode_escape", "undefined", "punycode", "utf-7", "rot13", "utf-16", "zlib", "x"]
)
@pytest.mark.parametrize("name", [b"\\ud800", b"+2AA-", b"\xff", b"a\\"])
def test_a_form_in_another_charset_is_refused(server: Server, charset: str, name: bytes) -> None:
    """Its texts would be decoded by any codec of Python's, some of which take hours for a few megabytes."""
    answer = post_form(server, f"; charset={charset}", name)
    assert answer.status_code == 415
    assert "charset: expected utf-8" in answer.text


@pytest.mark.parametrize("charset", ["", "; charset=utf-8", "; charset=UTF8", '; charset="utf-8"'])
@pytest.mark.parametrize("name", [b"coat.jpg", b"\xff\xfe", b"a\\", "Mäntel".encode()])
def test_names_in_a_form_are_utf8_or_at_least_letters(server: Server, charset: str, name: bytes) -> None:
    answer = post_form(server, charset, name)
    assert answer.status_code == 200
    assert answer.json()["answers"][0]["fault"]


def post_form(server: Server, charset: str, name: bytes) -> httpx2.Response:
    """Send a form with a file of this name, whose type of content has the charset."""
    part = b'--x\r\nContent-Disposition: form-data; name=images; filename="%b"\r\n\r\nQ\r\n--x--\r\n' % name
    with server.client() as client:
        headers = {"Content-Type": f"multipart/form-data; boundary=x{charset}"}
        return client.post("/v1/predict", content=part, headers=headers)


def tries(operation: schemathesis.APIOperation, mode: schemathesis.GenerationMode) -> int:
    """Try an operation with requests that are right, or wrong.

    How many numbers a tensor has depends on its shape, which JSON's schemas cannot say.
    """
    waived = [schemathesis.checks.CHECKS.get_one("positive_data_acceptance")] if "infer" in operation.path else []
    tried = []
    if mode.is_negative and operation.method == "get":
        return 0  # there is nothing to be wrong

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    def holds(case: schemathesis.Case) -> None:
        tried.append(case)
        case.call_and_validate(excluded_checks=waived)

    holds()
    return len(tried)
