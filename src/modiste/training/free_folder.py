"""The folder of a new run, if nobody names one: the first that is unused or holds an unfinished run of its recipe."""

import logging
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import torch

from modiste import machine
from modiste.errors import RecipeError, RunError
from modiste.recipes.recipe import Recipe
from modiste.runs import manifest, run_folder
from modiste.training.setup import settle

LOG = logging.getLogger(__name__)
RUNS = Path("runs")
"""The folder of all runs."""


def free_folder(recipe: Recipe, device: str = "auto") -> Path:
    """Return the first of ``runs/NAME``, ``runs/NAME-2`` ... in which the recipe's run can start or continue."""
    chosen = machine.choose_device(device)
    return next(folder for folder in folders(recipe.name) if _is_free(folder, recipe, chosen))


def folders(name: str) -> Iterator[Path]:
    """Yield ``runs/NAME``, ``runs/NAME-2`` and so on, without end."""
    yield RUNS / name
    for number in count(2):
        yield RUNS / f"{name}-{number}"


def _is_free(folder: Path, recipe: Recipe, device: torch.device) -> bool:
    """Return whether a run of the recipe can start or continue in the folder.

    The answer is no for a folder that may not be entered, or whose recipe cannot be read: a warning names that file.
    The answer is yes for a folder with another fault, which training reports.
    """
    try:
        if not folder.exists():
            return True
    except OSError:  # the name is too long, or ``runs`` may not be entered
        return True
    try:
        if not (folder / run_folder.RECIPE).exists():
            return not run_folder.foreign_files(folder)
        return not (folder / manifest.NAME).exists() and _is_same_recipe(folder, recipe, device)
    except PermissionError:
        return False
    except OSError:
        return True


def _is_same_recipe(folder: Path, recipe: Recipe, device: torch.device) -> bool:
    try:
        return run_folder.read_recipe(folder) == settle(recipe, device, folder)
    except (RecipeError, RunError) as error:
        LOG.warning("%s; this folder is passed over", error)
        return False
