"""A fork server: real processes that start in milliseconds, forked from one that has imported torch already.

Run as a script, this is the parent: for each line on its standard input, JSON, it forks and runs a function there.
The class is how a test asks for children. A child can be killed, sent signals and limited like any other process.
"""

import contextlib
import ctypes
import importlib
import json
import os
import random
import runpy
import select
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import util
from pathlib import Path
from typing import Any, NoReturn

LIBRARIES = ("torch", "tyro", "pooch", "safetensors.torch")
"""What commands import besides Modiste and the compiler of torch. Tests hide other libraries from a command."""
PRELOADED = (
    *LIBRARIES,
    "torch._dynamo",
    "modiste.cli.main",
    "modiste.training.trainer",
    "modiste.evaluation.assessment",
)
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
COMMAND = "modiste.cli.main:main"
SCRIPT = "fork_server:run_script"
GROUP = "fork_server:run_group"


@dataclass(frozen=True)
class Ended:
    """How a child left: its exit code, or minus the signal; processor seconds; what it wrote."""

    code: int
    seconds: float
    said: str


@dataclass(frozen=True)
class Streams:
    """Where a child stands, its environment, and the files that its two streams are written to."""

    folder: Path
    environment: dict[str, str]
    output: Path
    errors: Path


@dataclass(frozen=True)
class Disk:
    """A fault of the disk for one child (see faulty_disk.c): at which operation in ``folder``, and what."""

    folder: Path
    at: int = 0
    fault: str = ""


class ForkServer:
    """Gives one child at a time."""

    def __init__(
        self,
        folder: Path,
        preload: Path | None = None,
        within: Sequence[str] = (),
        modules: Sequence[str] = PRELOADED,
    ) -> None:
        from commands_and_data import child_environment

        self.folder = folder
        shared = {"LD_PRELOAD": str(preload)} if preload else {}
        command = [*within, sys.executable, __file__, " ".join(modules), *sys.path]
        pipe = subprocess.PIPE
        self.parent = subprocess.Popen(command, env=child_environment(**shared), stdin=pipe, stdout=pipe, bufsize=0)

    def start(self, call: str, *arguments: object, disk: Disk | None = None, streams: Streams | None = None) -> int:
        """Begin ``module:function`` in a child; return its process number, which stays its own until ``wait``."""
        said = self.folder / "said"
        request: dict[str, Any] = {"call": call, "arguments": arguments, "streams": [str(said), str(said)]}
        if streams:
            request |= {"folder": streams.folder, "environment": streams.environment}
            request["streams"] = [str(streams.output), str(streams.errors)]
        for path in set(request["streams"]):
            Path(path).write_bytes(b"")
        if disk:
            request["disk"] = [str(disk.folder), disk.at, disk.fault, str(self.folder / "operations")]
        self._tell(json.dumps(request, default=str))
        return int(self._line())

    def wait(self) -> Ended:
        """Wait until the child has left, and say how; nothing of a child whose streams went elsewhere."""
        self._tell("reap")
        code, seconds = self._line().split()
        said = self.folder / "said"
        return Ended(int(code), float(seconds), said.read_text() if said.exists() else "")

    def run(self, call: str, *arguments: object, disk: Disk | None = None) -> Ended:
        """Begin a child and wait for its end."""
        self.start(call, *arguments, disk=disk)
        return self.wait()

    def operations(self) -> list[str]:
        """Return the operations on files of the last child that was given a Disk: a name and a path each."""
        return (self.folder / "operations").read_text().splitlines()

    def has_ended(self, seconds: float = 0) -> bool:
        """Tell whether the child leaves by itself within some seconds."""
        assert self.parent.stdout is not None
        return bool(select.select([self.parent.stdout], [], [], seconds)[0])

    def kill_after(self, child: int, seconds: float) -> None:
        """Kill a child once it has used so much processor time: a busy machine moves no moment."""
        clock = (~child << 3) | 2  # as pthread_getcpuclockid makes it, of a whole process
        with contextlib.suppress(OSError):
            while time.clock_gettime(clock) < seconds and not self.has_ended():
                time.sleep(0.0002)
        os.kill(child, signal.SIGKILL)

    def close(self) -> None:
        """Let the parent end; a child that still runs is killed."""
        self.parent.kill()
        self.parent.communicate()

    def _tell(self, line: str) -> None:
        assert self.parent.stdin is not None
        self.parent.stdin.write(line.encode() + b"\n")

    def _line(self) -> str:
        assert self.parent.stdout is not None
        while (line := self.parent.stdout.readline().decode().strip()) == "ended":
            pass
        return line


def serve(modules: Sequence[str]) -> None:
    """Import modules, then fork for each line; say the child's number, that it has ended, and, when asked, how."""
    for name in modules:
        importlib.import_module(name)
    for line in sys.stdin:
        child = os.fork()
        if not child:
            perform(json.loads(line))
        print(child, flush=True)
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        print("ended", flush=True)
        sys.stdin.readline()
        _, status, used = os.wait4(child, 0)
        print(os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, flush=True)


def perform(request: dict[str, Any]) -> NoReturn:
    """Run the function that is asked for in this process, and leave."""
    end_with_parent()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # the parent's input holds requests
    for stream, path in enumerate(request["streams"], start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    run_and_leave(lambda: call(request))


def call(request: dict[str, Any]) -> None:
    """Run the function that is asked for, where it is asked for."""
    if "folder" in request:
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
    if "disk" in request:
        arm(*request["disk"])
    module, _, name = request["call"].partition(":")
    getattr(importlib.import_module(module), name)(*request["arguments"])


def run_and_leave(function: Callable[[], None]) -> NoReturn:
    """Run a function, and leave as Python would."""
    code = 0
    try:
        function()
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
        if code and code is not leaving.code:
            print(leaving.code, file=sys.stderr)
    except KeyboardInterrupt:  # it came when the function had returned already
        code = 128 + signal.SIGINT
    except BaseException:
        traceback.print_exc()
        code = 1
    with contextlib.suppress(OSError):
        util._exit_function()  # type: ignore[attr-defined]  # as Python does: it removes semaphores of a pool
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def end_with_parent() -> None:
    """Let the kernel kill this process when its parent dies."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))


def run_script(path: str, words: list[str]) -> None:
    """Run a file as Python runs a script, with these arguments."""
    sys.argv[:] = [path, *words]
    sys.path.insert(0, str(Path(path).parent))
    runpy.run_path(path, run_name="__main__")


def free_port() -> int:
    """Return a free port, if possible below those that the system gives to whoever asks for any."""
    first = int(EPHEMERAL.read_text(encoding="utf-8").split()[0])
    for port in random.sample(range(2_000, max(first, 11_000)), 1_000):
        with socket.socket() as tried, contextlib.suppress(OSError):
            tried.bind(("", port))
            return port
    raise RuntimeError("expected a free port in a thousand, found none")


def run_group(processes: int, path: str, words: list[str]) -> None:
    """Run a script in processes that train together, each with the variables that torchrun gives it."""
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    children = []
    for rank in range(processes):
        children.append(os.fork())
        if not children[-1]:
            end_with_parent()
            of_rank = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)}
            of_torchrun = {"TORCHELASTIC_RUN_ID": "test", "TORCHELASTIC_USE_AGENT_STORE": "True"}
            os.environ.update(address | of_rank | of_torchrun)
            run_and_leave(partial(run_script, path, words))
    from torch.distributed import TCPStore

    store = TCPStore(address["MASTER_ADDR"], int(address["MASTER_PORT"]), is_master=True, wait_for_workers=False)
    statuses = [os.waitpid(child, 0)[1] for child in children]
    del store
    sys.exit(int(any(statuses)))


def arm(folder: str, at: int, fault: str, operations: str) -> None:
    """Let the disk fail, as faulty_disk.c does it."""
    log = os.open(operations, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    ctypes.CDLL(None).arm(folder.encode(), ctypes.c_long(at), fault.encode(), log)


if __name__ == "__main__":
    sys.path[:] = sys.argv[2:]
    serve(sys.argv[1].split())
