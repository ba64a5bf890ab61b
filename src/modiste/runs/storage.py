"""Files on disk: atomic writes, JSON with a hash of itself, hashes, and the lock of a run folder."""

import contextlib
import errno
import hashlib
import json
import logging
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from modiste.errors import FolderInUseError, ReadOnlyError, RunError, StorageError
from modiste.system import posix

LOCK_NAME = ".lock"
MOST_BYTES = 32 * 2**20
"""Largest text or JSON file that is read."""
LONGEST_PREFIX = 50
"""Characters of a file's name that its temporary file keeps, so that a long name stays below the system's limit."""
TEMPORARY = re.compile(r"\..+-[0-9a-f]{16}\.part", re.DOTALL)
"""Name of a temporary file; other hidden files that end in ``.part`` are not ours, and are never deleted."""
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | posix.NOT_FOLLOWED | posix.PLAIN
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
UNSUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
"""Error numbers of file systems that lack an operation."""
NO_LOCKS = (*UNSUPPORTED, errno.ENOLCK, errno.EBADF)
"""The same for locks; NFS gives EBADF for a lock on a file that is open for reading only."""
ABANDONED_SECONDS = 60.0
LOG = logging.getLogger(__name__)


def write_bytes(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content``; after any crash the file is either the old one or the new one.

    Errors as for ``new_content``.
    """
    with new_content(path) as file:
        file.write(content)


@contextlib.contextmanager
def new_content(path: Path, *, synced: bool = True) -> Iterator[BinaryIO]:
    """Yield a file to write to, which replaces ``path`` at the end of the block, whole or not at all.

    The steps are those of SQLite and LevelDB: write a temporary file in the same folder, fsync it, rename it, fsync
    the folder. A file that is not ``synced`` is whole after a crash of the process, but not after a power cut: that is
    enough for a cache whose content has a hash, and saves seconds for a large one.

    The umask decides who may read the file. The temporary file is locked while the block runs, so that
    ``remove_abandoned`` knows it from one whose process was killed.

    Raises:
        StorageError: The disk refuses; ReadOnlyError if the folder may not be written. The old file is then unchanged,
            unless the last step failed, which protects the rename from a power cut.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _replacement(path, synced=synced) as file:
            yield file
        if synced:
            _sync_folder(path.parent)
    except OSError as error:
        raise _refusal(path, "cannot be written", error) from error


@contextlib.contextmanager
def _replacement(path: Path, *, synced: bool) -> Iterator[BinaryIO]:
    """Yield a temporary file, which is renamed to ``path`` at the end of the block, or removed after an error."""
    temporary = path.parent / f".{path.name[:LONGEST_PREFIX]}-{secrets.token_hex(8)}.part"
    descriptor = os.open(temporary, NEW_FILE, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            with contextlib.suppress(OSError):  # a file system without locks
                posix.lock_file(descriptor)
            yield file
            file.flush()
            if synced:
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def check_writable(folder: Path) -> None:
    """Make a folder, and a file in it for a moment: long work is not to end with a result that cannot be written.

    Raises:
        StorageError: The disk refuses; ReadOnlyError if the folder may not be written.
    """
    trial = folder / f".writable-{secrets.token_hex(8)}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.close(os.open(trial, NEW_FILE, 0o666))
        trial.unlink()
    except OSError as error:
        raise _refusal(folder, "cannot be written", error) from error


def write_text(path: Path, text: str) -> None:
    """Replace ``path`` by ``text`` in UTF-8, whole or not at all.

    Characters that UTF-8 cannot encode, from file names in other encodings, become escapes that JSON can read.
    """
    write_bytes(path, text.encode(errors="backslashreplace"))


def write_json(path: Path, value: Any) -> None:
    """Replace ``path`` by readable JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_hashed_json(path: Path, value: dict[str, Any]) -> None:
    """Write JSON as ``write_json`` does; the key ``seal`` holds a hash of the others that reveals any changed byte."""
    write_text(path, _hashed_text(value))


def read_text(path: Path) -> str:
    """Return a UTF-8 text file's content; RunError if it is missing, too large or not UTF-8."""
    try:
        return _content(path).decode()
    except UnicodeDecodeError as error:
        raise RunError(f"{path}: damaged, cannot be read as UTF-8 ({error})") from error


def read_json(path: Path) -> Any:
    """Return a JSON file's content; RunError if it is missing, too large or not JSON."""
    return _parsed(path, _content(path))


def read_hashed_json(path: Path) -> dict[str, Any]:
    """Return the content of a file from ``write_hashed_json`` without its hash; RunError if a byte has changed."""
    found = _content(path)
    value = _parsed(path, found)
    if not isinstance(value, dict) or "seal" not in value:
        raise RunError(f"{path}: damaged, its hash (the key seal) is missing; restore it or train the run again")
    content = {key: item for key, item in value.items() if key != "seal"}
    if _hashed_text(content).encode(errors="backslashreplace") != found:
        raise RunError(f"{path}: damaged, its content does not match its hash; restore it or train the run again")
    return content


def lies_in(folder: Path, name: str) -> bool:
    """Return whether a name leads to a path inside the folder, after links and ``..`` are resolved.

    Raises:
        RunError: A folder on the way may not be entered, or the name is too long.
    """
    path = folder / name
    try:
        path.exists()
        return path.resolve().is_relative_to(folder.resolve())
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror}); check its name and permissions") from error
    except (ValueError, RuntimeError):  # a null character in the name, or a circle of links
        return False


def is_folder(path: Path) -> bool:
    """Return whether a path is a folder; RunError if the system refuses to look it up."""
    with _looked_up(path):
        return path.is_dir()


def is_file(path: Path) -> bool:
    """Return whether a path is a file; RunError if the system refuses to look it up."""
    with _looked_up(path):
        return path.is_file()


@contextlib.contextmanager
def _looked_up(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror}); check its name and permissions") from error


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal; StorageError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StorageError(f"{path}: cannot be read ({error.strerror}); check its permissions and the disk") from error


def make_private(folder: Path) -> None:
    """Create a folder that only its owner may enter, or close an existing one: cached pictures may show people.

    Raises StorageError if that is impossible.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if stat.S_IMODE(folder.stat().st_mode) & 0o077:
            folder.chmod(0o700)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be made private to its owner ({error.strerror})") from error


def remove(path: Path) -> None:
    """Delete a file if it exists; StorageError if the disk refuses."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise _refusal(path, "cannot be deleted", error) from error


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files of processes that were killed while writing; the caller must hold the lock.

    A file that is being written without that lock, such as a report, stays, unless it was opened or completed at this
    very moment.
    """
    for leftover in folder.rglob(".*.part"):
        if TEMPORARY.fullmatch(leftover.name) and not _is_being_written(leftover):
            remove(leftover)


def _is_being_written(path: Path) -> bool:
    """Return whether a process has a temporary file open, which it locks; no where the file system has no locks."""
    try:
        with open(path, "rb", opener=_open_itself) as file:
            posix.lock_file(file.fileno())
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def remove_abandoned(folder: Path) -> None:
    """Delete the temporary files that no process writes any more; for a folder that has no lock.

    A file that began less than ABANDONED_SECONDS ago may not be locked yet, and stays.
    """
    for leftover in folder.glob(".*.part"):
        with contextlib.suppress(OSError):
            if TEMPORARY.fullmatch(leftover.name) and _is_abandoned(leftover):
                leftover.unlink()  # after it is closed: Windows deletes no open file


def _is_abandoned(path: Path) -> bool:
    """Return whether a temporary file began long ago and no process writes it; OSError if one does."""
    with path.open("rb") as file:
        if time.time() - os.fstat(file.fileno()).st_mtime <= ABANDONED_SECONDS:
            return False
        posix.lock_file(file.fileno())
        return True


@contextlib.contextmanager
def lock(folder: Path, patience_seconds: float = 0.0) -> Iterator[None]:
    """Hold the lock of ``folder``, which is made if missing, while the block runs.

    The kernel frees the lock when the process that holds it dies, so no stale lock can remain. On a file system
    without locks a warning is logged and the block runs without one. If the block refuses the folder (RunError), a
    lock's file that was not there before is deleted: the folder may be anybody's.

    Args:
        folder: The run folder.
        patience_seconds: How long to wait for another process to free the lock.

    Raises:
        FolderInUseError: Another process still holds the lock after that time.
        StorageError: The folder cannot be used; ReadOnlyError if it may not be written.
    """
    path = folder / LOCK_NAME
    was_there = os.path.lexists(path)
    descriptor = _acquire(folder, patience_seconds)
    try:
        yield
    except RunError:
        if not was_there:
            with contextlib.suppress(OSError):  # Windows deletes no open file
                path.unlink()
        raise
    finally:
        _close(descriptor)


def _open_lock(path: Path) -> int:
    """Open the lock's file, made if missing; another user's is opened for reading, which is enough for a lock."""
    flags = posix.NOT_FOLLOWED | posix.NONBLOCKING | posix.PLAIN
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o666)
    except OSError as error:
        if error.errno in READ_ONLY:
            with contextlib.suppress(OSError):
                return os.open(path, os.O_RDONLY | flags)
        raise


def _acquire(folder: Path, patience_seconds: float) -> int:
    """Return the file descriptor of the lock file, opened and locked; errors as for ``lock``."""
    deadline = time.monotonic() + patience_seconds
    while (descriptor := _locked(folder)) is None:
        if time.monotonic() >= deadline:
            raise FolderInUseError(f"{folder}: another process is working in this folder; wait until it has ended")
        time.sleep(0.02)
    return descriptor


def _locked(folder: Path) -> int | None:
    """Return the file descriptor of the lock file; None if another process holds the lock, or just deleted the file."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _open_lock(folder / LOCK_NAME)
    except OSError as error:
        raise _refusal(folder, "cannot be used as a run folder", error) from error
    try:
        if _try_lock(folder, descriptor) and os.fstat(descriptor).st_nlink:  # else it was deleted meanwhile
            return descriptor
    except BaseException:
        _close(descriptor)
        raise
    _close(descriptor)
    return None


def _close(descriptor: int) -> None:
    with contextlib.suppress(OSError):  # nothing was written to it that could be lost
        os.close(descriptor)


def _try_lock(folder: Path, descriptor: int) -> bool:
    """Try to take the lock; return whether this process may go on, which it may on a file system without locks."""
    try:
        posix.lock_file(descriptor)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise _refusal(folder, "cannot be locked", error) from error
        LOG.warning(
            "%s: this file system has no locks (%s); make sure that no other process works in this folder",
            folder,
            error.strerror,
        )
    return True


def _refusal(path: Path, what: str, error: OSError) -> StorageError:
    """Return the error that says what was refused, why, and what to do."""
    kind = ReadOnlyError if error.errno in READ_ONLY else StorageError
    return kind(f"{path}: {what} ({error.strerror or error}); {_remedy(error)}")


def _remedy(error: OSError) -> str:
    if error.errno in NO_SPACE:
        return "free space on that disk"
    if error.errno in READ_ONLY:
        return "check its permissions, or choose a place where you may write"
    if error.errno == errno.ENAMETOOLONG:
        return "use a shorter name"
    if error.errno == errno.ELOOP:
        return f"{error.filename} is a link, which is not followed; delete it"
    return "check the path and the disk"


def _content(path: Path) -> bytes:
    """Return a file's content; RunError if it is too large, or a pipe or device, which could block for ever."""
    try:
        with open(path, "rb", opener=_open_nonblocking) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise RunError(f"{path}: damaged, expected a file, found a pipe or a device")
            content = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise RunError(f"{path}: missing") from None
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror}); check its permissions and the disk") from error
    if len(content) > MOST_BYTES:
        raise RunError(f"{path}: damaged, expected at most {MOST_BYTES:,} bytes, found more; restore it")
    return content


def _open_nonblocking(path: str, flags: int) -> int:
    return os.open(path, flags | posix.NONBLOCKING)


def _open_itself(path: str, flags: int) -> int:
    return _open_nonblocking(path, flags | posix.NOT_FOLLOWED)


def _parsed(path: Path, content: bytes) -> Any:
    try:
        return json.loads(content.decode())  # given bytes, json.loads would guess the encoding from them
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}: damaged, cannot be read as JSON ({error})") from error


def _hashed_text(content: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return json.dumps({**content, "seal": digest}, indent=2, ensure_ascii=False) + "\n"


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut, on file systems that can sync a folder."""
    try:
        posix.sync_folder(folder)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
