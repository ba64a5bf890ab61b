"""Several seeds of one recipe: side by side on a GPU, where they take little longer than a single run, or in turn.

A small network leaves most of a GPU idle. Here every seed's step is a branch of one launch, and its kernels run beside
those of the others. Each seed has the initial weights, order, augmentation and dropout that it has alone. It reaches
the same figures and weights, and ends in a run folder of its own.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from modiste import machine
from modiste.errors import RecipeError, StoppedError
from modiste.models import layers
from modiste.recipes.recipe import Recipe
from modiste.runs import manifest, run_folder, storage
from modiste.training.cuda_graph import ResidentSteps, SideBySide, runs_own_code
from modiste.training.distributed import check_alone
from modiste.training.loop import finish_epoch, finish_without_training, is_over
from modiste.training.setup import (
    NO_INPUTS,
    Inputs,
    RunSetUp,
    images_of,
    note_facts,
    open_session,
    set_up,
    settle_threads,
    starts_of,
)
from modiste.training.state import Context, TrainingState
from modiste.training.tracking import Listener, Timing
from modiste.training.trainer import finish, notified, starting_state, train_in

MakeListeners = Callable[[int], Sequence[Listener]]
Run = tuple[RunSetUp, Context]
SEVERAL = "training of several seeds"
"""What is for one process."""


def train_seeds(
    recipe: Recipe,
    seeds: Sequence[int],
    out: Path | str,
    inputs: Inputs = NO_INPUTS,
    *,
    device: str = "auto",
    listeners: MakeListeners = lambda _seed: (),
) -> list[Path]:
    """Train ``recipe`` with every seed at once; return the run folders, ``out/NAME-SEED``.

    Finished runs are left as they are. Runs that were stopped or killed go on from their newest states; they may have
    been trained one by one. Runs with equally many steps go on side by side, one such group after another.
    The process keeps the memory that it frees from here on, as after ``modiste.train``.

    Args:
        recipe: What to train; its own seed is not used.
        seeds: One run each, all different.
        out: The folder of the run folders; made if missing.
        inputs: Images and teachers that the recipe names. The teachers' networks are Modiste's.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` ...
        listeners: Returns the listeners of a seed, which are notified of its steps and epochs.

    Raises:
        RecipeError: Several seeds at once cannot have data pruning, patience, transfer or own code, no seed may be
            given twice, and there may be only one process. Otherwise as for a single run.
        DataError, RunError, StorageError, DivergedError, FolderInUseError, StoppedError: As for a single run.
    """
    check_seeds(recipe, seeds)
    check_alone(SEVERAL)
    folders = [seed_folder(recipe, seed, out) for seed in seeds]
    runs: list[Run] = []
    with open_session(device) as session, ExitStack() as ends, ExitStack() as locks:
        heard = [ends.enter_context(notified(*pair)) for pair in zip(folders, map(listeners, seeds), strict=True)]
        for folder, seed, listener in zip(folders, seeds, heard, strict=True):
            locks.enter_context(storage.lock(folder))
            run = set_up(replace(recipe, seed=seed), folder, session, inputs)
            if run is not None:
                check_recordable(run.context(listener))
                inputs = replace(inputs, data=run.development)  # loaded for the first run, shared by the others
                runs.append((run, run.context(listener)))
        for some in equally_far(runs):
            with machine.threads_restored():
                train_together(some)
        locks.close()
        for run, context in runs:
            context.listener.finished(run_folder.open_run(run.folder))
    return folders


def train_every_seed(
    recipe: Recipe,
    seeds: Sequence[int],
    out: Path | str,
    inputs: Inputs = NO_INPUTS,
    *,
    device: str = "auto",
    listeners: MakeListeners = lambda _seed: (),
) -> list[run_folder.Run]:
    """Train ``recipe`` with every seed; return the finished runs, in the folders ``out/NAME-SEED``.

    On a GPU they are trained side by side (``train_seeds``) unless the recipe has data pruning, patience, transfer or
    own code.
    Elsewhere they are trained in turn: start-up and images are paid once, and each run has the bytes that it has alone.
    Finished runs are left as they are, and the same call continues those that were stopped.

    Args:
        recipe: What to train; its own seed is not used.
        seeds: One run each, all different.
        out: The folder of the run folders; made if missing.
        inputs: Images, weights and teachers that the recipe names.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` ...
        listeners: Returns the listeners of a seed.

    Raises:
        RecipeError: A seed is given twice, or there are several processes. Otherwise as for a single run.
        DataError, RunError, StorageError, DivergedError, FolderInUseError, StoppedError: As for a single run.

    Example::

        runs = train_every_seed(modiste.get_recipe("sprint"), range(5), "runs")
        print([run.picked.validation_accuracy for run in runs])
    """
    check_different(seeds)
    check_alone(SEVERAL)
    if are_side_by_side(recipe, device):
        together = train_seeds(recipe, seeds, out, inputs, device=device, listeners=listeners)
        return [run_folder.open_run(folder) for folder in together]
    folders = [seed_folder(recipe, seed, out) for seed in seeds]
    with open_session(device) as session:
        if not all((folder / manifest.NAME).exists() for folder in folders):
            inputs = replace(inputs, data=images_of(recipe, inputs, session))
        for folder, seed in zip(folders, seeds, strict=True):
            with machine.threads_restored():
                own = replace(recipe, seed=seed)
                train_in(session, own, folder, inputs, listeners(seed))
    return [run_folder.open_run(folder) for folder in folders]


def are_side_by_side(recipe: Recipe, device: str) -> bool:
    """Return whether ``train_every_seed`` trains the seeds of the recipe all at once on this device."""
    return machine.choose_device(device).type == "cuda" and not (single_run_fields(recipe) or recipe.own_code)


def seed_folder(recipe: Recipe, seed: int, out: Path | str) -> Path:
    """Return the folder of the run with this seed."""
    return Path(out) / f"{recipe.name}-{seed}"


def check_different(seeds: Sequence[int]) -> None:
    """Raise RecipeError if a seed is given twice, or none at all."""
    if not seeds or len(set(seeds)) < len(seeds):
        raise RecipeError(f"seeds: expected each once, found {', '.join(map(str, seeds)) or 'none'}")


def single_run_fields(recipe: Recipe) -> dict[str, object]:
    """Return the fields of the recipe, by name, that are not possible with several seeds side by side."""
    fields = {
        "data_pruning": recipe.data_pruning,
        "patience": recipe.patience,
        "transfer.source": recipe.transfer.source,
    }
    return {name: value for name, value in fields.items() if value}


def check_seeds(recipe: Recipe, seeds: Sequence[int]) -> None:
    """Raise RecipeError if the recipe asks for what only single runs have, or a seed is given twice."""
    for name, value in single_run_fields(recipe).items():
        raise RecipeError(f"{name}: not possible with several seeds at once, found {value}; train them one by one")
    if recipe.own_code:
        raise RecipeError("several seeds at once: not possible with own code; train them one by one")
    check_different(seeds)


def check_recordable(context: Context) -> None:
    """Raise RecipeError if a step runs code that is not Modiste's: the recipe's, or that of a teacher."""
    if runs_own_code(context):
        raise RecipeError("several seeds at once: not possible with own code; train them one by one")


def equally_far(runs: Sequence[Run]) -> list[list[Run]]:
    """Group the runs that can go on side by side.

    They have done the same number of steps, and began with the same number of threads, which decides their last bits. A
    run that never began counts as 0 threads.
    """
    groups: dict[tuple[int, int], list[Run]] = defaultdict(list)
    for run, context in runs:
        steps = 0 if run.saved is None else int(run.saved.plain["step"])
        starts = starts_of(run.folder)
        threads = int(starts[0].get("threads") or 0) if starts else 0
        groups[steps, threads].append((run, context))
    return [groups[key] for key in sorted(groups)]


def train_together(runs: Sequence[Run]) -> None:
    """Train runs that are equally far to the end, and finish them."""
    contexts = [context for _, context in runs]
    settle_threads(contexts[0].folder, runs[0][0].session.watch)
    for context in contexts:
        note_facts(context)
    try:
        states = [starting_state(run, context) for run, context in runs]
        for state, context in zip(states, contexts, strict=True):
            context.listener.started(context.recipe, context.steps_per_epoch, state.history, state.step)
        fit_seeds(states, contexts)
    finally:
        for context in contexts:
            context.listener.stopped()
    for state, (run, context) in zip(states, runs, strict=True):
        finish(state, context, run.task)


def fit_seeds(states: Sequence[TrainingState], contexts: Sequence[Context]) -> None:
    """Train runs that are equally far to the recipe's last epoch, together.

    Raises:
        DivergedError: A loss or gradient of one is not finite; the last states are on disk.
        StoppedError: A signal asked to stop; the states after the last step are on disk.
    """
    pairs = list(zip(states, contexts, strict=True))
    if not contexts[0].recipe.epochs:
        for state, context in pairs:
            finish_without_training(state, context)
        return
    together = SideBySide([ResidentSteps(state, context) for state, context in pairs])
    saved = time.monotonic()
    while not is_over(states[0].history, contexts[0].recipe):
        started, first_step = time.perf_counter(), states[0].step
        train_epoch(together)
        trained = time.perf_counter()
        for state, context in pairs:
            finish_epoch(state, context)
        over = is_over(states[0].history, contexts[0].recipe)
        if over or time.monotonic() - saved >= ResidentSteps.SECONDS_BETWEEN_STATES:
            save(pairs)
            saved = time.monotonic()
        for state, context in pairs:
            images = min((state.step - first_step) * context.recipe.batch_size, len(context.development.train))
            context.listener.epoch_done(state.history[-1], Timing.since(started, trained, images))


def train_epoch(together: SideBySide) -> None:
    """Take the remaining steps of the current epoch."""
    steps = together.steps
    for own in steps:
        layers.to_training(own.state.model, keep_statistics=own.context.recipe.transfer.keep_statistics)
    with machine.gpu_arithmetic(steps[0].context.device):
        for chosen in zip(*(own.choose() for own in steps), strict=True):
            if steps[0].context.stop_requested():
                save_and_stop(steps)
            together.take(chosen)
            for own in steps:
                own.context.listener.step_done(own.state.step)
    for own in steps:
        own.settle()


def save(pairs: Sequence[tuple[TrainingState, Context]]) -> None:
    """Write every training state into its run's folder."""
    for state, context in pairs:
        state.save(context.folder / run_folder.STATES, context.development.fingerprint)


def save_and_stop(steps: Sequence[ResidentSteps]) -> None:
    """Write every training state and raise StoppedError."""
    for own in steps:
        own.settle()
    save([(own.state, own.context) for own in steps])
    raise StoppedError(
        f"stopped on request after step {steps[0].state.step}; everything is saved in "
        f"{steps[0].context.folder.parent}, and the same call goes on from here"
    )
