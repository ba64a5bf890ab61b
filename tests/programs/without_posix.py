"""The command where all is missing that Windows lacks; a file's lock is then a locked byte, as there.

The processes of its pools run this file too, and lack the same. With ``--hold FOLDER`` it locks that folder instead,
prints a line, and waits until it is killed.
"""

import fcntl
import mmap
import os
import signal
import sys
import time
from multiprocessing import popen_fork
from pathlib import Path
from types import SimpleNamespace

FUNCTIONS = ("fork", "getuid", "pread", "sched_getaffinity", "setpgid", "sysconf", "uname")
flags = {"LK_NBLCK": fcntl.LOCK_EX | fcntl.LOCK_NB, "LK_LOCK": fcntl.LOCK_EX}
msvcrt = SimpleNamespace(**flags, locking=lambda file, flag, size: fcntl.lockf(file, flag, size, 0, os.SEEK_CUR))

assert not any(name.startswith("modiste") for name in sys.modules)
import torch  # noqa: E402, F401 - before what it may use is taken away

popen_fork.signal = SimpleNamespace(SIGKILL=signal.SIGKILL, SIGTERM=signal.SIGTERM)  # type: ignore[attr-defined]
sys.modules.update({"fcntl": None, "resource": None, "msvcrt": msvcrt})  # type: ignore[dict-item]
for module, names in {
    os: ("O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK", *FUNCTIONS),
    signal: ("SIGALRM", "SIGHUP", "SIGKILL", "alarm", "setitimer"),
    mmap: ("MADV_DONTNEED",),
}.items():
    for name in names:
        delattr(module, name)

from modiste.cli.main import main  # noqa: E402 - not before
from modiste.system import processes  # noqa: E402

processes.STAT = Path("/proc/stat of another system")

if __name__ == "__main__" and sys.argv[1] == "--hold":
    from modiste.runs import storage

    with storage.lock(Path(sys.argv[2])):
        print("held", flush=True)
        time.sleep(600)
elif __name__ == "__main__":
    main(sys.argv[1:])
