"""Weights from a model hub, over real sockets: a hub on the loopback, and every way in which one can fail."""

import hashlib
import io
import json
import os
import resource
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub
import pytest
import safetensors.torch
import torch
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError

from commands_and_data import run_modiste
from modiste.errors import MissingExtraError, ModisteError, RecipeError, RunError, StorageError
from modiste.runs import storage
from modiste.runs.run_folder import open_run
from modiste.training.transfer import transfer
from modiste.training.transfer.hub import Hub, HubFile, fetch, parse

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CONTENT = safetensors.torch.save({"a": torch.arange(50_000.0)})
DIGEST = hashlib.sha256(CONTENT).hexdigest()
TOKEN = "hf_secret"
REFUSALS = {
    "unknown": (401, "RepoNotFound", ""),
    "gated": (403, "GatedRepo", ""),
    "forbidden": (403, "", "no"),
    "wrong-token": (401, "", "Invalid credentials in Authorization header"),
    "busy": (429, "", ""),
    "broken": (503, "", ""),
}


class FakeHub(BaseHTTPRequestHandler):
    """Speaks what the client needs; the repository's name after ``o/`` says how it behaves."""

    asked: list[tuple[str, str, str | None]]
    agents: set[str]
    files: dict[str, dict[str, bytes]]
    cuts: list[int]
    kinds: dict[str, str]
    released: threading.Event
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.serve()

    def do_GET(self) -> None:
        self.serve()

    def serve(self) -> None:
        self.asked.append((self.command, self.path, self.headers.get("Authorization")))
        self.agents.add(self.headers["User-Agent"])
        if self.path.startswith("/storage/"):
            return self.send_file(self.files.get(self.path[9:], {}).get("model.safetensors", CONTENT))
        words = self.path.strip("/").split("/")
        if words[0] == "api":
            siblings = [{"rfilename": name} for name in self.files.get(words[3], {})]
            return self.answer(200, json.dumps({"id": "/".join(words[2:4]), "siblings": siblings}).encode())
        _, kind, _, revision, *path = words
        return self.resolve(self.kinds.get(kind, kind), revision, "/".join(path))

    def resolve(self, kind: str, revision: str, path: str) -> None:
        files = self.files.get(kind, {"model.safetensors": CONTENT})
        if kind == "silent":
            self.released.wait(20)
            self.close_connection = True
        elif kind in REFUSALS:
            status, code, message = REFUSALS[kind]
            self.answer(status, b"", X_Error_Code=code, X_Error_Message=message)
        elif kind == "page":
            self.answer(200, b"<html>please log in to this hotel</html>")
        elif revision not in ("main", "v1", "pr%2F2", COMMIT):
            self.answer(404, b"", X_Error_Code="RevisionNotFound")
        elif path not in files:
            self.answer(404, b"", X_Error_Code="EntryNotFound", X_Repo_Commit=COMMIT)
        else:
            self.send_known(kind, files[path])

    def send_known(self, kind: str, content: bytes) -> None:
        digest = hashlib.sha256(content).hexdigest()
        large = {"X_Linked_ETag": f'"{digest}"', "X_Linked_Size": str(10**18 if kind == "huge" else len(content))}
        if kind == "small":  # a file in git itself: no linked headers, the ETag is git's
            self.send_file(content, X_Repo_Commit=COMMIT, ETag='"b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0"')
        elif self.command == "HEAD":  # a large file lies elsewhere
            place = f"http://localhost:{self.server.server_address[1]}/storage/{kind}"
            self.answer(302, b"", Location=place, X_Repo_Commit=COMMIT, **large)
        else:
            self.send_file(content, X_Repo_Commit=COMMIT, **large)

    def send_file(self, content: bytes, **headers: str) -> None:
        kind = self.path.rsplit("/", 1)[1]
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        body = content[start:] if kind != "wrong" else bytes(len(content))
        if start:
            headers["Content_Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        sent = min(self.cuts.pop(0), len(body)) if kind == "cut" and self.cuts else len(body)
        if kind == "cut" and not sent:
            self.close_connection = True
            return
        self.answer(206 if start else 200, body, sent, **headers)

    def answer(self, status: int, body: bytes, sent: int | None = None, **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content_Length": str(len(body))} | headers).items():
            if value:
                self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:sent])
        self.close_connection = self.close_connection or (sent is not None and sent < len(body))


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """Address of the fake hub, with this machine's proxies, tokens and caches out of the way."""
    for name in [name for name in os.environ if name.startswith("HF_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.delenv("MODISTE_OFFLINE", raising=False)
    FakeHub.asked, FakeHub.agents, FakeHub.cuts, FakeHub.released = [], set(), [], threading.Event()
    FakeHub.kinds = {}
    FakeHub.files = {
        "others": {"README.md": b"", "b.safetensors": CONTENT, "a/b.safetensors": CONTENT, "model.bin": b""},
        "pickles": {"README.md": b"", "pytorch_model.bin": b"", "old.ckpt": b""},
        "words": {"README.md": b""},
    }
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeHub)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    huggingface_hub.close_session()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    huggingface_hub.close_session()
    FakeHub.released.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def hub(address: str, tmp_path: Path) -> Hub:
    return Hub.open(address, tmp_path / "cache", seconds=5.0)


@pytest.fixture
def nowhere(tmp_path: Path, address: str) -> Hub:
    """A hub at a port where nobody listens, with the same cache."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    return Hub.open(f"http://127.0.0.1:{port}", tmp_path / "cache", seconds=5.0)


def requests(kind: str) -> list[tuple[str, str]]:
    return [(method, path) for method, path, _ in FakeHub.asked if kind in path]


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("hub:o/n", HubFile("o/n")),
        ("hub:o/n@v1", HubFile("o/n", revision="v1")),
        ("hub:o/n@refs/pr/1", HubFile("o/n", revision="refs/pr/1")),
        ("hub:o/n.v-2/a/b_c.safetensors", HubFile("o/n.v-2", "a/b_c.safetensors")),
        (f"hub:o/n/a.safetensors@{COMMIT}", HubFile("o/n", "a.safetensors", COMMIT)),
    ],
)
def test_a_name_is_read(name: str, file: HubFile) -> None:
    assert parse(name) == file
    assert parse(str(file)) == file


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hub:", "not the name of a file"),
        ("hub:gpt2", "not the name of a file"),
        ("hub:o/", "not the name of a file"),
        ("hub:o/n@", "not the name of a file"),
        ("hub:o//n", "not the name of a file"),
        ("hub:o/n/../../x.safetensors", "not the name of a file"),
        ("hub:o/n/a\\b.safetensors", "not the name of a file"),
        ("hub:o/n@main/a.safetensors", "the revision comes last"),
        ("hub:o/n/pytorch_model.bin", "only .safetensors files are read, since others"),
        ("hub:o/n/folder", "only .safetensors files are read"),
    ],
)
def test_what_is_no_name_is_refused(name: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        parse(name)
    assert str(caught.value).endswith("expected hub:OWNER/NAME[/PATH.safetensors][@REVISION]")


@pytest.mark.parametrize("name", ["hub:o/large", "hub:o/small", "hub:o/others/a/b.safetensors@v1"])
def test_a_file_is_fetched_once(hub: Hub, name: str) -> None:
    fetched = fetch(parse(name), hub)
    assert fetched.path.read_bytes() == CONTENT
    assert (fetched.sha256, fetched.commit) == (DIGEST, COMMIT)
    fetch(parse(name), hub)
    assert len([method for method, *_ in FakeHub.asked if method == "GET"]) == 1


def test_nothing_is_told_about_the_user(hub: Hub, capfd: pytest.CaptureFixture[str]) -> None:
    fetch(HubFile("o/large"), hub)
    assert {token for *_, token in FakeHub.asked} == {None}
    assert not any("torch" in agent or "agent/" in agent for agent in FakeHub.agents)
    assert {path.split("/")[1] for _, path, _ in FakeHub.asked} == {"o", "storage"}
    assert capfd.readouterr() == ("", "")


def test_the_clients_settings_are_the_hosts_again(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_XET")
    for name in names:
        monkeypatch.setattr(hub.client.constants, name, False)
    fetch(HubFile("o/large"), Hub.open(hub.endpoint, hub.cache))
    assert [getattr(hub.client.constants, name) for name in names] == [False, False]
    assert not any("torch" in agent or "agent/" in agent for agent in FakeHub.agents)


def test_a_token_goes_to_the_hub_alone(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    fetch(HubFile("o/large"), hub)
    tokens = {path.split("/")[1]: token for _, path, token in FakeHub.asked}
    assert tokens == {"o": f"Bearer {TOKEN}", "storage": None}


@pytest.mark.parametrize("quiet", [True, False])
def test_a_person_sees_a_bar_unless_none_is_wanted(hub: Hub, quiet: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stderr", terminal)
    fetch(HubFile("o/large"), replace(hub, quiet=quiet))
    assert ("100%" in terminal.getvalue()) is not quiet
    assert (terminal.getvalue() == "") is quiet


def test_what_was_fetched_is_used_without_a_network(
    hub: Hub, nowhere: Hub, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = fetch(HubFile("o/large"), hub)
    assert fetch(HubFile("o/large"), nowhere) == first
    assert "the hub cannot be reached; using the file fetched earlier" in caplog.text
    FakeHub.kinds["large"] = "page"  # the network of a hotel
    assert fetch(HubFile("o/large"), hub) == first
    FakeHub.kinds["large"] = "unknown"  # what the hub itself refuses is not taken from the cache
    with pytest.raises(RunError, match="no such repository"):
        fetch(HubFile("o/large"), hub)
    FakeHub.kinds.clear()
    asked = len(FakeHub.asked)
    caplog.clear()
    assert fetch(HubFile("o/large", revision=COMMIT), hub) == first
    monkeypatch.setenv("MODISTE_OFFLINE", "1")
    assert fetch(HubFile("o/large"), hub) == first
    assert len(FakeHub.asked) == asked, "a commit that is there needs no question, nor is one asked when forbidden"
    assert caplog.text == ""


def offline(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODISTE_OFFLINE", "1")


def client_offline(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.mark.parametrize(
    ("forbid", "reason"), [(offline, "MODISTE_OFFLINE is set"), (client_offline, "OfflineModeIsEnabled: ")]
)
def test_leave_to_use_the_network_can_be_withheld(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, forbid: Callable[[Hub, pytest.MonkeyPatch], None], reason: str
) -> None:
    forbid(hub, monkeypatch)
    with pytest.raises(RunError, match=reason):
        fetch(HubFile("o/large"), hub)
    assert FakeHub.asked == []


def test_without_a_network(nowhere: Hub) -> None:
    with pytest.raises(
        RunError, match=r"cannot be fetched from http://127.* \(ConnectError: .*\), and .* no copy"
    ) as told:
        fetch(HubFile("o/large"), nowhere)
    assert f"fetch {nowhere.endpoint}/o/large/resolve/main/model.safetensors elsewhere" in str(told.value)
    assert "HF_ENDPOINT" in str(told.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hub:o/unknown", "no such repository, or a private one; check the name at http.*/o/unknown; .* HF_TOKEN"),
        ("hub:o/gated", "asks for consent first; agree at http.*/o/gated, then give a token"),
        ("hub:o/forbidden", r"refuses access \(403\); give a token"),
        ("hub:o/wrong-token", r"refuses access \(401\); give a token"),
        ("hub:o/busy", "too many requests"),
        ("hub:o/broken", "the hub answered 503; try again later, or fetch http"),
        ("hub:o/page", "what answers there is no model hub"),
        ("hub:o/large@v9", "no branch, tag or commit 'v9'"),
        ("hub:o/others", r"no model.safetensors; there are a/b.safetensors, b.safetensors; name one: hub:OWNER"),
        ("hub:o/pickles", r"weights only as pickles \(old.ckpt, pytorch_model.bin\), which can run code"),
        ("hub:o/words", "no .safetensors file, nor other weights"),
    ],
)
def test_every_refusal_in_plain_words(hub: Hub, name: str, message: str) -> None:
    with pytest.raises(RunError, match=message) as told:
        fetch(parse(name), hub)
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 500


def test_a_hub_that_says_nothing(address: str, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="ReadTimeout"):
        fetch(HubFile("o/silent"), Hub.open(address, tmp_path, seconds=0.2))


def test_a_download_that_breaks_off_goes_on(hub: Hub) -> None:
    FakeHub.cuts = [60_000, 0, 70_000]
    assert fetch(HubFile("o/cut"), hub).sha256 == DIGEST


def test_a_download_that_stays_broken(hub: Hub) -> None:
    FakeHub.cuts = [60_000] + [0] * 9
    with pytest.raises(RunError, match=r"RemoteProtocolError: .*try again when the network is there"):
        fetch(HubFile("o/cut"), hub)
    assert list((hub.cache or Path()).rglob("*incomplete")) == []
    FakeHub.cuts = []
    assert fetch(HubFile("o/cut"), hub).sha256 == DIGEST


def test_bytes_that_are_not_those_published(hub: Hub) -> None:
    with pytest.raises(
        RunError, match=rf"damaged, expected SHA-256 {DIGEST[:16]}\.\.\., found .*; delete (\S+) and"
    ) as told:
        fetch(HubFile("o/wrong"), hub)
    Path(str(told.value).split("; delete ")[1].split(" and give")[0]).unlink()
    with pytest.raises(RunError, match="damaged"):
        fetch(HubFile("o/wrong"), hub)
    assert len([method for method, path in requests("storage/wrong") if method == "GET"]) == 2


def test_a_disk_without_room(hub: Hub) -> None:
    with pytest.raises(
        StorageError, match=r"1,000,000,000,000 MB, .* MB are free; make room, or name another .*HF_HOME"
    ):
        fetch(HubFile("o/huge"), hub)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # the disk refuses in the middle of the file
    try:
        with pytest.raises(StorageError, match="cannot be kept there"):
            fetch(HubFile("o/large"), hub)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_cache_that_cannot_be_written(address: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match=r"file/cache: hub:o/large.* cannot be kept there \(Not a directory\)"):
        fetch(HubFile("o/large"), Hub.open(address, tmp_path / "file" / "cache"))


@pytest.mark.parametrize("endpoint", ["foo", "ftp://127.0.0.1", "http://", "http://[bad", "http://127.0.0.1:x"])
def test_an_address_that_is_none(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with pytest.raises(RecipeError, match="HF_ENDPOINT: expected an address such as"):
        fetch(HubFile("o/large"))


def test_without_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'modiste\[hub\]'"):
        fetch(HubFile("o/large"))


def test_every_fault_is_one_that_a_person_can_mend(hub: Hub) -> None:
    for kind in REFUSALS:
        with pytest.raises(ModisteError) as told:
            fetch(HubFile(f"o/{kind}"), hub)
        assert isinstance(told.value.__cause__, HfHubHTTPError)


def test_the_command(address: str, finished_run: Path, tiny_folder: Path, tmp_path: Path) -> None:
    FakeHub.files["run"] = {"model.safetensors": (finished_run / "model.safetensors").read_bytes()}
    words = ["train", "paper", "--model.filters", 4, 8, "--model.pools", 1, "--model.hidden", 16, "--epochs", 1]
    words += ["--data.source", tiny_folder, "--out", tmp_path / "t", "--transfer-from", "hub:o/run@v1"]
    variables = {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "home"), "MODISTE_OFFLINE": "0"}
    done = run_modiste(*words, **variables)
    assert done.returncode == 0, done.stderr
    assert "transfer: 8 taken" in done.stderr
    digest = storage.sha256(finished_run / "model.safetensors")
    assert open_run(tmp_path / "t").recipe.transfer.source == digest
    origin = {"sha256": digest, "name": "hub:o/run/model.safetensors@v1", "commit": COMMIT}
    assert transfer.read_report(tmp_path / "t").origin == origin
