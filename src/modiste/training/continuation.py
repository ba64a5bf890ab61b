"""Training a finished run on for more epochs, in a folder of its own.

The continued run has the very bytes that a run of all these epochs would have. So the learning rate of the steps
already taken must not depend on how long the run is. It does not with a constant schedule without warm-up.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from modiste.errors import RecipeError
from modiste.recipes.recipe import Recipe
from modiste.runs import checkpoint, run_folder, storage
from modiste.runs.run_folder import Run
from modiste.training import schedules
from modiste.training.loop import out_of_patience
from modiste.training.setup import NO_INPUTS, Inputs, claim
from modiste.training.tracking import Listener
from modiste.training.trainer import Outcome, train

COPIED = (run_folder.PRETRAINING, run_folder.TRANSFER, run_folder.LOG, run_folder.TIMING, run_folder.FACTS)
"""Files that a continued run takes over, where the first has them."""


def continue_run(
    source: Path | str,
    out: Path | str,
    *,
    epochs: int,
    inputs: Inputs = NO_INPUTS,
    device: str = "auto",
    listeners: Sequence[Listener] = (),
) -> Outcome:
    """Train the finished run in ``source`` on until it has ``epochs`` epochs, into the folder ``out``.

    ``source`` stays as it is. If an earlier call was stopped, the same call goes on from there.

    Args:
        source: Folder of a finished run.
        out: Folder of the new run; made if missing.
        epochs: Epochs of the whole run, more than it has.
        inputs: Images and teachers that the recipe names.
        device: As ``train`` takes it.
        listeners: Notified of every step and epoch.

    Raises:
        RecipeError: The run cannot be continued, see ``lengthened``.
        RunError: ``source`` is unfinished or damaged, or ``out`` holds something else.
        DataError, StorageError, DivergedError, FolderInUseError, StoppedError: As ``train``.

    Example::

        train(replace(named.get("paper"), epochs=5), "runs/five")
        continue_run("runs/five", "runs/eight", epochs=8)
    """
    run = run_folder.open_run(source)
    recipe = lengthened(run, epochs)
    copy_state(run, Path(out), recipe)
    return train(recipe, out, inputs, device=device, listeners=listeners)


def lengthened(run: Run, epochs: int) -> Recipe:
    """Return a run's recipe with more epochs.

    Raises:
        RecipeError: The run has as many epochs, ended early, was not trained by steps, or its learning rate or average
            depends on the number of epochs.
    """
    recipe, done = run.recipe, len(run.history)
    if not recipe.epochs:
        raise RecipeError(f"{run.folder}: has no epochs that could go on; choose a recipe with epochs")
    if epochs <= recipe.epochs:
        raise RecipeError(f"epochs: expected more than the {recipe.epochs} of {run.folder}, found {epochs}")
    if done < recipe.epochs or out_of_patience(list(run.history), recipe):
        raise RecipeError(
            f"{run.folder}: ended after epoch {done} of {recipe.epochs}, out of patience, and would again; "
            "train with a larger --patience"
        )
    if schedules.depends_on_length(recipe):
        schedule = f"schedule ({recipe.schedule.shape}, warm-up {recipe.schedule.warm_up:g})"
        what = f"average (swa_start {recipe.swa_start:g})" if recipe.swa_start else schedule
        raise RecipeError(
            f"{run.folder}: its {what} depends on the number of epochs, so {epochs} epochs are another "
            f"run from its first step: train it anew, or begin from these weights with --transfer-from {run.folder}"
        )
    return replace(recipe, epochs=epochs)


def copy_state(run: Run, out: Path, recipe: Recipe) -> None:
    """Put the last training state of a finished run into a new folder, unless a run has begun there.

    Raises:
        RunError: The folder holds something else.
        StorageError: It cannot be written.
    """
    with storage.lock(out):
        states = out / run_folder.STATES
        if not claim(out, recipe) or checkpoint.load_state(states) is not None:
            return
        for name in COPIED:
            if run_folder.is_listed(run, name):
                storage.write_text(out / name, storage.read_text(run.folder / name))
        checkpoint.copy_newest(run.folder / run_folder.STATES, states)  # last: what is copied before it has no effect
