"""`modiste search` as a process, for the tests of every place where its trials may run."""

import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from commands_and_data import child_environment, run_modiste
from modiste.recipes.plain import to_plain
from modiste.runs import storage
from modiste.searches import outcomes
from modiste.searches.plan import Plan
from modiste.searches.search import DriverOptions, search
from modiste.searches.workers import Workers


def start(
    folder: Path,
    plan: Plan,
    tiny_folder: Path,
    *more: object,
    through: tuple[str, ...] = (),
    program: tuple[object, ...] = ("-m", "modiste"),
) -> "subprocess.Popen[str]":
    """Begin the search of ``plan`` in ``folder``, or go on with it; ``through`` is the command that starts it."""
    command = [*through, sys.executable, *map(str, program), *words_of(folder, plan, tiny_folder, *more)]
    return subprocess.Popen(command, env=child_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def words_of(folder: Path, plan: Plan, tiny_folder: Path, *more: object) -> list[str]:
    """Return the words of the command that searches ``plan`` in ``folder``; its recipe is written beside that."""
    recipe = folder.with_suffix(".json")
    storage.write_json(recipe, to_plain(plan.recipe))
    words = ["search", recipe, *plan.space, "--trials", plan.trials, "--out", folder, "--device", "cpu", *more]
    return [*map(str, words), "--data-folder", str(tiny_folder)]


def finish(folder: Path, plan: Plan, tiny_folder: Path, *more: object) -> "subprocess.CompletedProcess[str]":
    """Search as ``start`` does, to the end, in a forked process; nothing may be complained of."""
    ended = run_modiste(*words_of(folder, plan, tiny_folder, *more), timeout=200)
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended


def alone(folder: Path, plan: Plan, tiny_folder: Path) -> bytes:
    """Search in this process, one trial after the other; return the table."""
    search(plan, folder, DriverOptions(InThisProcess), device="cpu", data_folder=tiny_folder)
    return table(folder)


def done(folder: Path) -> int:
    """Count the outcomes that the folder holds."""
    return len(list(folder.glob("outcomes/*.json")))


def table(folder: Path) -> bytes:
    """Return the finished search's table."""
    return (folder / outcomes.TABLE).read_bytes()


def wait_for(reached: Callable[[], bool], process: "subprocess.Popen[str] | None" = None) -> None:
    """Wait until something is so; ``process`` has to run until then."""
    deadline = time.monotonic() + 120
    while not reached():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


class InThisProcess(Workers):
    """Runs each trial at once, in this process: for tests of what trials come to, not of how they are run."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **options: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        try:
            future.set_result(function(*args, **options))
        except Exception as error:
            future.set_exception(error)
        return future

    def interrupt(self) -> None:
        pass

    def kill(self) -> None:
        pass
