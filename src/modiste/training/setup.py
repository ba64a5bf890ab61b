"""The set-up of a training run: everything that it needs before its first step."""

import copy
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from modiste import machine
from modiste.data.augment import check_own_augmentation
from modiste.data.batch import as_floats
from modiste.data.by_class import check_labels
from modiste.data.dataset import Development, ImageSet, channel_statistics, load_development, mean_and_deviation
from modiste.errors import DataError, RecipeError, RunError, StorageError
from modiste.models import layers
from modiste.models.layers import Statistic
from modiste.models.own_network import check_own
from modiste.models.registry import Task, build_model
from modiste.recipes.networks import CapsNetRecipe, OwnNetworkRecipe
from modiste.recipes.own_code import path_in
from modiste.recipes.plain import demand, differences, to_plain
from modiste.recipes.recipe import Recipe
from modiste.runs import checkpoint, manifest, run_folder, storage
from modiste.system.processes import CoreWatch, Interruption
from modiste.training.distillation import Teachers, load_teachers
from modiste.training.distributed import ALONE, Group
from modiste.training.loop import out_of_patience
from modiste.training.objectives import check_loss
from modiste.training.schedules import depends_on_length
from modiste.training.state import Context
from modiste.training.tracking import Listener
from modiste.training.transfer import backbones, transfer
from modiste.training.transfer.source import Source

SAVED_MEAN = "model:standardize.mean"
"""Name of the mean in a saved training state."""


@dataclass(frozen=True)
class Inputs:
    """Where a run finds what its recipe names: images, weights to start from, and teachers.

    Attributes:
        data: Images in memory, in place of those that the recipe names. Or the folder of Fashion-MNIST, or of data that
            have moved, as ``load_dataset`` takes it.
        transfer_from: The source of weights whose hash the recipe names: a run folder, a safetensors file or
            ``hub:OWNER/NAME``.
        teachers: Folders of the finished runs that the recipe names as teachers.
        fingerprint: Fingerprint that the images must have; empty for any.
    """

    data: Development | Path | str | None = None
    transfer_from: Path | str | Source | None = None
    teachers: Sequence[Path | str] = ()
    fingerprint: str = ""


NO_INPUTS = Inputs()
"""Nothing is given: images and published weights are found by what the recipe names."""


@dataclass(frozen=True)
class Session:
    """What all runs of one call share.

    Attributes:
        device: Where this process computes.
        group: The processes that train together.
        interruption: Requests to stop, from signals.
        watch: Measures how many cores are free, from the start of the call.
        threads: Threads of torch; None for as many as there are free cores.
    """

    device: torch.device
    group: Group
    interruption: Interruption
    watch: CoreWatch
    threads: int | None = None


@contextmanager
def open_session(device: str = "auto", group: Group = ALONE, watch: CoreWatch | None = None) -> Iterator[Session]:
    """Choose the device and catch signals; at the end restore the signal handlers and torch's number of threads.

    Args:
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` ...
        group: The processes that train together.
        watch: One that began earlier; a new one if None.

    Raises:
        RecipeError: The device cannot be used here.
    """
    watch, place = watch or CoreWatch(), machine.choose_device(device)
    with Interruption() as interruption, machine.threads_restored():
        yield Session(group.device(place), group, interruption, watch)


@dataclass(frozen=True)
class RunSetUp:
    """A run before its first step, or before the next one.

    Attributes:
        recipe: What to train, its precision settled.
        folder: Folder of the run; holds the recipe.
        development: The images, on the session's device.
        task: What the network must know of the images.
        model: A new network, on the same device.
        saved: The newest training state in the folder; None if there is none.
        teachers: Whose answers the network learns from; None without any.
        session: What the run shares with others of the same call.
    """

    recipe: Recipe
    folder: Path
    development: Development
    task: Task
    model: nn.Module
    saved: checkpoint.State | None
    teachers: Teachers | None
    session: Session

    def context(self, listener: Listener) -> Context:
        """Return what stays the same during training; ``listener`` is notified of every step and epoch."""
        session = self.session
        return Context(
            self.recipe, self.development, self.folder, listener, session.interruption, session.group, self.teachers
        )


def set_up(recipe: Recipe, folder: Path, session: Session, inputs: Inputs = NO_INPUTS) -> RunSetUp | None:
    """Settle the precision, claim the folder, load the images, build the network, and check the batches.

    Returns everything that a run needs before its first step. If the run in ``folder`` has finished, returns None and
    loads no images.

    Args:
        recipe: What to train.
        folder: Folder of the run. The caller holds its lock; a temporary folder needs none.
        session: Session of the call.
        inputs: What the recipe names. Notes about images that are loaded here are logged as warnings.

    Raises:
        DataError: Images are missing, damaged, too few, or all of one value.
        MissingExtraError: The recipe names published weights that are not installed.
        RecipeError: The recipe cannot be trained on these images or with these processes, or code that is not Modiste's
            does not do what it must.
        RunError: The folder holds something else, a run of another recipe or of other images, or a damaged file; or a
            teacher is missing, unfinished or damaged.
        StorageError: The folder cannot be written.
    """
    group, device = session.group, session.device
    recipe = group.of_leader(partial(settle, recipe, device, folder))
    check_group(recipe, group)
    if not group.of_leader(partial(claim, folder, recipe)):
        return None
    machine.keep_memory()
    check_backbone(recipe)
    development = images_of(recipe, inputs, session)
    saved = group.of_leader(partial(newest_state, folder, development.fingerprint))
    if saved is None:
        check_new(recipe)
    task = describe_task(development, recipe, of_channels=saved is None or saved.tensors[SAVED_MEAN].ndim > 0)
    check_by_class(recipe, task, group)
    model = build_model(recipe.model, task, seed=recipe.seed).to(device)
    check_own_code(recipe, model, task, development.train)
    check_batches(model, development.train, recipe, group)
    teachers = load_teachers(recipe.distillation, inputs.teachers, development)
    return RunSetUp(recipe, folder, development, task, model, saved, teachers, session)


def settle(recipe: Recipe, device: torch.device, folder: Path) -> Recipe:
    """Return the recipe with a definite precision: that of the run in the folder, if the recipe continues it.

    A run keeps its precision on every machine, and what the version that began it did.

    Raises:
        RunError, RecipeError: The recipe in the folder cannot be read.
    """
    if (folder / run_folder.RECIPE).exists():
        begun, wanted = run_folder.read_recipe(folder), run_folder.as_begun(recipe, folder)
        if wanted in (begun, replace(begun, precision="auto")):
            return begun
    return machine.settle_precision(recipe, device)


def check_group(recipe: Recipe, group: Group) -> None:
    """Raise RecipeError if several processes train together and the recipe is for one."""
    found = {
        "transfer": recipe.transfer.source,
        "data_pruning": recipe.data_pruning,
        "a network of your own": recipe.own_code.get("network"),  # its batch normalisation would see a share alone
    }
    for what, value in found.items():
        if value and not group.is_alone:
            raise RecipeError(f"{what} is for one process; found {group.size} under torchrun")


def check_new(recipe: Recipe) -> None:
    """Raise RecipeError if a new run would not learn as the recipe says.

    Earlier versions trained such runs, which can still be read and go on. So the recipe alone is no error.
    """
    if not recipe.epochs:
        fitted = "without epochs, as only cross-entropy fits the last layer"
        demand(not recipe.own.loss, "own.loss", f"none {fitted}", recipe.loss_name)
        demand(recipe.objective == "cross-entropy", "objective", f"cross-entropy {fitted}", recipe.objective)
    if recipe.distillation.teachers:
        returns_logits = not isinstance(recipe.model, CapsNetRecipe)
        demand(returns_logits, "model.kind", "a network that returns logits with a teacher", recipe.model.KIND)


def check_backbone(recipe: Recipe) -> None:
    """Raise MissingExtraError, DataError or StorageError if the recipe names published weights that cannot be read."""
    if backbone := backbones.of_hash(recipe.transfer.source):
        backbones.locate(backbone)


def check_by_class(recipe: Recipe, task: Task, group: Group) -> None:
    """Raise RecipeError if ``by_class`` names a label of no class. The leader logs what may surprise."""
    notes = check_labels(recipe.by_class, task.class_names)
    if group.rank == 0:
        for note in notes:
            logging.getLogger(__name__).warning("%s", note)


def check_complete(recipe: Recipe, work: str) -> None:
    """Raise RecipeError if the recipe names files of other runs, and the work takes none.

    Args:
        recipe: May name published weights, which are found by their hash.
        work: Such as ``a search``, for the message.
    """
    source, teachers = recipe.transfer.source, recipe.distillation.teachers
    if source and not backbones.of_hash(source):
        raise RecipeError(
            f"transfer.source: expected published weights or none in {work}, found those of a file with SHA-256 "
            f"{source[:16]}...; leave it out, or train a run from that file: docs/transfer.md"
        )
    if teachers:
        raise RecipeError(
            f"distillation.teachers: expected none in {work}, found {len(teachers)}; leave them out, or train a run "
            "with them: docs/distillation.md"
        )


def claim(folder: Path, recipe: Recipe) -> bool:
    """Write the recipe into a new folder, or compare it with the folder's own; return False if that run has finished.

    If the folder's run ended before its training began, the new recipe replaces its recipe. A recipe that a person
    wrote is not replaced.

    Raises:
        RunError: The folder holds other files, or a run of another recipe.
    """
    path = folder / run_folder.RECIPE
    run_folder.require_inside(folder, run_folder.WRITTEN)
    if not path.exists():
        if foreign := run_folder.foreign_files(folder):
            raise RunError(f"{folder}: not a run folder and not empty ({foreign[0]}); choose another with --out")
    elif changes := differences(run_folder.read_recipe(folder), run_folder.as_begun(recipe, folder)):
        if not run_folder.is_unbegun(folder):
            raise RunError(f"{folder}: holds a run of another recipe ({'; '.join(changes)}); {_remedy(folder, recipe)}")
        run_folder.clear(folder)
    storage.remove_leftovers(folder)
    if not path.exists():
        storage.write_json(path, to_plain(recipe))
        return True
    return not (folder / manifest.NAME).exists()


def _remedy(folder: Path, recipe: Recipe) -> str:
    """Return what a person can do where a folder holds a run of another recipe."""
    if can_continue(folder, recipe):
        return f"to train it on: modiste train --continue-from {folder} --epochs {recipe.epochs}"
    return "give the command that started it, or another --out"


def can_continue(folder: Path, recipe: Recipe) -> bool:
    """Return whether a folder holds a finished run that can be trained on until it is one of this recipe.

    A run that is out of patience cannot, though it may have reached its last epoch.
    """
    try:
        before, recipe = run_folder.read_recipe(folder), run_folder.as_begun(recipe, folder)
        is_shorter = 0 < before.epochs < recipe.epochs and replace(before, epochs=recipe.epochs) == recipe
        if not is_shorter or depends_on_length(before):
            return False  # without reading the files of the run
        history = list(run_folder.open_run(folder).history)
    except (RecipeError, RunError, StorageError):
        return False
    return len(history) == before.epochs and not out_of_patience(history, before)


def images_of(recipe: Recipe, inputs: Inputs, session: Session) -> Development:
    """Return the images on the session's device. The leader logs the notes about images that are loaded here.

    Raises:
        DataError: The images are missing or damaged.
        RunError: They have another fingerprint than the inputs demand.
    """
    if isinstance(inputs.data, Development):
        development = inputs.data
    else:
        development = load_development(recipe.data, inputs.data)
        for note in development.notes if session.group.rank == 0 else ():
            logging.getLogger(__name__).warning("%s", note)
    if inputs.fingerprint not in ("", development.fingerprint):
        raise RunError(
            f"{recipe.data.source}: holds other images than those of earlier runs; restore them, or begin again with "
            "another --out (and --study)"
        )
    return development.to(session.device)


def describe_task(development: Development, recipe: Recipe, *, of_channels: bool = True) -> Task:
    """Return what the network must know of the images; without standardisation mean 0 and deviation 1.

    A network with published weights takes the mean and deviation that these expect.

    Args:
        development: The images.
        recipe: Says whether they are standardised.
        of_channels: Whether each channel of a colour picture has a mean and a deviation of its own. A run that an
            earlier version began has one for all.

    Raises:
        DataError: All training pixels have the same value, and the recipe standardises.
    """
    mean, deviation = _standardization(development, recipe, of_channels=of_channels)
    if not torch.tensor(deviation).all():
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


def _standardization(development: Development, recipe: Recipe, *, of_channels: bool) -> tuple[Statistic, Statistic]:
    """Return the mean and deviation for ``describe_task``."""
    if published := recipe.model.standardization():
        return published
    if not recipe.standardize:
        return 0.0, 1.0
    images = development.train.images
    return channel_statistics(images) if of_channels and images.shape[1] > 1 else mean_and_deviation(images)


def check_own_code(recipe: Recipe, model: nn.Module, task: Task, train: ImageSet) -> None:
    """Try network, loss and augmentation that are not Modiste's; warnings are logged.

    Args:
        recipe: Names them.
        model: The network.
        task: The images and classes.
        train: Images to learn from, which may have weights.

    Raises:
        RecipeError: One of them does not do what it must.
        RunError: One of them is not registered in this process.
    """
    classes = len(task.class_names)
    if isinstance(recipe.model, OwnNetworkRecipe):
        for warning in check_own(model, path_in(recipe.model.code), task.image_shape, classes):
            logging.getLogger(__name__).warning("%s", warning)
    check_loss(recipe, classes, have_weights=bool(recipe.balance) or train.weights is not None)
    check_own_augmentation(recipe.own.augmentation, task.image_shape, classes)


def check_batches(model: nn.Module, train: ImageSet, recipe: Recipe, group: Group) -> None:
    """Check that no batch is too small for the processes or for the network.

    Args:
        model: On the device of the images.
        train: Images to learn from.
        recipe: Gives the batch size and the frozen weights.
        group: The processes that share a batch.

    Raises:
        RecipeError: A batch has too few images.
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
    """Tell whether the network can be trained on a batch of one image. Passes one through a copy of the network."""
    probe = copy.deepcopy(model)
    transfer.freeze(probe, recipe.transfer.freeze)
    layers.to_training(probe, keep_statistics=recipe.transfer.keep_statistics)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            probe(as_floats(train.images[:1]))
    except ValueError:  # torch raises it if there are too few values to normalise
        return False
    return True


def newest_state(folder: Path, fingerprint: str) -> checkpoint.State | None:
    """Return the newest sound training state in the run folder, or None if there is none.

    Raises:
        RunError: The state comes from other images than those of ``fingerprint``.
    """
    saved = checkpoint.load_state(folder / run_folder.STATES)
    if saved is None:
        return None
    for complaint in saved.complaints:
        logging.getLogger(__name__).error("%s; going on from the state before it", complaint)
    if saved.plain["fingerprint"] != fingerprint:
        before, now = (
            "+".join(part[:16] for part in one.split("+")) for one in (saved.plain["fingerprint"], fingerprint)
        )
        raise RunError(
            f"{folder}: was trained on other data (fingerprint {before}, found {now}); "
            "restore the data, or choose another --out"
        )
    return saved


def settle_threads(folder: Path, watch: CoreWatch, threads: int | None = None) -> None:
    """Set torch's number of threads to that of the run's first start; for a new run, to the number of free cores.

    The number of threads decides the last bits of a run. OMP_NUM_THREADS overrules this function, and so does
    ``threads``, which takes the number as it is.
    """
    if "OMP_NUM_THREADS" in os.environ:
        return
    if threads is not None:
        torch.set_num_threads(threads)
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


def note_facts(context: Context) -> None:
    """Add a start of the run, with this machine and its versions, to the run's facts."""
    facts = machine.facts(context.device) | {"processes": context.group.size}
    storage.write_hashed_json(context.folder / run_folder.FACTS, {"starts": [*starts_of(context.folder), facts]})


def starts_of(folder: Path) -> list[dict[str, Any]]:
    """Return the facts of every start of the run so far; RunError if their file is damaged."""
    path = folder / run_folder.FACTS
    return run_folder.starts(path) if path.exists() else []
