"""``modiste.train``: from the name of a recipe to a finished run."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modiste.api.own import Code, with_own_code
from modiste.api.run import Run
from modiste.recipes import named
from modiste.recipes.recipe import Recipe, load
from modiste.training import trainer
from modiste.training.free_folder import free_folder
from modiste.training.tracking import ConsoleLog, Listener
from modiste.training.transfer.source import Source, locate

RecipeLike = Recipe | str | os.PathLike[str]
"""A recipe, the name of one, or the path of a .toml or .json file."""


def train(
    recipe: RecipeLike,
    out: Path | str | None = None,
    *,
    network: Code | None = None,
    loss: Code | None = None,
    augmentation: Code | None = None,
    device: str = "auto",
    data_folder: Path | str | None = None,
    transfer_from: Path | str | Source | None = None,
    listeners: Sequence[Listener] = (),
    quiet: bool = False,
    **fields: Any,
) -> Run:
    """Train a recipe, and return the finished run.

    If an earlier call with the same recipe and folder was stopped or killed, training goes on from where it was. The
    weights, optimizer state and log are byte for byte those of an uninterrupted run, on the same kind of machine with
    the same number of threads. A finished run in ``out`` is not trained again.

    Progress is shown as the command shows it: a bar at a terminal and in a notebook, elsewhere a line for each epoch.

    Args:
        recipe: a name such as ``sprint``, a ``Recipe``, or the path of a .toml or .json file.
        out: the run folder; by default the first of ``runs/NAME``, ``runs/NAME-2`` ... that is free.
        network: a class, function, module or import path in place of the recipe's network; see ``with_own_code``.
        loss: a function in place of the recipe's objective.
        augmentation: a function that changes each batch, after the recipe's augmentation.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` ...
        data_folder: as ``load_dataset`` takes it: of Fashion-MNIST, or of data that have moved.
        transfer_from: weights to start from: a run, a safetensors file or ``hub:OWNER/NAME``.
        listeners: notified of every step and epoch.
        quiet: show no progress.
        fields: changed fields of the recipe, ``epochs=2`` or ``**{"optimizer.learning_rate": 0.003}``; see
            ``Recipe.with_``.

    Raises:
        RecipeError: a field, a network, a loss or an augmentation cannot be used.
        DataError, RunError, StorageError, DivergedError, FolderInUseError, StoppedError: as ``modiste train``.

    Example::

        run = modiste.train("sprint", epochs=2)
        print(run.accuracy, run.accuracy_interval)
    """
    wanted = with_own_code(as_recipe(recipe).with_(**fields), network=network, loss=loss, augmentation=augmentation)
    source = locate(transfer_from, quiet=quiet) if isinstance(transfer_from, str | os.PathLike) else transfer_from
    if source is not None:
        wanted = wanted.with_(**{"transfer.source": source.sha256})
    folder = free_folder(wanted, device) if out is None else Path(out)
    shown: list[Listener] = [] if quiet else [ConsoleLog()]
    trainer.train(
        wanted,
        folder,
        device=device,
        data_folder=data_folder,
        transfer_from=source,
        listeners=[*shown, *listeners],
    )
    return Run.open(folder)


def as_recipe(recipe: RecipeLike) -> Recipe:
    """Return the recipe with this name, in this file, or itself.

    Raises:
        RecipeError: there is no recipe of that name, or the file is no recipe.
    """
    if isinstance(recipe, Recipe):
        return recipe
    name = os.fspath(recipe)
    return load(Path(name)) if name.endswith((".toml", ".json")) else named.get(name)
