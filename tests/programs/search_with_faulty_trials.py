"""Searches, where trials end badly by their number of epochs. Arguments: a fault for each, the folder of images.

The faults are words such as ``3=die``: see ``FAULTS``. It stands in the folder of ``plan.json``.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from modiste.recipes.plain import build
from modiste.recipes.recipe import Recipe
from modiste.runs import storage
from modiste.searches.plan import Plan
from modiste.searches.search import search
from modiste.training import trainer


def die(_recipe: Recipe) -> Recipe:
    """Kill the worker."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def hang(recipe: Recipe) -> Recipe:
    """Wait for ten minutes, as deaf as a hang in foreign code."""
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))
    time.sleep(600)
    return recipe


def fail(_recipe: Recipe) -> Recipe:
    """Lack memory."""
    raise MemoryError("no room")


def diverge(recipe: Recipe) -> Recipe:
    """Learn so fast that the loss is soon no number."""
    return replace(recipe, optimizer=replace(recipe.optimizer, learning_rate=1e30))


FAULTS: dict[str, Callable[[Recipe], Recipe]] = {"die": die, "hang": hang, "fail": fail, "diverge": diverge}
FAULT_OF = {int(epochs): FAULTS[name] for epochs, _, name in (word.partition("=") for word in sys.argv[1:-1])}
train = trainer.train


def keep(recipe: Recipe) -> Recipe:
    """Change nothing."""
    return recipe


def train_or_fail(recipe: Recipe, *rest: Any, **options: Any) -> Any:
    """Train as ``trainer.train`` does, after the fault that the recipe's epochs name."""
    return train(FAULT_OF.get(recipe.epochs, keep)(recipe), *rest, **options)


trainer.train = train_or_fail  # here, and in the workers, which import this file
if __name__ == "__main__":
    plan = build(Plan, storage.read_json(Path("plan.json")))
    rows = search(plan, "s", device="cpu", data_folder=sys.argv[-1])
    print([(row.state, row.reason) for row in rows])
