"""The end of a server, and work that takes long: nothing that a client sends holds the process or the other clients."""

import base64
import contextlib
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import psutil
import pytest
from server_process import Server, listening

from commands_and_data import PROGRAMS, still_running
from fault_counter import Faults
from modiste.serving.picture_pool import DIED

SERVE_SLOWLY = PROGRAMS / "serve_slowly.py"
SLOW_PICTURE = {"files": {"images": b"slow"}}


@contextlib.contextmanager
def posting(server: Server, **content: object) -> Iterator[list[object]]:
    """Send a picture that takes long in a thread; the list holds the answer, or the fault, when there is one."""
    found: list[object] = []

    def post() -> None:
        with server.client() as client:
            try:
                found.append(client.post("/v1/predict", **content))
            except httpx2.TransportError as error:
                found.append(error)

    thread = threading.Thread(target=post)
    thread.start()
    yield found
    thread.join()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def wait_until_at_work(server: Server, count: int) -> None:
    with server.client() as client:
        wait_until(lambda: f"modiste_requests_at_work {count}.0" in client.get("/metrics").text)


def refuses(server: Server) -> bool:
    """Tell whether a server lets nobody in."""
    try:
        socket.create_connection((server.host, server.port), timeout=20).close()
    except ConnectionError:
        return True
    return False


def runs(process: psutil.Process, name: str) -> bool:
    """Tell whether a process that may be starting or ending runs a program."""
    with contextlib.suppress(psutil.Error):
        return name in " ".join(process.cmdline())
    return False


def test_a_picture_that_takes_long_does_not_hold_the_process(model_file: Path, faults: Faults) -> None:
    for _ in faults("serving: asked to stop while a decoder works", few=1, many=20):
        with listening(model_file, program=SERVE_SLOWLY) as server, posting(server, **SLOW_PICTURE) as found:
            wait_until_at_work(server, 1)
            server.process.terminate()
            assert server.process.wait(30) == 0
            _, complaints = server.process.communicate()
        assert isinstance(found[0], httpx2.Response)
        assert found[0].status_code == 503
        assert "took too long" in found[0].json()["error"]
        assert "Traceback" not in complaints


@pytest.mark.slow
def test_a_loop_that_stands_still_does_not_hold_the_process(model_file: Path, photos: list[bytes]) -> None:
    files = {"files": [("images", ("stuck", photos[0]))]}
    with listening(model_file, program=SERVE_SLOWLY) as server, posting(server, **files):
        assert server.process.stdout is not None
        assert server.process.stdout.readline() == "stuck\n"
        server.process.terminate()
        assert server.process.wait(30) == -signal.SIGALRM


@pytest.mark.slow
def test_pictures_that_take_long_do_not_stop_the_others(model_file: Path, photos: list[bytes]) -> None:
    many = {"files": [("images", b"slow")] * 64}
    with (
        listening(model_file, program=SERVE_SLOWLY) as server,
        posting(server, **SLOW_PICTURE),
        posting(server, **SLOW_PICTURE),
        posting(server, **many),
        server.client() as client,
    ):
        wait_until_at_work(server, 3)
        try:
            for photo in photos[:4]:
                answer = client.post("/v1/predict?steps=true", files={"images": photo})
                assert answer.json()["answers"][0]["fault"] is None
        finally:
            server.process.kill()


def test_a_decoder_that_dies_costs_its_picture_alone_and_none_outlives_its_server(
    model_file: Path, photos: list[bytes]
) -> None:
    files = {"files": [("images", photos[0]), ("images", b"fatal"), ("images", photos[1])]}
    with listening(model_file, program=SERVE_SLOWLY) as server, server.client() as client:
        assert client.post("/v1/predict", **files).json()["answers"][1]["fault"] == DIED
        server.process.terminate()
        assert server.process.wait(30) == 0
    with listening(model_file, program=SERVE_SLOWLY) as server:
        with server.client() as client:
            for _ in range(3):
                answers = client.post("/v1/predict", **files).json()["answers"]
                assert [one["fault"] for one in answers] == [None, DIED, None]
        with posting(server, **SLOW_PICTURE):
            wait_until_at_work(server, 1)
            parent = psutil.Process(server.process.pid)
            wait_until(lambda: any(runs(one, "prepare_slowly.py") for one in parent.children()))
            children = parent.children()
            server.process.kill()
            assert still_running(children, seconds=30) == []


def test_clients_that_stay_connected_are_sent_away_before_the_end(model_file: Path, faults: Faults) -> None:
    """Each goes on asking over one connection until an answer says that it is the last; none is cut off."""
    for _ in faults("serving: clients that stay connected when it stops", few=40, many=1_200, each=40):
        with listening(model_file) as server, ThreadPoolExecutor(40) as pool:
            ready = threading.Barrier(41)
            asking = [pool.submit(ask_until_sent_away, server, ready) for _ in range(40)]
            ready.wait()
            server.process.terminate()
            assert [one.result() for one in asking] == ["sent away"] * 40
            assert server.process.wait(30) == 0


def ask_until_sent_away(server: Server, ready: threading.Barrier) -> str:
    request = f"GET /livez HTTP/1.1\r\nHost: {server.host}\r\n\r\n".encode()
    with socket.create_connection((server.host, server.port), timeout=20) as connection:
        for turn in range(10_000):
            try:
                connection.sendall(request)
                answer = connection.recv(65536)
                while answer and not answer.endswith(b"\r\n\r\nok"):
                    answer += connection.recv(65536) or b" and no more\r\n\r\nok"
            except OSError as error:
                return repr(error)
            if not answer.startswith(b"HTTP/1.1 200 OK") or b"and no more" in answer:
                return f"cut off after {answer!r}"
            if b"connection: close" in answer:
                return "sent away"
            if turn == 0:
                ready.wait()
            time.sleep(0.01)
    return "still there"


def test_a_request_that_has_begun_is_answered_before_the_end(model_file: Path) -> None:
    with listening(model_file) as server:
        with socket.create_connection((server.host, server.port), timeout=20) as connection:
            connection.sendall(b"GET /livez HTTP/1.1\r\n")
            with server.client() as client:
                assert client.get("/livez").text == "ok"  # so what came before has been read
            server.process.terminate()
            wait_until(lambda: refuses(server))
            connection.sendall(f"Host: {server.host}\r\n\r\n".encode())
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")
        assert server.process.wait(30) == 0


def test_many_images_take_their_turns(server: Server, photos: list[bytes]) -> None:
    """A request that fills a body keeps the network to itself for one batch, not for all of its own."""
    head = (
        b'{"inputs": [{"name": "images", "shape": [10000, 1, 28, 28], "datatype": "UINT8", '
        b'"parameters": {"binary_data_size": 7840000}}], "parameters": {"binary_data_output": true}}'
    )
    headers = {"Inference-Header-Content-Length": str(len(head))}
    small = {"images": [base64.b64encode(photos[0]).decode()]}
    order: list[str] = []

    def post(name: str, path: str, **content: object) -> None:
        with server.client() as client:
            assert client.post(path, **content).status_code == 200
        order.append(name)

    with server.client() as client:
        assert client.post("/v1/predict", json=small).status_code == 200  # starts a process that prepares pictures
    with ThreadPoolExecutor(4) as pool:
        path = "/v2/models/sprint/infer"
        large = [pool.submit(post, "large", path, content=head + bytes(7_840_000), headers=headers) for _ in range(3)]
        wait_until_at_work(server, 3)
        pool.submit(post, "small", "/v1/predict", json=small).result()
        for one in large:
            one.result()
    assert len(order) == 4
    assert order.index("small") < 2, "else it waited for all that large ones sent"
