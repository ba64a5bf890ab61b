"""Several seeds of one recipe side by side, so that an interval costs little more than a single run on a GPU.

A small network leaves most of a GPU idle. Here every seed's step is a branch of one launch, its kernels run beside
those of the others. Each seed has the initial weights, order, augmentation and dropout that it has alone, comes to the
same figures and weights, and ends in a run folder of its own.
"""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from modiste import runtime, storage, training
from modiste.data.dataset import load_development
from modiste.errors import RecipeError, StoppedError
from modiste.models import build_model, layers
from modiste.recipe import Recipe
from modiste.training.group import ALONE
from modiste.training.interruption import Interruption
from modiste.training.learner import Learner
from modiste.training.log import FileLog, Timing
from modiste.training.loop import finish_epoch
from modiste.training.resident import ResidentSteps, SideBySide
from modiste.training.setting import Setting


def run_seeds(
    recipe: Recipe,
    seeds: Sequence[int],
    out: Path | str,
    *,
    device: str = "auto",
    data_folder: Path | str | None = None,
) -> list[Path]:
    """Train ``recipe`` with every seed at once; return the run folders, ``out/NAME-SEED``.

    Finished runs are left as they are. Nothing of an unfinished one is kept when this is stopped.

    Args:
        recipe: what to train; its own seed is not used.
        seeds: one run each, all different.
        out: the folder of the run folders; made if missing.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` ...
        data_folder: as ``load_dataset`` takes it: of Fashion-MNIST, or of data that have moved.

    Raises:
        RecipeError: the recipe asks for what is done for one network alone: patience, transfer.
        DataError, RunError, StorageError, DivergedError, FolderInUseError, StoppedError: as for a single run.
    """
    place = runtime.choose_device(device)
    recipe = runtime.settle_precision(recipe, place)
    check_alike(recipe)
    folders = [Path(out) / f"{recipe.name}-{seed}" for seed in seeds]
    development = load_development(recipe.data, data_folder).to(place)
    training.tell(development)
    task = training.describe_task(development, recipe)
    with contextlib.ExitStack() as stack:
        interruption = stack.enter_context(Interruption())
        learners, settings = [], []
        for folder, seed in zip(folders, seeds, strict=True):
            stack.enter_context(storage.lock(folder))
            own = replace(recipe, seed=seed)
            if not training.claim(folder, own):
                continue
            setting = Setting(own, development, folder, FileLog(folder), interruption)
            model = build_model(own.model, task, seed=seed).to(place)
            training.check_batches(model, len(development.train), own, ALONE)
            training.note_facts(folder, place, ALONE)
            learners.append(training.prepare(model, setting, None, None))
            settings.append(setting)
        if learners:
            fit_seeds(learners, settings)
        for learner, setting in zip(learners, settings, strict=True):
            training.finish(learner, setting, task)
    return folders


def check_alike(recipe: Recipe) -> None:
    """Raise RecipeError when the recipe asks for what is done for one network alone."""
    for name, value in {"patience": recipe.patience, "transfer.source": recipe.transfer.source}.items():
        if value:
            raise RecipeError(f"{name}: not possible with several seeds at once, found {value}; train them one by one")


def fit_seeds(learners: Sequence[Learner], settings: Sequence[Setting]) -> None:
    """Train all learners to the recipe's last epoch, together.

    Raises:
        DivergedError: a loss or gradient of one is not finite.
        StoppedError: a signal asked to stop.
    """
    steps = [ResidentSteps(learner, own) for learner, own in zip(learners, settings, strict=True)]
    together = SideBySide(steps)
    for _ in range(settings[0].recipe.epochs):
        started = time.perf_counter()
        for learner in learners:
            layers.to_training(learner.model)
        with runtime.gpu_arithmetic(settings[0].device):
            for chosen in zip(*(own.batches.choose(own.learner.step) for own in steps), strict=True):
                if settings[0].stop_requested():
                    raise StoppedError(
                        f"stopped on request after step {learners[0].step}; of seeds trained together nothing is kept"
                    )
                together.take(chosen)
        for own in steps:
            own.settle()
        trained = time.perf_counter()
        for learner, setting in zip(learners, settings, strict=True):
            finish_epoch(learner, setting)
            timing = Timing.since(started, trained, len(setting.development.train))
            setting.listener.epoch_done(learner.history[-1], timing)
