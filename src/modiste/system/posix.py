"""What POSIX systems offer and Windows does not: locks of files, flags, limits and groups of processes, an alarm.

This is the only file that imports modules of one system alone. Elsewhere Modiste uses these functions, which do the
nearest thing on Windows. There they were written by reading, not tried: see the README's limits.
"""

import errno
import os
import signal
import sys
import threading
from pathlib import Path

try:
    import fcntl
    import resource
except ImportError:  # Windows
    fcntl = resource = None  # type: ignore[assignment]

LOCKED_BYTE = 2**31 - 2
"""Place of the byte that stands for a file on Windows, where other processes cannot read a locked byte."""
HELD = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
"""Error numbers of a byte that another process has locked."""
NOT_FOLLOWED = getattr(os, "O_NOFOLLOW", 0)
NONBLOCKING = getattr(os, "O_NONBLOCK", 0)
PLAIN = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
"""Flags of ``os.open``, 0 where a system has none: do not follow a link; do not wait for a pipe; closed in children,
and no line ends translated."""


def lock_file(descriptor: int, *, wait: bool = False) -> None:
    """Lock an open file against other processes, until it is closed or this process ends.

    Raises:
        BlockingIOError: Another process holds the lock, and ``wait`` is false.
        OSError: The file system has no locks.
    """
    if fcntl is not None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    else:
        _lock_byte(descriptor, wait=wait)


def _lock_byte(descriptor: int, *, wait: bool) -> None:
    before = os.lseek(descriptor, 0, os.SEEK_CUR)
    try:
        os.lseek(descriptor, LOCKED_BYTE, os.SEEK_SET)
        while not _try_to_lock_byte(descriptor, wait=wait):
            if not wait:
                raise BlockingIOError(errno.EACCES, "another process holds the lock")
    finally:
        os.lseek(descriptor, before, os.SEEK_SET)


def _try_to_lock_byte(descriptor: int, *, wait: bool) -> bool:
    """Lock the byte at the file's position; return False if another process holds it, for ten seconds if ``wait``."""
    import msvcrt

    try:
        msvcrt.locking(descriptor, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    except OSError as error:
        if error.errno not in HELD:
            raise
        return False
    return True


def open_to_lock(folder: Path) -> int:
    """Return the number of an open file that stands for a folder: the folder itself, or a file in it on Windows."""
    if fcntl is not None:
        return os.open(folder, os.O_RDONLY | PLAIN)
    return os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | PLAIN)


def sync_folder(folder: Path) -> None:
    """Let a rename in a folder survive a power cut; OSError if that fails. Windows does so by itself, or never."""
    if fcntl is None:
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def process_limit(name: str) -> int | None:
    """Return a limit of this process such as ``RLIMIT_NOFILE``; None if there is none."""
    if resource is None:
        return None
    limit, _ = resource.getrlimit(getattr(resource, name))
    return None if limit == resource.RLIM_INFINITY else limit


def peak_memory_bytes() -> int:
    """Return the peak resident memory of this process; 0 if the system does not tell."""
    if resource is None:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def memory_bytes() -> int:
    """Return the size of this machine's memory; 0 if the system does not tell."""
    if not hasattr(os, "sysconf"):
        return 0
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def user_number() -> int:
    """Return the number of the user of this process; 0 on Windows, whose users have folders of their own."""
    return os.getuid() if hasattr(os, "getuid") else 0


def leave_group() -> None:
    """Leave the group of processes that Ctrl-C reaches; on Windows it reaches all processes of a console."""
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)


class Alarm:
    """Ends this process after some time, unless it is stopped.

    On POSIX the kernel does so, even if no Python code can run any more; on Windows a thread does.
    """

    def __init__(self) -> None:
        self._is_started = False
        self._timer: threading.Timer | None = None

    def start(self, seconds: float) -> None:
        """End the process after ``seconds``."""
        self._is_started = True
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, seconds)
        else:
            self._timer = threading.Timer(seconds, os._exit, (1,))
            self._timer.daemon = True
            self._timer.start()

    def stop(self) -> None:
        """Let the process live; nothing happens if no alarm was started."""
        if self._timer is not None:
            self._timer.cancel()
        elif self._is_started:
            signal.setitimer(signal.ITIMER_REAL, 0)
