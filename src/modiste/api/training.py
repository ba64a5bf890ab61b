"""Training from a program: from the name of a recipe to finished runs."""

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from modiste.api.own import Code, register, with_own_code
from modiste.api.run import Run, RunLike, folder_of, folders_of
from modiste.data.dataset import Development, development_of
from modiste.errors import RecipeError
from modiste.recipes import named
from modiste.recipes.recipe import Recipe
from modiste.runs import run_folder
from modiste.system.processes import is_first_process
from modiste.training import continuation, distillation, trainer
from modiste.training.distributed import check_alone
from modiste.training.free_folder import RUNS, free_folder
from modiste.training.seeds import are_side_by_side, check_different, seed_folder, train_every_seed
from modiste.training.setup import Inputs
from modiste.training.tracking import Listener, make_progress, trackers
from modiste.training.transfer.source import Source, locate

RecipeLike = Recipe | str | os.PathLike[str]
"""A recipe, the name of one, or the path of a .toml or .json file."""
Track = str | Listener | Sequence[str | Listener]
"""Trackers by name, or listeners of the user's own."""


def train(
    recipe: RecipeLike,
    out: Path | str | None = None,
    *,
    data: Any = None,
    network: Code | None = None,
    loss: Code | None = None,
    augmentation: Code | None = None,
    device: str = "auto",
    data_folder: Path | str | None = None,
    transfer_from: Path | str | Source | None = None,
    teacher: RunLike | Sequence[RunLike] = (),
    track: Track = (),
    listeners: Sequence[Listener] = (),
    quiet: bool = False,
    **fields: Any,
) -> Run:
    """Train a recipe, and return the finished run.

    If an earlier call with the same recipe and folder was stopped or killed, training goes on from where it was. The
    weights, optimizer state and log are byte for byte those of an uninterrupted run, on the same kind of machine with
    the same number of threads. A finished run in ``out`` is not trained again.

    Progress is shown as the command shows it: a line for each epoch, and a bar at a terminal and in a notebook.

    Args:
        recipe: A name such as ``sprint``, a ``Recipe``, or the path of a .toml or .json file.
        out: The run folder; by default the first of ``runs/NAME``, ``runs/NAME-2`` ... that is free.
        data: Images in place of those that the recipe names: a pair (images, labels), a ``modiste.Dataset``, a data set
            of torch or of Hugging Face, or a path. See ``Dataset`` for types and shapes.
        network: A class, function, module or import path in place of the recipe's network; see ``with_own_code``.
        loss: A function in place of the recipe's objective.
        augmentation: A function that changes each batch, after the recipe's augmentation.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` ...
        data_folder: As ``load_dataset`` takes it: of Fashion-MNIST, or of data that have moved.
        transfer_from: Weights to start from: a run, a safetensors file or ``hub:OWNER/NAME``.
        teacher: A finished run, or several, whose answers the network learns from beside the labels; on the same data
            and split. The fields ``distillation.weight``, ``.temperature`` and ``.on`` say how.
        track: Trackers: ``tensorboard``, ``mlflow``, ``wandb``, or listeners. Each has a thread of its own, and cannot
            stop, slow or change the run.
        listeners: Notified of every step and epoch, in this thread; an error in one ends the run.
        quiet: Show no progress.
        fields: Changed fields of the recipe, ``epochs=2`` or ``**{"optimizer.learning_rate": 0.003}``; see
            ``Recipe.with_``.

    Raises:
        RecipeError: A field, a network, a loss or an augmentation cannot be used.
        DataError, RunError, StorageError, DivergedError, FolderInUseError, StoppedError: As ``modiste train``.

    Example::

        run = modiste.train("sprint", epochs=2)
        print(run.accuracy, run.accuracy_interval)
    """
    wanted = with_own_code(as_recipe(recipe), network=network, loss=loss, augmentation=augmentation, **fields)
    wanted, source = with_source(wanted, transfer_from, quiet=quiet)
    wanted, teachers = with_teachers(wanted, teacher)
    wanted, images = _with_data(wanted, data)
    folder = free_folder(wanted, device) if out is None else Path(out)
    trainer.train(
        wanted,
        folder,
        Inputs(data_folder if images is None else images, source, teachers),
        device=device,
        listeners=[*listeners_of(folder, wanted, track, quiet=quiet), *listeners],
    )
    return Run.open(folder)


def continue_run(
    run: str | os.PathLike[str],
    out: Path | str | None = None,
    *,
    epochs: int,
    data: Any = None,
    network: Code | None = None,
    loss: Code | None = None,
    augmentation: Code | None = None,
    device: str = "auto",
    data_folder: Path | str | None = None,
    teacher: RunLike | Sequence[RunLike] = (),
    track: Track = (),
    listeners: Sequence[Listener] = (),
    quiet: bool = False,
) -> Run:
    """Train a finished run on until it has more epochs, into a folder of its own, and return the longer run.

    The longer run has the bytes of a run that had all these epochs from the start. So its learning rate must not depend
    on the number of epochs: the schedule is constant, without warm-up. The first run stays as it is. The same call
    continues after an interruption. (A run that was interrupted is continued by the call that started it.)

    Args:
        run: A finished run, or its folder.
        out: The new folder; by default the first of ``runs/NAME``, ``runs/NAME-2`` ... that is free.
        epochs: Epochs of the whole run, more than it has.
        data: As ``train`` takes it, if the run was trained on data in memory.
        network: The code of the run's network if it is not Modiste's, unless this process has trained with it.
        loss: The same for its loss.
        augmentation: The same for its augmentation.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` ...
        data_folder: As ``load_dataset`` takes it.
        teacher: The same as the run had, if it had any.
        track: As ``train`` takes it.
        listeners: As ``train`` takes them.
        quiet: Show no progress.

    Raises:
        RecipeError: The run cannot go on: its schedule depends on the number of epochs, it ran out of patience, or it
            has as many epochs.
        DataError, RunError, StorageError, DivergedError, FolderInUseError, StoppedError: As ``train``.

    Example::

        run = modiste.train("paper", "runs/five", epochs=5)
        longer = modiste.continue_run(run, "runs/eight", epochs=8)
    """
    check_alone("continuing a run")
    register(network, loss, augmentation)
    source = run_folder.open_run(folder_of(run))
    longer = continuation.lengthened(source, epochs)
    folder = free_folder(longer, device) if out is None else Path(out)
    images = data_folder if data is None else development_of(data, longer.data)
    continuation.continue_run(
        source.folder,
        folder,
        epochs=epochs,
        inputs=Inputs(images, teachers=folders_of(teacher)),
        device=device,
        listeners=[*listeners_of(folder, longer, track, quiet=quiet), *listeners],
    )
    return Run.open(folder)


def train_seeds(
    recipe: RecipeLike,
    seeds: int | Sequence[int],
    out: Path | str = RUNS,
    *,
    data: Any = None,
    network: Code | None = None,
    loss: Code | None = None,
    augmentation: Code | None = None,
    device: str = "auto",
    data_folder: Path | str | None = None,
    transfer_from: Path | str | Source | None = None,
    teacher: RunLike | Sequence[RunLike] = (),
    track: Track = (),
    quiet: bool = False,
    **fields: Any,
) -> list[Run]:
    """Train a recipe with several seeds, and return the finished runs, in the folders ``out/NAME-SEED``.

    On a GPU they are trained side by side where that is possible, elsewhere in turn; images are loaded once. Finished
    runs are left as they are, and the same call continues those that were stopped.

    Args:
        recipe: As ``train`` takes it.
        seeds: How many, 0, 1, 2 ...; or which.
        out: The folder of the run folders.
        data: As ``train`` takes it.
        network: As ``train`` takes it; a class or a function, so that each seed has weights of its own.
        loss: As ``train`` takes it.
        augmentation: As ``train`` takes it.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` ...
        data_folder: As ``load_dataset`` takes it.
        transfer_from: As ``train`` takes it.
        teacher: As ``train`` takes it.
        track: As ``train`` takes it.
        quiet: Show no progress.
        fields: Changed fields of the recipe, as ``train`` takes them.

    Raises:
        RecipeError: A seed is given twice, or a network that has been built is given. Otherwise as ``train``.
        DataError, RunError, StorageError, DivergedError, FolderInUseError, StoppedError: As ``train``.

    Example::

        runs = modiste.train_seeds("sprint", 5)
        print(modiste.evaluate_seeds(runs))
    """
    wanted = with_own_code(as_recipe(recipe), network=network, loss=loss, augmentation=augmentation, **fields)
    if isinstance(network, nn.Module):
        raise RecipeError("network: expected a class or a function, which gives each seed own weights, found a network")
    wanted, source = with_source(wanted, transfer_from, quiet=quiet)
    wanted, teachers = with_teachers(wanted, teacher)
    wanted, images = _with_data(wanted, data)

    chosen = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    check_different(chosen)
    side_by_side = are_side_by_side(wanted, device)

    def listeners(seed: int) -> list[Listener]:
        title = f"{len(chosen)} seeds at once; shown is seed {seed}" if side_by_side else f"seed {seed}"
        is_hidden = quiet or (side_by_side and seed != chosen[0])  # one bar at a time
        own = replace(wanted, seed=seed)
        return listeners_of(seed_folder(wanted, seed, out), own, track, title=title, quiet=is_hidden)

    inputs = Inputs(data_folder if images is None else images, source, teachers)
    trained = train_every_seed(wanted, chosen, out, inputs, device=device, listeners=listeners)
    return [Run.open(run.folder) for run in trained]


def with_source(
    recipe: Recipe, transfer_from: Path | str | Source | None, *, quiet: bool
) -> tuple[Recipe, Source | None]:
    """Return the recipe with the hash of the weights to start from, and where these are; unchanged without any.

    Raises:
        RunError, RecipeError, StorageError, MissingExtraError: As ``transfer.source.locate``.
    """
    if transfer_from is None:
        return recipe, None
    source = locate(transfer_from, quiet=quiet)
    return replace(recipe, transfer=replace(recipe.transfer, source=source.sha256)), source


def with_teachers(recipe: Recipe, teacher: RunLike | Sequence[RunLike]) -> tuple[Recipe, list[Path]]:
    """Return the recipe with the hashes of the runs to learn from, and their folders; unchanged without any.

    Raises:
        RecipeError: A run is given twice.
        RunError: A run is missing, unfinished, or a file does not match its hash.
    """
    folders = folders_of(teacher)
    if not folders:
        return recipe, []
    hashes = tuple(map(distillation.teacher_hash, folders))
    return replace(recipe, distillation=replace(recipe.distillation, teachers=hashes)), folders


def _with_data(recipe: Recipe, data: Any) -> tuple[Recipe, Development | None]:
    """Return the recipe with the name of the data, and the images; no images if the data are a path or None."""
    if data is None:
        return recipe, None
    if isinstance(data, str | os.PathLike):
        return replace(recipe, data=replace(recipe.data, source=os.fspath(data))), None
    images = development_of(data, recipe.data)
    for note in images.notes:
        logging.getLogger(__name__).warning("%s", note)
    return replace(recipe, data=replace(recipe.data, source=images.name)), images


def listeners_of(folder: Path, recipe: Recipe, track: Track, *, title: str = "", quiet: bool) -> list[Listener]:
    """Return the progress and the trackers of a run; of the processes that train together, only the first has any."""
    if not is_first_process():
        return []
    named = [track] if isinstance(track, str | Listener) else list(track)
    shown: list[Listener] = [] if quiet else [make_progress(title)]
    return [*shown, *trackers.make(named, folder, recipe)]


def as_recipe(recipe: RecipeLike) -> Recipe:
    """Return the recipe with this name, in this file, or itself.

    Raises:
        RecipeError: There is no recipe of that name, or the file is no recipe.
    """
    return recipe if isinstance(recipe, Recipe) else named.find(os.fspath(recipe))
