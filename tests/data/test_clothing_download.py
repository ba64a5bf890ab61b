"""The photographs of clothing are fetched once, checked by themselves, and nothing else is taken from the archive."""

import gzip
import io
import os
import tarfile
import threading
import zlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from modiste.cli import main
from modiste.data import clothing_download
from modiste.data.idx.download import Connection
from modiste.errors import DataError, FolderInUseError, StorageError
from modiste.runs import storage

PUBLISHED = {"train": 4, "validation": 2, "test": 2}
QUICK = Connection(connect_seconds=1.0, read_seconds=2.0, loopback=True)


def picture(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.RandomState(seed).randint(0, 256, (12, 9, 3)).astype(np.uint8)).save(file, "JPEG")
    return file.getvalue()


PICTURES = {
    f"clothing-abc/{part}/{kind}/{number}.jpg": picture(10 * index + number)
    for part, count in PUBLISHED.items()
    for index, kind in enumerate(("hat", "t-shirt"))
    for number in range(count // 2)
}
OTHERS = {
    "clothing-abc/README.md": b"words",
    "clothing-abc/train/hat/../../../out.jpg": picture(1),
    "/etc/train/hat/absolute.jpg": picture(1),
    "clothing-abc/train/hat/deep/er.jpg": picture(1),
}


def archive(files: dict[str, bytes]) -> bytes:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w:gz") as made:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            made.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("clothing-abc/train/hat/link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        made.addfile(link)
    return whole.getvalue()


class Server(BaseHTTPRequestHandler):
    body: bytes = b""
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(200 if self.body else 404)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[bytes], clothing_download.Fetched]]:
    """Fetches what a server on loopback answers."""
    for name in [name for name in os.environ if name == "MODISTE_OFFLINE" or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(Server, "asked", [], raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()

        def fetch(body: bytes) -> clothing_download.Fetched:
            monkeypatch.setattr(Server, "body", body)
            address = f"http://127.0.0.1:{server.server_port}/archive.tar.gz"
            return clothing_download.fetch(address=address, connection=QUICK, published=PUBLISHED)

        yield fetch
        server.shutdown()
        thread.join()


def test_the_pictures_are_fetched_and_nothing_else(
    serve: Callable[[bytes], clothing_download.Fetched], tmp_path: Path
) -> None:
    found = serve(archive({**PICTURES, **OTHERS}))
    assert found.counts == {f"{part}/{kind}": n // 2 for part, n in PUBLISHED.items() for kind in ("hat", "t-shirt")}
    files = {path.relative_to(found.folder).as_posix() for path in found.folder.rglob("*") if not path.is_dir()}
    assert files == {name.partition("/")[2] for name in PICTURES}
    beside = {path.name for path in found.folder.parent.iterdir()}
    left = {clothing_download.NAME, clothing_download.DIGEST, storage.LOCK_NAME}
    assert beside == left, "no archive and nothing unfinished is left"
    assert not list(tmp_path.rglob("out.jpg"))


def test_what_is_there_is_checked_and_not_fetched_again(serve: Callable[[bytes], clothing_download.Fetched]) -> None:
    first = serve(archive(PICTURES))
    assert serve(b"") == first
    assert len(Server.asked) == 1
    next(first.folder.glob("train/*/*.jpg")).write_bytes(b"damaged")
    with pytest.raises(DataError, match="damaged or incomplete"):
        serve(b"")


def unfinished() -> Path:
    """Make what a killed process leaves."""
    leftover = clothing_download.clothing_folder() / ".fetch-killed"
    (leftover / "clothing" / "train").mkdir(parents=True)
    (leftover / "archive.tar.gz").write_bytes(b"half")
    return leftover


def test_what_a_killed_process_left_is_deleted_by_the_next(serve: Callable[[bytes], clothing_download.Fetched]) -> None:
    leftover = unfinished()
    first = serve(archive(PICTURES))
    assert not leftover.exists()
    leftover = unfinished()
    assert serve(b"") == first, "complete"
    assert not leftover.exists()


def test_beside_complete_pictures_what_a_process_is_writing_stays(
    serve: Callable[[bytes], clothing_download.Fetched],
) -> None:
    first = serve(archive(PICTURES))
    running = unfinished()
    with storage.lock(running.parent):
        assert serve(b"") == first
    assert running.exists()


def test_while_a_process_fetches_another_one_is_refused(serve: Callable[[bytes], clothing_download.Fetched]) -> None:
    running = clothing_download.clothing_folder() / ".fetch-running"
    running.mkdir(parents=True)
    with storage.lock(running.parent), pytest.raises(FolderInUseError, match="wait until it has ended"):
        serve(archive(PICTURES))
    assert running.exists()
    assert Server.asked == []


def test_where_another_process_was_faster_its_pictures_are_checked_and_taken(
    serve: Callable[[bytes], clothing_download.Fetched], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a disk without locks."""
    unpack = clothing_download._unpack

    def both(packed: Path, folder: Path) -> None:
        unpack(packed, folder)
        unpack(packed, clothing_download.fetched_folder())

    monkeypatch.setattr(clothing_download, "_unpack", both)
    found = serve(archive(PICTURES))
    assert found.folder == clothing_download.fetched_folder()
    assert sum(found.counts.values()) == len(PICTURES)


@pytest.mark.parametrize("name", ["clothing/train/hat/0.jpg", clothing_download.DIGEST])
def test_a_file_that_cannot_be_read_is_named_in_one_line(
    name: str, serve: Callable[[bytes], clothing_download.Fetched]
) -> None:
    path = serve(archive(PICTURES)).folder.parent / name
    path.unlink()
    path.mkdir()
    with pytest.raises(StorageError, match=r"cannot be read \(.*\); check its permissions") as caught:
        serve(b"")
    assert str(caught.value).startswith(f"{path}: ")


def test_other_pictures_than_before_are_refused(serve: Callable[[bytes], clothing_download.Fetched]) -> None:
    first = serve(archive(PICTURES))
    first.folder.rename(first.folder.with_name("away"))
    changed = {**PICTURES, next(iter(PICTURES)): picture(99)}
    with pytest.raises(DataError, match="other pictures than before"):
        serve(archive(changed))
    assert not first.folder.exists()
    assert serve(archive(PICTURES)).digest == first.digest


def broken_off(body: bytes) -> bytes:
    """The archive as far as its first file, and then no deflated bytes."""
    packer = zlib.compressobj(wbits=31)
    return packer.compress(gzip.decompress(body)[:1024]) + packer.flush(zlib.Z_FULL_FLUSH) + b"\xff" * 30


def with_checksum(body: bytes, checksum: bytes) -> bytes:
    return body[:-8] + checksum + body[-4:]


BAD = {
    "nothing there": (b"", "answered 404"),
    "a page": (b"<html>log in</html>", "expected a tar.gz archive, found Not a gzipped file"),
    "no deflated bytes": (
        b"\x1f\x8b\x08" + bytes(7) + b"\xff" * 30,
        "expected a tar.gz archive, found",
    ),
    "damaged within": (broken_off(archive(PICTURES)), "expected a tar.gz archive, found"),
    "another checksum": (
        with_checksum(archive(PICTURES), b"none"),
        "expected a tar.gz archive, found",
    ),
    "more than an archive": (
        gzip.compress(gzip.decompress(archive(PICTURES)) + bytes(clothing_download.MOST_FILLING_BYTES)),
        "expected an archive that ends after its last file",
    ),
    "cut short": (archive(PICTURES)[:-300], "damaged or incomplete"),
    "pictures missing": (archive(dict(list(PICTURES.items())[1:])), "train: damaged.*expected 4 pictures, found 3"),
    "a broken picture": (archive({**PICTURES, next(iter(PICTURES)): b"no"}), "damaged or incomplete: expected a pict"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_answer_leaves_nothing_and_says_in_one_line_what_to_do(
    case: str, serve: Callable[[bytes], clothing_download.Fetched]
) -> None:
    body, message = BAD[case]
    with pytest.raises(DataError, match=message) as caught:
        serve(body)
    assert "\n" not in str(caught.value)
    assert "--data.extra" in str(caught.value)
    assert [path.name for path in clothing_download.clothing_folder().iterdir()] == [storage.LOCK_NAME]


def test_too_large_an_answer_is_cut(
    serve: Callable[[bytes], clothing_download.Fetched], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clothing_download, "MOST_ARCHIVE_BYTES", 100)
    with pytest.raises(DataError, match="sent more than 100 bytes"):
        serve(archive(PICTURES))
    monkeypatch.setattr(clothing_download, "MOST_ARCHIVE_BYTES", 10**6)
    monkeypatch.setattr(clothing_download, "MOST_PICTURE_BYTES", 100)
    with pytest.raises(DataError, match="at most 100 bytes"):
        serve(archive(PICTURES))


def test_offline_the_command_says_so_and_what_else_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("MODISTE_OFFLINE", "1")
    with pytest.raises(SystemExit):
        main.main(["data", "fetch", "clothing"])
    line = capsys.readouterr().err
    assert "found MODISTE_OFFLINE set" in line
    assert "--data.extra" in line
    assert line.count("\n") == 1


@pytest.mark.parametrize("arguments", [[], ["shoes"], ["clothing", "twice"]])
def test_another_set_is_unknown(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main.main(["data", "fetch", *arguments])
    assert caught.value.code == 2
    assert "expected clothing" in capsys.readouterr().err
