import contextlib
import io
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from small_archive import ARCHIVE, FILE

from fault_counter import Faults
from fork_server import ForkServer
from modiste.data.idx import idx_source
from modiste.data.idx.download import MIRRORS, Connection, download
from modiste.errors import DataError, StorageError

HANG_SECONDS = 100
"""Nothing that works takes so long, however busy the machine."""
PATIENT = Connection(connect_seconds=30.0, read_seconds=30.0, loopback=True)
HASTY = Connection(connect_seconds=1.0, read_seconds=0.4, loopback=True)
"""For mirrors that fall silent: on a busy machine the others might seem to."""


class Mirror(BaseHTTPRequestHandler):
    """Answers by the first part of the path: ``/cut/file`` as ``cut`` says."""

    asked: list[str]
    released: threading.Event

    def do_GET(self) -> None:
        self.asked.append(self.path)
        getattr(self, self.path.split("/")[1])()

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content_Length": str(len(body))} | headers).items():
            if value:
                self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def good(self) -> None:
        self.answer(ARCHIVE)

    def cut(self) -> None:
        self.answer(ARCHIVE[:-9], Content_Length=str(len(ARCHIVE)))

    def cut_without_length(self) -> None:
        self.answer(ARCHIVE[:-9], Content_Length="")

    def wrong(self) -> None:
        self.answer(ARCHIVE[:-1] + b"!")

    def page(self) -> None:
        self.answer(b"<html>please log in to this hotel</html>")

    def absent(self) -> None:
        self.answer(b"<html>not found</html>", 404)

    def broken(self) -> None:
        self.answer(b"", 503)

    def senseless(self) -> None:
        self.answer(ARCHIVE, Content_Length="many")

    def silent(self) -> None:
        self.released.wait(20)

    def stall(self) -> None:
        self.answer(ARCHIVE[: len(ARCHIVE) // 2], Content_Length=str(len(ARCHIVE)))
        self.wfile.flush()
        self.released.wait(20)

    def trickle(self) -> None:
        """All of it within a fifth of a second."""
        self.answer(b"", Content_Length=str(len(ARCHIVE)))
        piece = -(-len(ARCHIVE) // 20)
        with contextlib.suppress(OSError):
            for begin in range(0, len(ARCHIVE), piece):
                self.wfile.write(ARCHIVE[begin : begin + piece])
                time.sleep(0.01)

    def endless(self) -> None:
        self.answer(b"", Content_Length="")
        try:
            while not self.released.is_set():
                self.wfile.write(bytes(2**16))
        except OSError:
            pass

    def to_http(self) -> None:
        self.answer(b"", 302, Location="http://example.invalid/file.gz")

    def to_file(self) -> None:
        self.answer(b"", 302, Location="file:///etc/hostname")

    def to_good(self) -> None:
        self.answer(b"", 302, Location="/good/file.gz")

    def circle(self) -> None:
        self.answer(b"", 302, Location=self.path)


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    """A server on loopback; gives the address under which it behaves as named."""
    for name in [name for name in os.environ if name == "MODISTE_OFFLINE" or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(Mirror, "asked", [], raising=False)
    monkeypatch.setattr(Mirror, "released", threading.Event(), raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), Mirror) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield lambda behaviour: f"http://127.0.0.1:{server.server_port}/{behaviour}/"
        Mirror.released.set()
        server.shutdown()
        thread.join()


def test_a_good_mirror_gives_the_file(tmp_path: Path, mirror: Callable[[str], str]) -> None:
    folder = tmp_path / "not" / "there" / "yet"
    (path,) = download([FILE], folder, mirrors=(mirror("good"),), connection=PATIENT)
    assert path == folder / "train-labels-idx1-ubyte.gz"
    assert path.read_bytes() == ARCHIVE
    assert list(folder.iterdir()) == [path]


FAILURES = {
    "cut": "broke off before the end",
    "cut_without_length": "sent other bytes than those published",
    "wrong": "sent other bytes than those published",
    "page": "sent other bytes than those published",
    "absent": "answered 404",
    "broken": "answered 503",
    "silent": "fell silent (waited 1 s to connect, 0.4 s to read)",
    "stall": "fell silent (waited 1 s to connect, 0.4 s to read)",
    "endless": "sent more than 80,008 bytes",
    "to_http": "leads to http://example.invalid/file.gz, which is not https",
    "to_file": "leads to file:///etc/hostname, which is not https",
    "circle": "failed (TooManyRedirects)",
}


@pytest.mark.parametrize("behaviour", FAILURES)
def test_a_bad_mirror_leaves_nothing(
    tmp_path: Path, mirror: Callable[[str], str], behaviour: str, faults: Faults
) -> None:
    for _ in faults("data: a hostile mirror"):
        assert_leaves_nothing(behaviour, mirror(behaviour), tmp_path)


def connection_for(behaviour: str) -> Connection:
    return HASTY if "fell silent" in FAILURES.get(behaviour, "") else PATIENT


def assert_leaves_nothing(behaviour: str, address: str, folder: Path) -> None:
    start = time.monotonic()
    with pytest.raises(DataError) as caught:
        download([FILE], folder, mirrors=(address,), connection=connection_for(behaviour))
    message = str(caught.value)
    assert FAILURES[behaviour] in message
    assert "\n" not in message
    assert "apt install dataset-fashion-mnist" in message
    assert list(folder.iterdir()) == []
    assert time.monotonic() - start < HANG_SECONDS


@pytest.mark.parametrize("behaviour", [*FAILURES, "to_good", "senseless"])
def test_the_next_mirror_helps(tmp_path: Path, mirror: Callable[[str], str], behaviour: str) -> None:
    mirrors = (mirror(behaviour), mirror("good"))
    (path,) = download([FILE], tmp_path, mirrors=mirrors, connection=connection_for(behaviour))
    assert path.read_bytes() == ARCHIVE


def test_every_mirror_is_named(tmp_path: Path, mirror: Callable[[str], str]) -> None:
    closed = "https://127.0.0.1:9/"
    with pytest.raises(DataError, match=r"127\.0\.0\.1:\d+ answered 404, 127\.0\.0\.1:9 cannot be reached"):
        download([FILE], tmp_path, mirrors=(mirror("absent"), closed), connection=PATIENT)


def test_what_is_there_and_right_stays(tmp_path: Path, mirror: Callable[[str], str]) -> None:
    (tmp_path / FILE.archive_name).write_bytes(ARCHIVE)
    download([FILE], tmp_path, mirrors=(mirror("good"),), connection=PATIENT)
    assert Mirror.asked == []


def test_what_is_there_and_damaged_is_replaced_only_by_the_right_file(
    tmp_path: Path, mirror: Callable[[str], str]
) -> None:
    path = tmp_path / FILE.archive_name
    path.write_bytes(b"damaged")
    with pytest.raises(DataError):
        download([FILE], tmp_path, mirrors=(mirror("wrong"),), connection=PATIENT)
    assert path.read_bytes() == b"damaged"
    download([FILE], tmp_path, mirrors=(mirror("good"),), connection=PATIENT)
    assert path.read_bytes() == ARCHIVE


def test_plain_http_is_refused_without_asking(tmp_path: Path, mirror: Callable[[str], str]) -> None:
    with pytest.raises(DataError, match="which is not https"):
        download([FILE], tmp_path, mirrors=(mirror("good"),))
    assert Mirror.asked == []


def test_the_mirrors_are_https_only() -> None:
    assert all(url.startswith("https://") for url in MIRRORS)
    assert not any(Connection().allows(f"{scheme}://127.0.0.1/") for scheme in ("http", "ftp", "file", ""))
    assert not Connection(loopback=True).allows("http://example.invalid/")


def test_offline_asks_nobody(tmp_path: Path, mirror: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODISTE_OFFLINE", "1")
    with pytest.raises(DataError, match="found MODISTE_OFFLINE set; unset it"):
        download([FILE], tmp_path, mirrors=(mirror("good"),), connection=PATIENT)
    assert Mirror.asked == []


def test_a_folder_that_cannot_be_written_is_a_fault_of_storage(tmp_path: Path, mirror: Callable[[str], str]) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot be written"):
        download([FILE], tmp_path / "file", mirrors=(mirror("good"),), connection=PATIENT)


def test_nothing_is_said_on_the_way(
    tmp_path: Path, mirror: Callable[[str], str], capfd: pytest.CaptureFixture[str]
) -> None:
    download([FILE], tmp_path, mirrors=(mirror("wrong"), mirror("good")), connection=PATIENT)
    assert capfd.readouterr() == ("", "")


def test_a_person_sees_a_bar(tmp_path: Path, mirror: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stderr", terminal)
    download([FILE], tmp_path, mirrors=(mirror("good"),), connection=PATIENT)
    assert FILE.archive_name in terminal.getvalue()


def test_a_killed_download_leaves_no_final_name_but_the_right_file(
    tmp_path: Path, fork_server: ForkServer, mirror: Callable[[str], str], faults: Faults
) -> None:
    draw, path = random.Random(404), tmp_path / FILE.archive_name
    for _ in faults("data: a download killed", few=10, many=200):
        while not killed_on_the_way(fork_server, tmp_path, mirror("trickle"), draw.uniform(0, 0.2)):
            assert path.read_bytes() == ARCHIVE  # it was done before
            path.unlink()
        assert not path.exists() or path.read_bytes() == ARCHIVE
        path.unlink(missing_ok=True)
    download([FILE], tmp_path, mirrors=(mirror("good"),), connection=PATIENT)
    assert path.read_bytes() == ARCHIVE


def killed_on_the_way(fork_server: ForkServer, folder: Path, address: str, delay: float) -> bool:
    before = len(Mirror.asked)
    child = fork_server.start("small_archive:fetch", folder, address)
    while len(Mirror.asked) == before and not fork_server.has_ended():
        time.sleep(0.001)
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    ended = fork_server.wait()
    assert ended.code in (-signal.SIGKILL, 0), ended
    return ended.code != 0


def test_without_a_network_the_search_ends_quickly(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MODISTE_OFFLINE")
    for variable in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # no way out, even on a machine with a network
    start = time.monotonic()
    with pytest.raises(DataError, match=r"storage\.googleapis\.com cannot be reached, github\.com cannot be"):
        idx_source.load_training("fashion-mnist")
    assert time.monotonic() - start < HANG_SECONDS
    assert not list(nowhere.rglob("*.gz"))
