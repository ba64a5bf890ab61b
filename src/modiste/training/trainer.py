"""One training run, from a recipe to a folder that holds everything about it."""

import copy
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from modiste import machine
from modiste.data.batch import as_floats
from modiste.data.dataset import Development, ImageSet, load_development, mean_and_deviation
from modiste.errors import DataError, RecipeError, RunError
from modiste.evaluation import run_images
from modiste.evaluation.inference import infer
from modiste.evaluation.out_of_distribution import novelty
from modiste.evaluation.statistics import wilson_interval
from modiste.models import layers
from modiste.models.registry import Task, build_model
from modiste.processes import CoreWatch
from modiste.recipes.plain import differences, to_plain
from modiste.recipes.recipe import Recipe, load
from modiste.runs import checkpoint, manifest, run_folder, storage
from modiste.runs.checkpoint import ModelInfo, State
from modiste.runs.run_folder import EpochRow
from modiste.training.context import Context
from modiste.training.distributed import Group, gathered
from modiste.training.interruption import Interruption
from modiste.training.loop import fit
from modiste.training.state import TrainingState, new_training_state
from modiste.training.tracking import FileLog, Listener, Listeners
from modiste.training.transfer import transfer
from modiste.training.transfer.source import Source
from modiste.training.warm_start.progress import Progress
from modiste.training.warm_start.warm_starts import WARM_STARTS


@dataclass(frozen=True)
class Outcome:
    """What a finished run came to.

    Attributes:
        folder: where everything is.
        picked: the epoch whose weights are the model.
        interval: 95 % interval of its validation accuracy.
        seconds: spent by this call.
    """

    folder: Path
    picked: EpochRow
    interval: tuple[float, float]
    seconds: float


def run(
    recipe: Recipe,
    out: Path | str,
    *,
    device: str = "auto",
    data_folder: Path | str | None = None,
    transfer_from: Path | str | Source | None = None,
    listeners: Sequence[Listener] = (),
) -> Outcome:
    """Train ``recipe`` into the folder ``out``, going on where an earlier call was stopped or killed.

    The weights, optimizer state and log are byte for byte those of a run that nobody stopped, on the same kind of
    machine with the same number of threads. A finished run is not trained again.

    torch's threads, its settings and the signal handlers are as before when this returns. One thing stays: from here on
    the process keeps the memory that it frees, where its C library is glibc; see ``runtime.keep_memory``.

    Args:
        recipe: what to train; ``auto`` precision is settled by the device.
        out: the run folder; made if missing.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` ...
        data_folder: as ``load_dataset`` takes it: of Fashion-MNIST, or of data that have moved.
        transfer_from: what to take weights from: a run folder, safetensors file or ``hub:OWNER/NAME`` whose hash the
            recipe names.
        listeners: told of every step and epoch.

    Raises:
        DataError, RecipeError, RunError, StorageError, DivergedError, FolderInUseError, StoppedError.
    """
    started, watch, place = time.perf_counter(), CoreWatch(), machine.choose_device(device)
    with (
        gathered() as group,
        group.folder(Path(out)) as folder,
        storage.lock(folder),
        Interruption() as interruption,
        machine.threads_restored(),
    ):
        place = group.device(place)
        recipe = group.of_leader(machine.settle_precision(recipe, place, folder / run_folder.RECIPE))
        check_group(recipe, group)
        if not group.of_leader(claim(folder, recipe)):
            return outcome(Path(out), started)
        development = load_development(recipe.data, data_folder).to(place)
        if group.rank == 0:
            tell(development)
        task = describe_task(development, recipe)
        model = build_model(recipe.model, task, seed=recipe.seed).to(place)
        check_batches(model, development.train, recipe, group)
        state = group.of_leader(newest_state(folder, development.fingerprint))
        settle_threads(folder, watch)
        note_facts(folder, place, group)
        listener = Listeners([FileLog(folder), *listeners])
        context = Context(recipe, development, folder, listener, interruption, group)
        try:
            learner = prepare(model, context, state, transfer_from)
            learner.network = group.join(model)
            listener.started(recipe, context.steps_per_epoch, learner.history, learner.step)
            fit(learner, context)
        finally:
            listener.stopped()
        finish(learner, context, task)
        return outcome(folder, started)


def claim(folder: Path, recipe: Recipe) -> bool:
    """Enter the recipe into a new folder, or check it against the folder's own; False if that run has finished.

    Where another recipe was refused or stopped before there was anything to keep, this one takes its place.
    """
    path = folder / run_folder.RECIPE
    run_folder.require_inside(folder, run_folder.WRITTEN)
    if not path.exists():
        if foreign := run_folder.foreign_files(folder):
            raise RunError(f"{folder}: not a run folder and not empty ({foreign[0]}); choose another with --out")
    elif changes := differences(load(path), recipe):
        if not run_folder.is_unbegun(folder):
            raise RunError(
                f"{folder}: holds a run of another recipe ({'; '.join(changes)}); "
                "give the command that started it, or another --out"
            )
        run_folder.clear(folder)
    storage.remove_leftovers(folder)
    if not path.exists():
        storage.write_json(path, to_plain(recipe))
        return True
    return not (folder / manifest.NAME).exists()


def check_group(recipe: Recipe, group: Group) -> None:
    """Raise RecipeError for what only a process by itself can do."""
    if not group.is_alone and recipe.transfer.source:
        raise RecipeError(f"transfer is for one process; found {group.size} under torchrun")


def check_batches(model: nn.Module, train: ImageSet, recipe: Recipe, group: Group) -> None:
    """Raise RecipeError where a batch has no image for some process, or a single one that the network cannot train on.

    Args:
        model: on the device of the images.
        train: images to learn from.
        recipe: says how many images make a batch, and which weights are frozen.
        group: the processes that share a batch.
    """
    smallest = len(train) % recipe.batch_size or recipe.batch_size
    if smallest < group.size:
        raise RecipeError(
            f"batch_size: expected batches of at least an image for each of {group.size} processes, found one of "
            f"{smallest} among the {len(train)} training images"
        )
    if smallest == 1 and not trains_on_one(model, train, recipe):
        raise RecipeError(
            f"batch_size: expected one that leaves no batch of a single of the {len(train)} training images, over "
            f"which this network's batch normalisation is not defined, found {recipe.batch_size}"
        )


def trains_on_one(model: nn.Module, train: ImageSet, recipe: Recipe) -> bool:
    """Tell whether the network can be trained on a batch of one image, by passing one through a copy of it."""
    probe = copy.deepcopy(model)
    transfer.freeze(probe, recipe.transfer.freeze)
    layers.to_training(probe)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            probe(as_floats(train.images[:1]))
    except ValueError:  # torch's, of too few values to normalise
        return False
    return True


def tell(development: Development) -> None:
    """Warn of what a person should know of the images before they are trained on."""
    for note in development.notes:
        logging.getLogger(__name__).warning("%s", note)


def describe_task(development: Development, recipe: Recipe) -> Task:
    """Gather what the network must know of the images; without standardisation mean 0 and deviation 1."""
    mean, deviation = mean_and_deviation(development.train.images) if recipe.standardize else (0.0, 1.0)
    if deviation == 0:
        raise DataError(
            f"{recipe.data.source}: every training pixel has the same value, which leaves nothing to standardise by; "
            "expected different pixels; check the images, or switch --standardize off"
        )
    return Task(
        image_shape=development.image_shape,
        class_names=development.class_names,
        mean=mean,
        deviation=deviation,
    )


def prepare(
    model: nn.Module, context: Context, state: State | None, transfer_from: Path | str | Source | None
) -> TrainingState:
    """Return the learner that ``state`` holds, or a new one after warm start and transfer; the warm start is saved."""
    recipe, begun = context.recipe, state is not None
    machine.keep_memory()
    if not begun:
        progress = Progress(recipe, context.listener, context.interruption)
        with machine.gpu_arithmetic(context.device):
            WARM_STARTS[recipe.warm_start](model, context.development, recipe, progress)
    taken = take_weights(model, context, transfer_from, begun=begun)
    learner = new_training_state(model, recipe, taken)
    if state is not None:
        learner.restore(state)
    elif recipe.warm_start != "none":
        learner.save(context.folder / run_folder.STATES, context.development.fingerprint)
    return learner


def take_weights(
    model: nn.Module, context: Context, source: Path | str | Source | None, *, begun: bool
) -> frozenset[str]:
    """Transfer and freeze as the recipe says; return the names of tensors taken, now or when the run began."""
    recipe = context.recipe
    transfer.freeze(model, recipe.transfer.freeze)
    if not recipe.transfer.source:
        return frozenset()
    if begun:
        return transfer.read_report(context.folder).taken
    report = transfer.transfer(model, source, recipe.transfer, context.folder)
    context.listener.transferred(report)
    return report.taken


def newest_state(folder: Path, fingerprint: str) -> State | None:
    """Return the folder's newest sound state, None if there is none; RunError if it is of other data."""
    state = checkpoint.load_state(folder / run_folder.STATES)
    if state is None:
        return None
    for complaint in state.complaints:
        logging.getLogger(__name__).error("%s; going on from the state before it", complaint)
    if state.plain["fingerprint"] != fingerprint:
        raise RunError(
            f"{folder}: was trained on other data (fingerprint {state.plain['fingerprint'][:16]}, "
            f"found {fingerprint[:16]}); restore the data, or choose another --out"
        )
    return state


def settle_threads(folder: Path, watch: CoreWatch) -> None:
    """Let torch use as many threads as cores are free, or as the run began with, for they decide its last bits.

    Where OMP_NUM_THREADS says how many, it holds.
    """
    if "OMP_NUM_THREADS" in os.environ:
        return
    starts, allowed = starts_of(folder), torch.get_num_threads()
    wanted = starts[0].get("threads") if starts else min(allowed, watch.free())
    if isinstance(wanted, int) and 1 <= wanted <= len(watch.cores):
        torch.set_num_threads(wanted)
        if wanted < allowed and not starts:
            logging.getLogger(__name__).warning(
                "other processes are busy: training with %s of %s threads; OMP_NUM_THREADS overrules this",
                wanted,
                allowed,
            )


def note_facts(folder: Path, device: torch.device, group: Group) -> None:
    """Add this machine and its versions to the run's facts."""
    facts = machine.facts(device) | {"processes": group.size}
    storage.write_hashed_json(folder / run_folder.FACTS, {"starts": [*starts_of(folder), facts]})


def starts_of(folder: Path) -> list[dict[str, Any]]:
    """Return the facts of every start of the run so far; RunError when their file is damaged."""
    path = folder / run_folder.FACTS
    return run_folder.starts(path) if path.exists() else []


def finish(learner: TrainingState, context: Context, task: Task) -> None:
    """Write the models, the validation logits and the manifest: the run is complete."""
    recipe, folder, validation = context.recipe, context.folder, context.development.validation
    best = run_folder.picked(learner.history, recipe)
    info = ModelInfo(recipe, task, best.epoch, context.development.fingerprint)
    last = replace(info, epoch=learner.history[-1].epoch)
    checkpoint.save_model(folder / run_folder.WEIGHTS["last"], learner.evaluated.state_dict(), last)
    checkpoint.save_model(folder / run_folder.WEIGHTS["picked"], learner.chosen, info)
    learner.evaluated.load_state_dict(learner.chosen)
    logits = infer(learner.evaluated, validation.images, recipe)
    measured = run_folder.Measured(logits, validation.labels.cpu(), validation.identity())
    storage.write_bytes(folder / run_folder.VALIDATION_LOGITS, run_folder.logits_bytes(measured, best.epoch))
    if context.development.own_pictures:
        run_images.keep(folder, context.development)
        novelty.write(folder, novelty.learn(learner.evaluated, context.development))
    checkpoint.prune_states(folder / run_folder.STATES, 1)
    run_folder.write_manifest(folder)


def outcome(folder: Path, started: float) -> Outcome:
    """Read back what the finished run in ``folder`` came to."""
    finished = run_folder.open_run(folder)
    _, labels = run_folder.read_logits(folder / run_folder.logits_name("validation"))
    correct = round(finished.picked.validation_accuracy * len(labels))
    return Outcome(folder, finished.picked, wilson_interval(correct, len(labels)), time.perf_counter() - started)
