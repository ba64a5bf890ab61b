"""Files written whole or not at all, sealed JSON, the lock: under real faults and between real processes."""

import contextlib
import errno
import fcntl
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from commands_and_data import run_modiste
from modiste.errors import FolderInUseError, ReadOnlyError, RunError, StorageError
from modiste.runs import storage
from modiste.system import posix

OLD, NEW = b"the old content", b"the new content, which is longer"
OPERATIONS = {
    "make the temporary file": (os, "open"),
    "open it": (os, "fdopen"),
    "fsync": (os, "fsync"),
    "rename": (Path, "replace"),
}
REASONS = [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT]


def failing(code: int) -> Callable[..., Any]:
    def fail(*_arguments: object, **_options: object) -> Any:
        raise OSError(code, os.strerror(code))

    return fail


class ShortFile:
    """A file on a disk that fills up: takes half of what it is given, then refuses."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def __enter__(self) -> "ShortFile":
        return self

    def __exit__(self, *_reason: object) -> None:
        self.file.close()

    def write(self, content: bytes) -> int:
        self.file.write(content[: len(content) // 2])
        self.file.flush()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextlib.contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def visible_and_hidden(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class TestWhole:
    def test_content(self, tmp_path: Path) -> None:
        path = tmp_path / "new" / "folder" / "file"
        for content in (OLD, NEW, b"", bytes(range(256)) * 1000):
            storage.write_bytes(path, content)
            assert path.read_bytes() == content
        assert visible_and_hidden(path.parent) == ["file"]

    @pytest.mark.parametrize(("mask", "mode"), [(0o077, 0o600), (0o027, 0o640), (0o022, 0o644), (0o002, 0o664)])
    def test_the_umask_says_who_may_read(self, mask: int, mode: int, tmp_path: Path) -> None:
        with umask(mask):
            storage.write_bytes(tmp_path / "file", OLD)
            with storage.lock(tmp_path):
                pass
        modes = [path.stat().st_mode & 0o777 for path in (tmp_path / "file", tmp_path / storage.LOCK_NAME)]
        assert modes == [mode, mode]

    def test_a_name_as_long_as_a_name_can_be(self, tmp_path: Path) -> None:
        for name in ("x" * 255, "ü" * 127):
            storage.write_bytes(tmp_path / name, OLD)
            assert (tmp_path / name).read_bytes() == OLD
        with pytest.raises(StorageError, match=r"File name too long.*shorter name"):
            storage.write_bytes(tmp_path / ("x" * 256), OLD)

    def test_a_link_in_the_place_of_a_file_is_replaced_and_not_followed(self, tmp_path: Path) -> None:
        outside, path = tmp_path / "outside", tmp_path / "run" / "file"
        outside.write_bytes(OLD)
        path.parent.mkdir()
        path.symlink_to(outside)
        storage.write_bytes(path, NEW)
        assert (outside.read_bytes(), path.read_bytes(), path.is_symlink()) == (OLD, NEW, False)

    @pytest.mark.parametrize("code", REASONS, ids=[errno.errorcode[code] for code in REASONS])
    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_old_content_survives_a_failure_of(
        self, operation: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "file"
        storage.write_bytes(path, OLD)
        with monkeypatch.context() as patch:
            patch.setattr(*OPERATIONS[operation], failing(code))
            with pytest.raises(StorageError) as caught:
                storage.write_bytes(path, NEW)
        assert path.read_bytes() == OLD
        assert visible_and_hidden(tmp_path) == ["file"]
        message = str(caught.value)
        assert message.startswith(f"{path}: cannot be written ({os.strerror(code)})")
        assert "--out" not in message, "the command may have no such flag"
        storage.write_bytes(path, NEW)
        assert path.read_bytes() == NEW

    def test_old_content_survives_a_disk_that_fills_up(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path, open_descriptor = tmp_path / "file", os.fdopen
        storage.write_bytes(path, OLD)
        monkeypatch.setattr(os, "fdopen", lambda *arguments: ShortFile(open_descriptor(*arguments)))
        with pytest.raises(StorageError, match="No space left on device"):
            storage.write_bytes(path, NEW)
        assert path.read_bytes() == OLD
        assert visible_and_hidden(tmp_path) == ["file"]

    def test_a_real_full_device_is_refused(self, tmp_path: Path) -> None:
        """The size limit of a process is a full disk that every system has."""
        path = tmp_path / "file"
        script = (
            "import resource, signal, sys; from pathlib import Path; from modiste.runs import storage\n"
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); path = Path(sys.argv[1])\n"
            "storage.write_bytes(path, b'old'); resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
            "try: storage.write_bytes(path, bytes(10_000))\n"
            "except storage.StorageError as error: print(error)"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True, timeout=60
        )
        assert "cannot be written (File too large)" in done.stdout
        assert path.read_bytes() == b"old"
        assert visible_and_hidden(tmp_path) == ["file"]

    def test_a_folder_that_cannot_be_synced_leaves_old_or_new(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path, real = tmp_path / "file", os.open
        storage.write_bytes(path, OLD)
        monkeypatch.setattr(
            os, "open", lambda name, *rest: failing(errno.EIO)() if name == tmp_path else real(name, *rest)
        )
        with pytest.raises(StorageError, match="Input/output error"):
            storage.write_bytes(path, NEW)
        assert path.read_bytes() in (OLD, NEW)
        assert visible_and_hidden(tmp_path) == ["file"]

    @pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP])
    def test_a_file_system_that_cannot_sync_folders_is_written_to(
        self, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def of_files_alone(descriptor: int) -> None:
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                failing(code)()

        monkeypatch.setattr(os, "fsync", of_files_alone)
        storage.write_bytes(tmp_path / "file", NEW)
        assert (tmp_path / "file").read_bytes() == NEW

    @pytest.mark.parametrize(
        ("code", "kind", "remedy"),
        [
            (errno.ENOSPC, StorageError, "free space on that disk"),
            (errno.EROFS, ReadOnlyError, "choose a place where you may write"),
            (errno.EACCES, ReadOnlyError, "check its permissions"),
        ],
    )
    def test_what_to_do_fits_what_was_refused(
        self, code: int, kind: type[StorageError], remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "fsync", failing(code))
        with pytest.raises(StorageError, match=remedy) as caught:
            storage.write_bytes(tmp_path / "file", NEW)
        assert type(caught.value) is kind

    def test_a_person_who_interrupts_leaves_the_old(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "file"
        storage.write_bytes(path, OLD)

        def interrupted(_descriptor: int) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(os, "fsync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            storage.write_bytes(path, NEW)
        assert path.read_bytes() == OLD
        assert visible_and_hidden(tmp_path) == ["file"]

    def test_a_path_below_a_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("here")
        with pytest.raises(StorageError, match=r"file/below/it: cannot be written \((Not a directory|File exists)"):
            storage.write_bytes(tmp_path / "file" / "below" / "it", NEW)
        assert (tmp_path / "file").read_text(encoding="utf-8") == "here"


SEALED: dict[str, Any] = {
    "files": {"log.jsonl": "ab" * 8, "größe/한국.txt": "0"},
    "test_openings": 3,
    "share": 0.1,
    "flags": [True, None, -0.0],
}


class TestSealed:
    def test_there_and_back(self, tmp_path: Path) -> None:
        storage.write_hashed_json(tmp_path / "m.json", SEALED)
        assert storage.read_hashed_json(tmp_path / "m.json") == SEALED
        assert json.loads((tmp_path / "m.json").read_text(encoding="utf-8")).keys() == {*SEALED, "seal"}

    def test_every_flipped_bit_is_noticed(self, tmp_path: Path) -> None:
        path = tmp_path / "m.json"
        storage.write_hashed_json(path, SEALED)
        sound = path.read_bytes()
        for position in range(len(sound) * 8):
            flipped = bytearray(sound)
            flipped[position // 8] ^= 1 << position % 8
            path.write_bytes(flipped)
            with pytest.raises(RunError, match=r"m\.json: damaged"):
                storage.read_hashed_json(path)

    def test_every_cut_is_noticed(self, tmp_path: Path) -> None:
        path = tmp_path / "m.json"
        storage.write_hashed_json(path, SEALED)
        sound = path.read_bytes()
        for length in range(len(sound)):
            path.write_bytes(sound[:length])
            with pytest.raises(RunError, match=r"m\.json: damaged"):
                storage.read_hashed_json(path)
        path.write_bytes(sound + b"\n")
        with pytest.raises(RunError):
            storage.read_hashed_json(path)

    def test_a_file_name_that_is_no_utf8_is_kept(self, tmp_path: Path) -> None:
        value = {"place": os.fsdecode(b"bad\xff")}
        storage.write_hashed_json(tmp_path / "m.json", value)
        assert storage.read_hashed_json(tmp_path / "m.json") == value
        storage.write_json(tmp_path / "n.json", value)
        assert storage.read_json(tmp_path / "n.json") == value

    @pytest.mark.parametrize(
        "content", ["[]", "3", "null", '"seal"', '{"a": 1}', "", "[" * 100_000, '{"seal": "\\ud800"}']
    )
    def test_json_that_was_never_sealed(self, content: str, tmp_path: Path) -> None:
        (tmp_path / "m.json").write_text(content, encoding="utf-8")
        with pytest.raises(RunError, match=r"m\.json: damaged"):
            storage.read_hashed_json(tmp_path / "m.json")

    def test_missing_or_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match=r"m\.json: missing"):
            storage.read_hashed_json(tmp_path / "m.json")
        with pytest.raises(RunError, match="cannot be read"):
            storage.read_json(tmp_path)


class TestBounds:
    def test_a_file_of_gigabytes_is_refused_without_reading_it(self, tmp_path: Path) -> None:
        path = tmp_path / "m.json"
        path.touch()
        os.truncate(path, 2**40)  # takes no room
        for read in (storage.read_json, storage.read_hashed_json, storage.read_text):
            with pytest.raises(RunError, match=r"m\.json: damaged, expected at most 33,554,432 bytes, found more"):
                read(path)

    def test_a_file_at_the_limit_is_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(storage, "MOST_BYTES", 4)
        (tmp_path / "m.json").write_text("1234")
        assert storage.read_json(tmp_path / "m.json") == 1234
        (tmp_path / "m.json").write_text("12345")
        with pytest.raises(RunError, match="at most 4 bytes"):
            storage.read_json(tmp_path / "m.json")

    def test_a_pipe_keeps_nobody_waiting(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "m.json")
        with pytest.raises(RunError, match="expected a file, found a pipe or a device"):
            storage.read_json(tmp_path / "m.json")


class TestLiesIn:
    def test_links_and_points(self, tmp_path: Path) -> None:
        (tmp_path / "out").symlink_to("/etc")
        (tmp_path / "loop").symlink_to("loop")
        held = {name: storage.lies_in(tmp_path, name) for name in ("a/b", "../a", "out/hostname", "loop", "a\0b")}
        assert held == {"a/b": True, "../a": False, "out/hostname": False, "loop": False, "a\0b": False}

    def test_a_folder_that_may_not_be_entered_is_not_said_to_lead_elsewhere(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Path, "exists", failing(errno.EACCES))
        with pytest.raises(RunError, match=r"recipe\.json: cannot be read \(Permission denied\); check its"):
            storage.lies_in(tmp_path, "recipe.json")

    def test_a_name_that_is_too_long_is_said_to_be(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match=r"cannot be read \(File name too long\)"):
            storage.lies_in(tmp_path / ("x" * 300), "recipe.json")


def test_sha256_is_that_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    assert storage.sha256(tmp_path / "f") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


OWNER = (
    "import sys, time; from pathlib import Path; from modiste.runs import storage\n"
    "with storage.lock(Path(sys.argv[1])): print('owned', flush=True); time.sleep(600)"
)


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that owns tmp_path/run."""
    child = subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path / "run")], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"owned\n"
    yield child
    child.kill()
    child.wait()
    child.stdout.close()


class TestLock:
    def test_a_second_process_is_refused_until_the_owner_is_dead(
        self, owner: subprocess.Popen[bytes], tmp_path: Path
    ) -> None:
        for _ in range(2):
            with (
                pytest.raises(FolderInUseError, match="run: another process is working"),
                storage.lock(tmp_path / "run"),
            ):
                pass
        owner.send_signal(signal.SIGKILL)
        owner.wait()
        with storage.lock(tmp_path / "run"):
            pass

    def test_the_command_leaves_with_7(
        self,
        owner: subprocess.Popen[bytes],
        tmp_path: Path,
        tiny_folder: Path,
    ) -> None:
        done = run_modiste("train", "mlp", "--out", tmp_path / "run", "--data.source", tiny_folder)
        assert done.returncode == FolderInUseError.exit_code == 7
        assert done.stderr.startswith(f"modiste: {tmp_path / 'run'}: another process")
        assert owner.poll() is None

    def test_one_process_after_another(self, tmp_path: Path) -> None:
        for _ in range(3):
            with storage.lock(tmp_path / "run"):
                (tmp_path / "run" / "work").touch()
        with pytest.raises(ZeroDivisionError), storage.lock(tmp_path / "run"):
            raise ZeroDivisionError
        with storage.lock(tmp_path / "run"):
            pass

    def test_a_folder_that_is_refused_stays_as_it_was(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").touch()
        with pytest.raises(RunError), storage.lock(tmp_path):
            raise RunError("not a run folder")
        assert visible_and_hidden(tmp_path) == ["notes.txt"]
        with storage.lock(tmp_path):
            pass
        with pytest.raises(RunError), storage.lock(tmp_path):  # the folder was locked before: its file stays
            raise RunError("not a run folder")
        assert visible_and_hidden(tmp_path) == [storage.LOCK_NAME, "notes.txt"]

    def test_a_file_that_was_deleted_meanwhile_is_no_lock(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Else two processes that waited for one which was refused would both go on."""
        path, lock_file = tmp_path / storage.LOCK_NAME, posix.lock_file

        def deleted_first(descriptor: int) -> None:
            monkeypatch.setattr(posix, "lock_file", lock_file)
            path.unlink()
            lock_file(descriptor)

        monkeypatch.setattr(posix, "lock_file", deleted_first)
        with storage.lock(tmp_path, 60.0):
            assert path.exists()
            with pytest.raises(FolderInUseError), storage.lock(tmp_path):
                pass

    def test_it_waits_as_long_as_it_is_asked_to(self, owner: subprocess.Popen[bytes], tmp_path: Path) -> None:
        with pytest.raises(FolderInUseError, match="wait until it has ended"), storage.lock(tmp_path / "run", 0.05):
            pass
        os.kill(owner.pid, signal.SIGKILL)  # and no more waiting: its end is seen as soon as it comes
        with storage.lock(tmp_path / "run", 60.0):
            pass

    @pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL])
    def test_a_file_system_without_locks_is_warned_of_and_used(
        self, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(fcntl, "flock", failing(code))
        with storage.lock(tmp_path / "run"):
            storage.write_bytes(tmp_path / "run" / "file", NEW)
        assert "this file system has no locks" in caplog.text
        assert "another process" not in caplog.text

    def test_another_fault_of_a_lock_is_told_as_it_is(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(fcntl, "flock", failing(errno.EIO))
        with pytest.raises(StorageError, match="cannot be locked \\(Input/output error\\)"), storage.lock(tmp_path):
            pass

    @pytest.mark.parametrize("target", ["outside", "nowhere/outside", storage.LOCK_NAME])
    def test_a_link_in_its_place_makes_no_file_elsewhere(self, target: str, tmp_path: Path) -> None:
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / storage.LOCK_NAME).symlink_to(target if target == storage.LOCK_NAME else tmp_path / target)
        refused = pytest.raises(StorageError, match=r"\.lock is a link, which is not followed")
        with refused, storage.lock(tmp_path / "run"):
            pass
        assert visible_and_hidden(tmp_path) == ["run"]

    def test_one_that_another_user_made_is_enough_to_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / storage.LOCK_NAME).touch()
        real = os.open

        def for_reading(path: object, flags: int, mode: int = 0o777) -> int:
            return failing(errno.EACCES)() if flags & os.O_RDWR else real(path, flags, mode)  # type: ignore[call-overload]

        monkeypatch.setattr(os, "open", for_reading)
        with storage.lock(tmp_path), pytest.raises(FolderInUseError), storage.lock(tmp_path):
            pass
        (tmp_path / storage.LOCK_NAME).unlink()
        with pytest.raises(ReadOnlyError, match="Permission denied"), storage.lock(tmp_path):
            pass

    def test_a_place_that_cannot_be_a_folder(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        for place in (tmp_path / "file", tmp_path / "file" / "run"):
            with pytest.raises(StorageError, match="cannot be used as a run folder"), storage.lock(place):
                pass


OF_OTHERS = ("a.part", ".x.part", ".film-x2.part", f".download-{16 * 'x'}.part")
OURS = f".log.jsonl-{8 * '0f'}.part"


def test_leftovers_alone_are_removed(tmp_path: Path) -> None:
    """Hidden files of other programs stay, even if they end as ours do."""
    (tmp_path / "checkpoints").mkdir()
    kept = [tmp_path / name for name in ("log.jsonl", ".lock", "checkpoints/step.safetensors", *OF_OTHERS)]
    leftovers = [tmp_path / OURS, tmp_path / "checkpoints" / OURS]
    for path in kept + leftovers:
        path.touch()
    storage.remove_leftovers(tmp_path)
    assert all(path.exists() for path in kept)
    assert not any(path.exists() for path in leftovers)


def test_abandoned_files_alone_are_removed(tmp_path: Path) -> None:
    for name in (OURS, *OF_OTHERS):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1, 1))
    storage.remove_abandoned(tmp_path)
    assert visible_and_hidden(tmp_path) == sorted(OF_OTHERS)


def test_a_temporary_file_is_known_by_its_name(tmp_path: Path) -> None:
    for name in ("file", 60 * "long"):
        with storage.new_content(tmp_path / name):
            (temporary,) = tmp_path.glob(".*.part")
            assert storage.TEMPORARY.fullmatch(temporary.name)
