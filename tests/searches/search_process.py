"""`modiste search` as a process, for the tests of every place where its trials may run."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from commands_and_data import child_environment
from modiste.recipes.plain import to_plain
from modiste.runs import storage
from modiste.searches import outcomes
from modiste.searches.plan import Plan


def start(
    folder: Path, plan: Plan, tiny_folder: Path, *more: object, through: tuple[str, ...] = ()
) -> "subprocess.Popen[str]":
    """Begin the search of ``plan`` in ``folder``, or go on with it; ``through`` is the command that starts it."""
    recipe = folder.with_suffix(".json")
    storage.write_json(recipe, to_plain(plan.recipe))
    words = ["search", recipe, *plan.space, "--trials", plan.trials, "--out", folder, "--device", "cpu", *more]
    command = [*through, sys.executable, "-m", "modiste", *words, "--data-folder", tiny_folder]
    return subprocess.Popen(
        list(map(str, command)), env=child_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


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
