"""What the scripts for a machine with limited time share: options, changes of a recipe for a trial, a time limit."""

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "benchmarks")]

from modiste.errors import StoppedError
from modiste.recipes.recipe import Recipe


def parser(description: str) -> argparse.ArgumentParser:
    """Return a parser with the options that all of these scripts have."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--data-folder", type=Path)
    made.add_argument("--source", help="another IDX set's folder, to try the script on")
    made.add_argument("--epochs", type=int, help="fewer epochs, to try the script with")
    return made


def tried(recipe: Recipe, options: argparse.Namespace) -> Recipe:
    """Return the recipe with the changes of ``--source`` and ``--epochs``."""
    if options.source:
        recipe = replace(recipe, data=replace(recipe.data, source=options.source))
    return replace(recipe, epochs=options.epochs) if options.epochs else recipe


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Stop the process as SIGTERM does when its time is over, and print that."""

    def ask(_number: int, _frame: FrameType | None) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGALRM, ask)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("time is up between two runs"))
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except StoppedError as stop:
        print(f"time is up: {stop}")
