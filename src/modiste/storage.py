"""Writing a file whole or not at all, sealed JSON, hashes, and the lock of a run folder."""

import contextlib
import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from modiste.errors import FolderInUseError, RunError, StorageError

LOCK_NAME = ".lock"


def write_bytes(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content`` such that any crash leaves the old file or the new one, never a mixture.

    Temporary file in the same folder, fsync, rename, fsync of the folder (the order that SQLite and LevelDB use).
    Raises StorageError when the disk refuses: the old file is then untouched, unless it was the very last step, making
    the rename itself survive a power cut, that failed.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}-", suffix=".part", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be written ({error.strerror or error}); free space or choose another folder with --out"
        ) from error


def write_text(path: Path, text: str) -> None:
    """Replace ``path`` by ``text`` in UTF-8, whole or not at all.

    A file's name that is no UTF-8 is written with escapes, which JSON reads back.
    """
    write_bytes(path, text.encode(errors="backslashreplace"))


def write_json(path: Path, value: Any) -> None:
    """Replace ``path`` by readable JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_sealed_json(path: Path, value: dict[str, Any]) -> None:
    """Like write_json, with the hash of the rest under the key ``seal``, so that any changed byte is noticed."""
    write_text(path, _sealed_text(value))


def read_json(path: Path) -> Any:
    """Read JSON; RunError names the file when it is missing or not JSON."""
    return _parsed(path, _content(path))


def read_sealed_json(path: Path) -> dict[str, Any]:
    """Read what write_sealed_json wrote; RunError when a single byte differs."""
    found = _content(path)
    value = _parsed(path, found)
    if not isinstance(value, dict) or "seal" not in value:
        raise RunError(f"{path}: damaged, its seal is missing")
    content = {key: item for key, item in value.items() if key != "seal"}
    if _sealed_text(content).encode(errors="backslashreplace") != found:
        raise RunError(f"{path}: damaged, its content does not match its seal; restore it or train the run again")
    return content


def lies_in(folder: Path, name: str) -> bool:
    """Tell whether a name leads to a place within the folder, whatever links and points are on the way."""
    path = folder / name
    try:
        path.exists()
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError):  # too long, a null in it, links in a circle
        return False


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal; StorageError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StorageError(f"{path}: cannot be read ({error.strerror}); check its permissions and the disk") from error


def remove(path: Path) -> None:
    """Delete a file if it is there; StorageError when the disk refuses."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be deleted ({error.strerror}); check its permissions and the disk"
        ) from error


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files of a process that was killed while writing; the caller holds the lock."""
    for leftover in folder.rglob(".*.part"):
        remove(leftover)


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Own ``folder`` while the block runs; FolderInUseError when another process does.

    The kernel frees the lock when its owner dies, however it dies, so that no stale lock can be left behind.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be used as a run folder ({error.strerror}); choose another") from error
    try:
        _own(folder, descriptor)
        yield
    finally:
        with contextlib.suppress(OSError):  # nothing was written that a disk could lose
            os.close(descriptor)


def _own(folder: Path, descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise FolderInUseError(
            f"{folder}: another process is working in this folder; wait for it or choose another --out"
        ) from None


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise RunError(f"{path}: missing") from None
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror}); check its permissions and the disk") from error


def _parsed(path: Path, content: bytes) -> Any:
    try:
        return json.loads(content.decode())  # of bytes it would ask the content for another encoding
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}: damaged, cannot be read as JSON ({error})") from error


def _sealed_text(content: dict[str, Any]) -> str:
    seal = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return json.dumps({**content, "seal": seal}, indent=2, ensure_ascii=False) + "\n"


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
