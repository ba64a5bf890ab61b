"""Several seeds of one recipe side by side, so that an interval costs little more than a single run on a GPU.

A small network leaves most of a GPU idle. Here every seed's step is a branch of one launch, its kernels run beside
those of the others. Each seed has the initial weights, order, augmentation and dropout that it has alone, comes to the
same figures and weights, and ends in a run folder of its own.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from modiste import machine
from modiste.data.dataset import load_development
from modiste.errors import RecipeError, StoppedError
from modiste.models import layers
from modiste.models.registry import Task, build_model
from modiste.processes import CoreWatch
from modiste.recipes.recipe import Recipe
from modiste.runs import run_folder, storage
from modiste.runs.checkpoint import State
from modiste.training import trainer
from modiste.training.context import Context
from modiste.training.cuda_graph import ResidentSteps, SideBySide
from modiste.training.distributed import ALONE
from modiste.training.interruption import Interruption
from modiste.training.loop import finish_epoch, is_over
from modiste.training.state import TrainingState
from modiste.training.tracking import FileLog, Listener, Listeners, Timing

MakeListeners = Callable[[int], Sequence[Listener]]


def run_seeds(
    recipe: Recipe,
    seeds: Sequence[int],
    out: Path | str,
    *,
    device: str = "auto",
    data_folder: Path | str | None = None,
    listeners: MakeListeners = lambda _seed: (),
) -> list[Path]:
    """Train ``recipe`` with every seed at once; return the run folders, ``out/NAME-SEED``.

    Finished runs are left as they are. Runs that were stopped or killed go on from their newest states, whether several
    seeds or one were trained: those that are equally far go on side by side, the others one group after another. The
    process keeps the memory that it frees from here on, as after ``modiste.train``.

    Args:
        recipe: what to train; its own seed is not used.
        seeds: one run each, all different.
        out: the folder of the run folders; made if missing.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` ...
        data_folder: as ``load_dataset`` takes it: of Fashion-MNIST, or of data that have moved.
        listeners: returns those to tell of a seed's steps and epochs.

    Raises:
        RecipeError: the recipe asks for what is done for one network alone: patience, transfer; or a seed stands twice.
        DataError, RunError, StorageError, DivergedError, FolderInUseError, StoppedError: as for a single run.
    """
    watch, place = CoreWatch(), machine.choose_device(device)
    check_alike(recipe, seeds)
    folders = [Path(out) / f"{recipe.name}-{seed}" for seed in seeds]
    development = load_development(recipe.data, data_folder).to(place)
    trainer.tell(development)
    with contextlib.ExitStack() as stack:
        interruption, waiting = stack.enter_context(Interruption()), []
        for folder, seed in zip(folders, seeds, strict=True):
            stack.enter_context(storage.lock(folder))
            own = machine.settle_precision(replace(recipe, seed=seed), place, folder / run_folder.RECIPE)
            if trainer.claim(folder, own):
                listener = Listeners([FileLog(folder), *listeners(seed)])
                waiting.append(Context(own, development, folder, listener, interruption))
        for begun in equally_far([Begun.found(context) for context in waiting]):
            with machine.threads_restored():
                trainer.settle_threads(begun[0].context.folder, watch)
                train_together(begun)
    return folders


@dataclass(frozen=True)
class Begun:
    """A seed's run and what an earlier call left of it.

    Attributes:
        context: of the run.
        state: to go on from; None of a run without a step.
        threads: with which it began, for they decide its last bits; 0 where it has not.
    """

    context: Context
    state: State | None
    threads: int

    @classmethod
    def found(cls, context: Context) -> "Begun":
        """Read what the run's folder holds."""
        starts = trainer.starts_of(context.folder)
        state = trainer.newest_state(context.folder, context.development.fingerprint)
        return cls(context, state, int(starts[0].get("threads") or 0) if starts else 0)

    @property
    def place(self) -> tuple[int, int]:
        """Steps done, and threads: the same for runs that can go on side by side."""
        return (0 if self.state is None else int(self.state.plain["step"])), self.threads


def equally_far(begun: Sequence[Begun]) -> Iterator[list[Begun]]:
    """Yield the runs in groups that can go on side by side."""
    for _, some in groupby(sorted(begun, key=lambda one: one.place), key=lambda one: one.place):
        yield list(some)


def check_alike(recipe: Recipe, seeds: Sequence[int]) -> None:
    """Raise RecipeError when the recipe asks for what is done for one network alone, or a seed stands twice."""
    for name, value in {"patience": recipe.patience, "transfer.source": recipe.transfer.source}.items():
        if value:
            raise RecipeError(f"{name}: not possible with several seeds at once, found {value}; train them one by one")
    if len(set(seeds)) < len(seeds):
        raise RecipeError(f"seeds: expected each once, found {', '.join(map(str, seeds))}")


def train_together(begun: Sequence[Begun]) -> None:
    """Train runs that are equally far to the end, and finish them."""
    settings = [one.context for one in begun]
    task = trainer.describe_task(settings[0].development, settings[0].recipe)
    learners = [make_training_state(one, task) for one in begun]
    try:
        for learner, context in zip(learners, settings, strict=True):
            context.listener.started(context.recipe, context.steps_per_epoch, learner.history, learner.step)
        fit_seeds(learners, settings)
    finally:
        for context in settings:
            context.listener.stopped()
    for learner, context in zip(learners, settings, strict=True):
        trainer.finish(learner, context, task)


def make_training_state(begun: Begun, task: Task) -> TrainingState:
    """Return the learner of a run, new or as its state holds it."""
    context = begun.context
    model = build_model(context.recipe.model, task, seed=context.recipe.seed).to(context.device)
    trainer.check_batches(model, context.development.train, context.recipe, ALONE)
    trainer.note_facts(context.folder, context.device, ALONE)
    return trainer.prepare(model, context, begun.state, None)


def fit_seeds(learners: Sequence[TrainingState], settings: Sequence[Context]) -> None:
    """Train learners that are equally far to the recipe's last epoch, together.

    Raises:
        DivergedError: a loss or gradient of one is not finite; the last states are on disk.
        StoppedError: a signal asked to stop; the states after the last step are on disk.
    """
    steps = [ResidentSteps(learner, own) for learner, own in zip(learners, settings, strict=True)]
    together, pairs, saved = SideBySide(steps), list(zip(learners, settings, strict=True)), time.monotonic()
    while not is_over(learners[0].history, settings[0].recipe):
        started, first_step = time.perf_counter(), learners[0].step
        train_epoch(together)
        trained = time.perf_counter()
        for learner, context in pairs:
            finish_epoch(learner, context)
        over = is_over(learners[0].history, settings[0].recipe)
        if over or time.monotonic() - saved >= ResidentSteps.SECONDS_BETWEEN_STATES:
            save(pairs)
            saved = time.monotonic()
        for learner, context in pairs:
            images = min((learner.step - first_step) * context.recipe.batch_size, len(context.development.train))
            context.listener.epoch_done(learner.history[-1], Timing.since(started, trained, images))


def train_epoch(together: SideBySide) -> None:
    """Take the steps that are left of the epoch under way."""
    steps = together.steps
    for own in steps:
        layers.to_training(own.learner.model)
    with machine.gpu_arithmetic(steps[0].context.device):
        for chosen in zip(*(own.batches.choose(own.learner.step) for own in steps), strict=True):
            if steps[0].context.stop_requested():
                save_and_stop(steps)
            together.take(chosen)
            for own in steps:
                own.context.listener.step_done(own.learner.step)
    for own in steps:
        own.settle()


def save(pairs: Sequence[tuple[TrainingState, Context]]) -> None:
    """Write the state of every learner into its run's folder."""
    for learner, context in pairs:
        learner.save(context.folder / run_folder.STATES, context.development.fingerprint)


def save_and_stop(steps: Sequence[ResidentSteps]) -> None:
    """Write every state and raise StoppedError."""
    for own in steps:
        own.settle()
    save([(own.learner, own.context) for own in steps])
    raise StoppedError(
        f"stopped on request after step {steps[0].learner.step}; everything is saved in "
        f"{steps[0].context.folder.parent}, and the same call goes on from here"
    )
