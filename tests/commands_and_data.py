"""The real command in a process of its own, and small sets of learnable images for it."""

import atexit
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil
from idx_files import IMAGES, LABELS, TEST_IMAGES, TEST_LABELS, idx

from fork_server import COMMAND, GROUP, LIBRARIES, PRELOADED, SCRIPT, ForkServer, Streams

if TYPE_CHECKING:
    from modiste.data.batch import Batch
    from modiste.data.batches import Batches

SIDE = 12
CLASSES = 5
TRAINING_IMAGES = 480
TEST_COUNT = 100

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node")
"""Arguments of Python before the number of processes and a script."""
PROGRAMS = Path(__file__).with_name("programs")
"""Programs that tests run in processes of their own."""
READ_LATER = ("HOME", "MODISTE_", "PYTEST_", "XDG_", "HF_", "TORCHINDUCTOR_", "RAY_", "MLFLOW_")
"""Beginnings of the names of variables that are read when they are needed. Torch's compiler, Ray and MLflow set some as
they load; every later command would else need a process of its own, which takes seconds."""
Command = Callable[..., "subprocess.CompletedProcess[str]"]


def tiny_files(seed: int = 7) -> dict[str, bytes]:
    """Five patterns of 12 x 12 pixels under strong noise; RandomState because its numbers never change."""
    numbers = np.random.RandomState(seed)
    patterns = numbers.randint(0, 160, (CLASSES, SIDE, SIDE))

    def make(count: int) -> tuple[bytes, bytes]:
        labels = numbers.permutation(np.arange(count) % CLASSES)
        images = np.clip(patterns[labels] + numbers.randint(-120, 120, (count, SIDE, SIDE)), 0, 255)
        return idx(images), idx(labels)

    (images, labels), (test_images, test_labels) = make(TRAINING_IMAGES), make(TEST_COUNT)
    return {IMAGES: images, LABELS: labels, TEST_IMAGES: test_images, TEST_LABELS: test_labels}


def epoch_from(batches: "Batches", first_step: int) -> Iterator["Batch"]:
    """Yield the batches from ``first_step`` to the end of its epoch, as training makes them."""
    for step, chosen in enumerate(batches.choose(first_step), start=first_step):
        batches.seed(step)
        yield batches.make(chosen)


def damaged(content: bytes, draw: random.Random) -> bytes:
    """Flip one bit or, one time in eight, lose the end."""
    if draw.random() < 1 / 8:
        return content[: draw.randrange(len(content))]
    position, changed = draw.randrange(len(content) * 8), bytearray(content)
    changed[position // 8] ^= 1 << position % 8
    return bytes(changed)


def write_pictures(root: Path, counts: dict[str, int], *, seed: int = 0, size: tuple[int, int] = (40, 30)) -> list[str]:
    """Write noisy PNG files, each class around a colour of its own, into class folders; return their names."""
    from PIL import Image

    random, names = np.random.RandomState(seed), []
    for number, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True, exist_ok=True)
        colour = np.array([40 + 60 * (number % 3), 200 - 50 * (number % 4), 90])
        for index in range(count):
            values = colour + random.randint(-40, 40, (size[1], size[0], 3))
            Image.fromarray(values.clip(0, 255).astype(np.uint8)).save(root / name / f"{index:03d}.png")
            names.append(f"{name}/{index:03d}.png")
    return names


def check_flags(words: list[str]) -> None:
    """Raise LookupError if a command has no such flag, or a flag no such value; ``words`` begin behind ``modiste``."""
    from modiste.cli import completion, flags

    name = " ".join(words[:2]) if words[:2] in (["data", "audit"], ["data", "fetch"]) else words[0]
    known = [flag for kind in completion.options_of(name) for flag in flags.flags_of(kind)]
    flags.correct(words[1:], known, f"modiste {name}")


def as_before(run: Path, *names: str) -> None:
    """Let files of logits be as an earlier version of Modiste wrote them: they do not say of which images they are."""
    from modiste.runs import checkpoint, manifest, storage

    files, openings = manifest.read(run)
    for name in names:
        tensors, plain = checkpoint.read(run / name)
        storage.write_bytes(run / name, checkpoint.to_bytes(tensors, {"epoch": plain["epoch"]}))
        files[name] = storage.sha256(run / name)
    manifest.write(run, files, openings)


def child_environment(**variables: str) -> dict[str, str]:
    """Threads as the tests have them, no network, no folder of data but the one that a command names."""
    kept = {name: value for name, value in os.environ.items() if name != "MODISTE_DATA"}
    return {"OMP_NUM_THREADS": "1", **kept, "MODISTE_OFFLINE": "1", "PYTHONUNBUFFERED": "1", **variables}


def run_modiste(
    *words: object, cwd: Path | None = None, timeout: float = 120, **variables: str
) -> "subprocess.CompletedProcess[str]":
    """Run the real command and return what it printed and how it left.

    Its process is forked from one that has imported torch, which saves seconds, unless it needs an environment that
    Python or a library reads as it starts.
    """
    if sys.platform == "linux" and (commands := _commands()).may_run_in(child_environment(**variables)):
        arguments, environment = list(map(str, words)), child_environment(**variables)
        return commands.run(COMMAND, arguments, folder=cwd, environment=environment, seconds=timeout)
    return run_python("-m", "modiste", *words, cwd=cwd, timeout=timeout, **variables)


def run_script(
    script: Path, *words: object, cwd: Path | None = None, timeout: float = 120, **variables: str
) -> "subprocess.CompletedProcess[str]":
    """Run a Python script and return what it printed and how it left; its process is forked as in ``run_modiste``."""
    if sys.platform == "linux" and (commands := _commands()).may_run_in(child_environment(**variables)):
        arguments = str(script), list(map(str, words))
        return commands.run(SCRIPT, *arguments, folder=cwd, environment=child_environment(**variables), seconds=timeout)
    return run_python(script, *words, cwd=cwd, timeout=timeout, **variables)


def run_without_modiste(
    script: Path, *words: object, cwd: Path | None = None, **variables: str
) -> "subprocess.CompletedProcess[str]":
    """Run a Python script as ``run_script`` does, but forked from a process that has loaded libraries alone."""
    if sys.platform == "linux" and (commands := _commands(LIBRARIES)).may_run_in(child_environment(**variables)):
        arguments = str(script), list(map(str, words))
        return commands.run(SCRIPT, *arguments, folder=cwd, environment=child_environment(**variables))
    return run_python(script, *words, cwd=cwd, **variables)


def run_together(
    processes: int, script: Path, *words: object, cwd: Path, timeout: float = 120
) -> "subprocess.CompletedProcess[str]":
    """Run a Python script in several processes that train together, as ``torchrun`` does, but forked."""
    if sys.platform == "linux" and (commands := _commands()).may_run_in(child_environment()):
        arguments = processes, str(script), list(map(str, words))
        return commands.run(GROUP, *arguments, folder=cwd, environment=child_environment(), seconds=timeout)
    return run_python(*TORCHRUN, processes, script, *words, cwd=cwd, timeout=timeout)


class Commands:
    """Commands in processes that are forked from one, which has the environment that it began with."""

    def __init__(self, modules: Sequence[str]) -> None:
        self._place = tempfile.TemporaryDirectory(prefix="modiste-commands-")
        self._folder, self._environment = Path(self._place.name), child_environment()
        self._server = ForkServer(self._folder, modules=modules)
        atexit.register(self.close)

    def may_run_in(self, environment: dict[str, str]) -> bool:
        """Tell whether an environment differs only in variables that are read when they are needed."""
        changed = {name for name, _ in environment.items() ^ self._environment.items()}
        return all(name.startswith(READ_LATER) for name in changed)

    def run(
        self, call: str, *arguments: object, folder: Path | None, environment: dict[str, str], seconds: float = 120
    ) -> "subprocess.CompletedProcess[str]":
        """Run ``module:function`` in a folder; kill it after some seconds, as ``subprocess.run`` does."""
        streams = Streams(folder or Path.cwd(), environment, self._folder / "output", self._folder / "errors")
        child = self._server.start(call, *arguments, streams=streams)
        is_late = not self._server.has_ended(seconds)
        if is_late:
            os.kill(child, signal.SIGKILL)
        code = self._server.wait().code
        output, errors = (path.read_bytes().decode() for path in (streams.output, streams.errors))
        if is_late:
            raise subprocess.TimeoutExpired([call, *map(str, arguments)], seconds, output, errors)
        return subprocess.CompletedProcess([call, *map(str, arguments)], code, output, errors)

    def close(self) -> None:
        """End the process that is forked, and forget its files."""
        self._server.close()
        self._place.cleanup()


@cache
def _commands(modules: tuple[str, ...] = PRELOADED) -> Commands:
    return Commands(modules)


def run_python(
    *words: object, cwd: Path | None = None, timeout: float = 120, **variables: str
) -> "subprocess.CompletedProcess[str]":
    """Run Python in a process of its own and return what it printed and how it left."""
    return subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=cwd,
        env=child_environment(**variables),
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )


def still_running(processes: list[psutil.Process], *, seconds: float) -> list[psutil.Process]:
    """Return the processes that have not ended within some seconds.

    A process that has ended is listed as a zombie until its parent asks for it. An orphan's parent is process 1, which
    in a container may be a program that never asks.
    """
    deadline = time.monotonic() + seconds
    while (left := [one for one in processes if _runs(one)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
