"""One training run, from a recipe to a folder that holds everything about it."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from modiste import machine
from modiste.evaluation import run_images
from modiste.evaluation.inference import infer
from modiste.evaluation.out_of_distribution import run_detector
from modiste.evaluation.out_of_distribution.learning import allowed_changes, learn
from modiste.evaluation.statistics import wilson_interval
from modiste.models.onednn import fuse_beginning
from modiste.models.own_network import is_own
from modiste.models.registry import Task
from modiste.recipes.recipe import Recipe
from modiste.runs import checkpoint, run_folder, storage
from modiste.runs.checkpoint import ModelInfo
from modiste.runs.run_folder import EpochRow
from modiste.training import data_pruning, distillation
from modiste.training.distributed import gathered
from modiste.training.loop import fit
from modiste.training.setup import (
    NO_INPUTS,
    Inputs,
    RunSetUp,
    Session,
    note_facts,
    open_session,
    set_up,
    settle_threads,
)
from modiste.training.state import Context, TrainingState, new_training_state
from modiste.training.tracking import FileLog, Listener, Listeners
from modiste.training.transfer import linear_probe, transfer
from modiste.training.transfer.source import Source
from modiste.training.warm_start.progress import Progress
from modiste.training.warm_start.warm_starts import WARM_STARTS


@dataclass(frozen=True)
class Outcome:
    """The result of a finished run.

    Attributes:
        folder: Folder of the run.
        picked: The epoch whose weights are the model.
        interval: 95 % interval of its validation accuracy.
        seconds: How long this call took.
    """

    folder: Path
    picked: EpochRow
    interval: tuple[float, float]
    seconds: float


def train(
    recipe: Recipe,
    out: Path | str,
    inputs: Inputs = NO_INPUTS,
    *,
    device: str = "auto",
    listeners: Sequence[Listener] = (),
    threads: int | None = None,
) -> Outcome:
    """Train ``recipe`` into the folder ``out``, and return the result.

    If an earlier call was stopped or killed, training goes on from where it was. The weights, optimizer state and log
    are byte for byte those of an uninterrupted run, on the same kind of machine with the same number of threads. A
    finished run is not trained again.

    torch's threads, its settings and the signal handlers are as before when this returns. One thing stays: the process
    keeps the memory that it frees, if its C library is glibc. See ``machine.keep_memory``.

    Args:
        recipe: What to train. The device settles the precision ``auto``.
        out: The run folder; made if missing.
        inputs: Images, weights and teachers that the recipe names.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` ...
        listeners: Notified of every step and epoch, and of the end. An error in one ends the run; trackers, which
            cannot, come from ``tracking.trackers.make``.
        threads: Threads of torch; None for as many as there are free cores. Their number decides the last bits of the
            weights.

    Raises:
        DataError, RecipeError, RunError, StorageError, DivergedError, FolderInUseError, StoppedError.
    """
    started = time.perf_counter()
    with (
        gathered() as group,
        open_session(device, group) as session,
        group.folder(Path(out)) as folder,
    ):
        session = replace(session, threads=threads)
        finished = train_in(session, recipe, folder, inputs, listeners)
        group.meet()  # when the leader has written ``out``, every process may open the run
        return outcome(finished or run_folder.open_run(out), started)


def train_in(
    session: Session,
    recipe: Recipe,
    folder: Path,
    inputs: Inputs = NO_INPUTS,
    listeners: Sequence[Listener] = (),
) -> run_folder.Run | None:
    """Train one run within a session that several may share; return it, or None if it had finished before.

    Args:
        session: Session of the call.
        recipe: What to train.
        folder: Folder of the run.
        inputs: See ``train``.
        listeners: See ``train``.

    Raises:
        ModisteError: As ``train``.
    """
    with notified(folder, listeners) as listener:
        with ExitStack() as held:
            session.group.of_leader(partial(held.enter_context, storage.lock(folder)))
            run = set_up(recipe, folder, session, inputs)
            if run is None:
                return None
            complete(run, listener, inputs.transfer_from)
        finished = run_folder.open_run(folder)
        listener.finished(finished)
        return finished


@contextmanager
def notified(folder: Path, listeners: Sequence[Listener]) -> Iterator[Listener]:
    """Give the log files of the run in ``folder`` and other listeners as one, and close them at the end."""
    listener = Listeners([FileLog(folder), *listeners])
    try:
        yield listener
    finally:
        listener.closed()


def complete(run: RunSetUp, listener: Listener, transfer_from: Path | str | Source | None = None) -> None:
    """Train a run to its end, and write its results; ``transfer_from`` as in ``train``."""
    context = run.context(listener)
    session = run.session
    session.group.of_leader(partial(settle_threads, run.folder, session.watch, session.threads))
    session.group.of_leader(partial(note_facts, context))
    try:
        state = starting_state(run, context, transfer_from)
        context.listener.started(context.recipe, context.steps_per_epoch, state.history, state.step)
        with machine.random_numbers_kept(context.device):
            fit(state, context)
    finally:
        context.listener.stopped()
    finish(state, context, run.task)


def starting_state(run: RunSetUp, context: Context, transfer_from: Path | str | Source | None = None) -> TrainingState:
    """Return the saved training state of the run, or a new one after warm start and transfer.

    The state after a warm start is saved, so that an interrupted run does not repeat it. That of a network which is not
    Modiste's is saved too, because its initial weights may be others when it is built again. Answers of teachers that
    are to be stored are computed here, or read from the user's cache.
    """
    recipe, model, saved = run.recipe, run.model, run.saved
    if saved is None:
        warm_up(model, context, transfer_from)
    taken = take_weights(model, context, transfer_from, has_begun=saved is not None)
    fitted = linear_probe.Fitted()
    if saved is None and recipe.transfer.linear_probe:
        progress = Progress(linear_probe.NAME, context.listener, context.interruption)
        fitted = linear_probe.fit_head(model, context.development, recipe, progress)
    if context.teachers is not None:
        progress = Progress(distillation.NAME, context.listener, context.interruption)
        distillation.store_answers(context.teachers, context.development, recipe, progress)
    state = new_training_state(model, recipe, taken)
    state.order = data_pruning.new_order(recipe, len(context.development.train))
    if saved is not None:
        state.restore(saved)
    elif recipe.warm_start != "none" or recipe.transfer.linear_probe or is_own(model):
        if not recipe.epochs:
            state.loss_sum, state.correct, state.logits = fitted.loss, fitted.correct, fitted.logits
            state.fit_seconds = fitted.seconds
        state.save(context.folder / run_folder.STATES, context.development.fingerprint)
    state.network = trained_network(model, context)
    return state


def warm_up(model: nn.Module, context: Context, source: Path | str | Source | None = None) -> None:
    """Carry out the recipe's warm start. Mistakes in the transfer that follows are found first.

    Raises:
        RecipeError, RunError, MissingExtraError: The warm start does not fit the network; or as ``transfer.check`` and
            ``linear_probe.check``.
        DivergedError: A loss of the warm start is not finite.
        StoppedError: A signal asked to stop.
    """
    recipe = context.recipe
    if recipe.warm_start != "none":
        transfer.check(model, source, recipe.transfer)
        if recipe.transfer.linear_probe:
            linear_probe.check(model)
    progress = Progress(recipe.warm_start, context.listener, context.interruption)
    with machine.random_numbers_kept(context.device), machine.gpu_arithmetic(context.device):
        if is_own(model):  # it may draw from torch's global generator
            torch.manual_seed(machine.seed_for(recipe.seed, "own code in the warm start"))
        WARM_STARTS[recipe.warm_start](model, context.development, recipe, progress)


def trained_network(model: nn.Module, context: Context) -> nn.Module:
    """Return the network for the forward pass of training: joined with other processes, or quick where it is frozen."""
    if context.group.is_alone and context.device.type == "cpu":
        return fuse_beginning(model, torch.bfloat16 if context.recipe.precision == "bfloat16" else torch.float32)
    return context.group.join(model)


def take_weights(
    model: nn.Module, context: Context, source: Path | str | Source | None, *, has_begun: bool
) -> frozenset[str]:
    """Freeze and transfer weights as the recipe says; return the names of the tensors taken.

    If the run has begun, no weights are copied, and the names come from its transfer report.
    """
    recipe = context.recipe
    transfer.freeze(model, recipe.transfer.freeze)
    if not recipe.transfer.source:
        return frozenset()
    if has_begun:
        return transfer.read_report(context.folder).taken
    report = transfer.transfer(model, source, recipe.transfer, context.folder)
    context.listener.transferred(report)
    return report.taken


def finish(state: TrainingState, context: Context, task: Task) -> None:
    """Complete the run: write both models, the validation logits and the manifest."""
    recipe, folder, validation = context.recipe, context.folder, context.development.validation
    best = run_folder.picked(state.history, recipe)
    info = ModelInfo(recipe, task, best.epoch, context.development.fingerprint)
    last = replace(info, epoch=state.history[-1].epoch)
    checkpoint.save_model(folder / run_folder.WEIGHTS["last"], state.evaluated.state_dict(), last)
    checkpoint.save_model(folder / run_folder.WEIGHTS["picked"], state.chosen, info)
    for number, weights in enumerate(state.snapshots, start=1):
        snapshot = replace(info, epoch=number * recipe.epochs // recipe.schedule.cycles)
        checkpoint.save_model(folder / run_folder.snapshot_name(number), weights, snapshot)
    state.evaluated.load_state_dict(state.chosen)
    logits = state.logits.get("validation")
    if logits is None:
        logits = infer(state.evaluated, validation.images, recipe)
    measured = run_folder.Measured(logits, validation.labels.cpu(), validation.identity())
    storage.write_bytes(folder / run_folder.VALIDATION_LOGITS, run_folder.logits_bytes(measured, best.epoch))
    if context.development.own_pictures:
        run_images.keep(folder, context.development, recipe.data)
        known = {} if recipe.views.passes > 1 else state.logits
        found = learn(state.evaluated, context.development, allowed_changes(recipe), recipe.precision, known)
        run_detector.write(folder, found)
    checkpoint.prune_states(folder / run_folder.STATES, 1)
    run_folder.write_manifest(folder)


def outcome(finished: run_folder.Run, started: float) -> Outcome:
    """Return the result of a finished run; ``started`` is the call's ``time.perf_counter()``."""
    _, labels = run_folder.read_logits(finished.folder / run_folder.logits_name("validation"))
    correct = round(finished.picked.validation_accuracy * len(labels))
    return Outcome(
        finished.folder, finished.picked, wilson_interval(correct, len(labels)), time.perf_counter() - started
    )
