"""Writing a file whole or not at all, sealed JSON, hashes, and the lock of a run folder."""

import contextlib
import errno
import fcntl
import hashlib
import json
import logging
import os
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from modiste.errors import FolderInUseError, ReadOnlyError, RunError, StorageError

LOCK_NAME = ".lock"
MOST_BYTES = 32 * 2**20
"""Size of the largest text or JSON file of a run that is read."""
LONGEST_PREFIX = 50
"""Letters of a file's name that its temporary file begins with: a long name has no room for more."""
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
UNSUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
"""What file systems answer that cannot do what is asked, whoever asks."""
NO_LOCKS = (*UNSUPPORTED, errno.ENOLCK, errno.EBADF)
"""The same for locks; NFS has EBADF for one on a file that is open for reading only."""
LOG = logging.getLogger(__name__)


def write_bytes(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content`` such that any crash leaves the old file or the new one, never a mixture.

    Temporary file in the same folder, fsync, rename, fsync of the folder (the order that SQLite and LevelDB use).
    The umask decides who may read the file.

    Raises StorageError when the disk refuses, ReadOnlyError where nothing may be written: the old file is then
    untouched, unless it was the very last step, making the rename itself survive a power cut, that failed.
    """
    temporary = path.parent / f".{path.name[:LONGEST_PREFIX]}-{secrets.token_hex(8)}.part"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(temporary, NEW_FILE, 0o666)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    except OSError as error:
        raise _refusal(path, "cannot be written", error) from error


def write_text(path: Path, text: str) -> None:
    """Replace ``path`` by ``text`` in UTF-8, whole or not at all.

    A file's name that is no UTF-8 is written with escapes, which JSON reads back.
    """
    write_bytes(path, text.encode(errors="backslashreplace"))


def write_json(path: Path, value: Any) -> None:
    """Replace ``path`` by readable JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_hashed_json(path: Path, value: dict[str, Any]) -> None:
    """Like write_json, with the hash of the rest under the key ``seal``, so that any changed byte is noticed."""
    write_text(path, _hashed_text(value))


def read_text(path: Path) -> str:
    """Read a text in UTF-8; RunError when it is missing, too large or no such text."""
    try:
        return _content(path).decode()
    except UnicodeDecodeError as error:
        raise RunError(f"{path}: damaged, cannot be read as UTF-8 ({error})") from error


def read_json(path: Path) -> Any:
    """Read JSON; RunError names the file when it is missing, too large or not JSON."""
    return _parsed(path, _content(path))


def read_hashed_json(path: Path) -> dict[str, Any]:
    """Read what write_hashed_json wrote; RunError when a single byte differs."""
    found = _content(path)
    value = _parsed(path, found)
    if not isinstance(value, dict) or "seal" not in value:
        raise RunError(f"{path}: damaged, its seal is missing")
    content = {key: item for key, item in value.items() if key != "seal"}
    if _hashed_text(content).encode(errors="backslashreplace") != found:
        raise RunError(f"{path}: damaged, its content does not match its seal; restore it or train the run again")
    return content


def lies_in(folder: Path, name: str) -> bool:
    """Tell whether a name leads to a place within the folder, whatever links and points are on the way.

    Raises RunError when there is no telling: a folder on the way may not be entered, or the name is too long.
    """
    path = folder / name
    try:
        path.exists()
        return path.resolve().is_relative_to(folder.resolve())
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror}); check its name and permissions") from error
    except (ValueError, RuntimeError):  # a null in it, links in a circle
        return False


def is_folder(path: Path) -> bool:
    """Tell whether a path names a folder; RunError when the system refuses to look."""
    try:
        return path.is_dir()
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror}); check its name and permissions") from error


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
        raise _refusal(path, "cannot be deleted", error) from error


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files of a process that was killed while writing; the caller holds the lock."""
    for leftover in folder.rglob(".*.part"):
        remove(leftover)


@contextlib.contextmanager
def lock(folder: Path, patience_seconds: float = 0.0) -> Iterator[None]:
    """Own ``folder`` while the block runs; FolderInUseError when another process still does after ``patience_seconds``.

    The kernel frees the lock when its owner dies, however it dies, so that no stale lock can be left behind. A file
    system without locks is warned of and used without. Raises StorageError, ReadOnlyError where nothing may be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _open_lock(folder / LOCK_NAME)
    except OSError as error:
        raise _refusal(folder, "cannot be used as a run folder", error) from error
    try:
        _own(folder, descriptor, patience_seconds)
        yield
    finally:
        with contextlib.suppress(OSError):  # nothing was written that a disk could lose
            os.close(descriptor)


def _open_lock(path: Path) -> int:
    """Open the lock's file, made if missing; one that another user made is opened for reading, which is enough."""
    flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o666)
    except OSError as error:
        if error.errno in READ_ONLY:
            with contextlib.suppress(OSError):
                return os.open(path, os.O_RDONLY | flags)
        raise


def _own(folder: Path, descriptor: int, patience_seconds: float) -> None:
    deadline = time.monotonic() + patience_seconds
    while not _is_owned(folder, descriptor):
        if time.monotonic() >= deadline:
            raise FolderInUseError(f"{folder}: another process is working in this folder; wait until it has ended")
        time.sleep(0.02)


def _is_owned(folder: Path, descriptor: int) -> bool:
    """Try to take the lock; True as well where the file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
    """Return the fault that says what was refused, why, and what to do."""
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
    """Read a whole file of bounded size; a pipe or a device is refused before it can keep anybody waiting."""
    try:
        with open(path, "rb", opener=_open_at_once) as file:
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


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _parsed(path: Path, content: bytes) -> Any:
    try:
        return json.loads(content.decode())  # of bytes it would ask the content for another encoding
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}: damaged, cannot be read as JSON ({error})") from error


def _hashed_text(content: dict[str, Any]) -> str:
    seal = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return json.dumps({**content, "seal": seal}, indent=2, ensure_ascii=False) + "\n"


def _sync_folder(folder: Path) -> None:
    """Let a rename survive a power cut, on file systems that can sync a folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
    finally:
        os.close(descriptor)
