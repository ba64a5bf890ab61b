"""The training loop: batch, step, schedule; after each epoch validate, pick, save, tell."""

import time
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

import torch
from torch import Tensor

from modiste import run_folder, runtime
from modiste.data.batch import Batch
from modiste.data.batches import batches, steps_per_epoch
from modiste.data.dataset import Development, ImageSet
from modiste.errors import DivergedError, StoppedError
from modiste.evaluation import metrics
from modiste.evaluation.inference import infer
from modiste.models import layers
from modiste.recipe import Recipe
from modiste.run_folder import EpochRow
from modiste.training.group import ALONE, Group
from modiste.training.interruption import Interruption
from modiste.training.learner import Learner
from modiste.training.log import Listener, Timing
from modiste.training.objectives import OBJECTIVES
from modiste.training.optimizers import gradient_norm, set_learning_rate
from modiste.training.schedules import factor


@dataclass(frozen=True)
class Fit:
    """What stays the same while a learner learns."""

    recipe: Recipe
    development: Development
    folder: Path
    listener: Listener
    interruption: Interruption
    group: Group = ALONE

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.development.class_names)

    @property
    def steps_per_epoch(self) -> int:
        """Steps in one pass over the training images."""
        return steps_per_epoch(len(self.development.train), self.recipe.batch_size)

    def stop_requested(self) -> bool:
        """Tell whether a signal asked this process, or one that trains with it, to stop."""
        return self.group.any(self.interruption.requested)


def fit(learner: Learner, setting: Fit) -> None:
    """Train until the recipe's last epoch, or until patience runs out, from wherever the learner stands.

    Raises:
        DivergedError: a loss or gradient is not finite; the step was not applied, the last epoch's state is on disk.
        StoppedError: a signal asked to stop; the state after the last step is on disk.
    """
    recipe = setting.recipe
    generator = torch.Generator(setting.development.train.labels.device)
    layers.share_generator(learner.model, generator)
    while len(learner.history) < recipe.epochs and not out_of_patience(learner.history, recipe):
        if setting.stop_requested():
            _save_and_stop(learner, setting)
        started, first_step = time.perf_counter(), learner.step
        train_epoch(learner, setting, generator)
        trained = time.perf_counter()
        finish_epoch(learner, setting)
        learner.save(setting.folder / run_folder.STATES, setting.development.fingerprint)
        images = min((learner.step - first_step) * recipe.batch_size, len(setting.development.train))
        setting.listener.epoch_done(learner.history[-1], Timing.since(started, trained, images))


def train_epoch(learner: Learner, setting: Fit, dropout: torch.Generator) -> None:
    """Take the steps that are left of the epoch under way; each seeds the generator that dropout draws from."""
    recipe, train = setting.recipe, setting.development.train
    layers.to_training(learner.model)
    for batch in batches(train, recipe, setting.classes, learner.step):
        if setting.stop_requested():
            _save_and_stop(learner, setting)
        set_learning_rate(learner.optimizer, learning_rate(recipe, learner.step, setting.steps_per_epoch))
        if not setting.group.is_alone:
            layers.share_generator(learner.model, dropout, setting.group.part(len(batch)))
        dropout.manual_seed(runtime.seed_for(recipe.seed, "dropout", learner.step))
        train_step(learner, batch, recipe, setting.group)
        setting.listener.step_done(learner.step)


def train_step(learner: Learner, batch: Batch, recipe: Recipe, group: Group = ALONE) -> None:
    """Take one step, unless its loss or gradient is not finite: then raise DivergedError before any weight moves."""
    part = group.part(len(batch))
    mine = batch[part.first : part.last]
    with runtime.autocast(recipe.precision, mine.images.device):
        logits = learner.network(mine.images)
    loss = OBJECTIVES[recipe.objective](logits.to(mine.targets.dtype), mine.targets, mine.weights)
    loss = loss + layers.auxiliary_loss(learner.model, mine.images, mine.targets)
    learner.optimizer.zero_grad()
    group.weighted(loss, part).backward()  # type: ignore[no-untyped-call]
    norm = gradient_norm(learner.model)
    loss_sum, correct = group.sums(loss.item() * len(part), float(_count_correct(logits, mine.targets)))
    _check_finite(loss_sum / part.whole, norm.item(), learner.step)
    if recipe.optimizer.clip_norm:
        torch.nn.utils.clip_grads_with_norm_(learner.model.parameters(), recipe.optimizer.clip_norm, norm)
    learner.optimizer.step()
    if learner.average is not None:
        learner.average.update_parameters(learner.model)
    learner.step += 1
    learner.loss_sum += loss_sum
    learner.correct += int(correct)


def finish_epoch(learner: Learner, setting: Fit) -> None:
    """Measure the validation set, enter the epoch into the history, and keep its weights if they are picked."""
    recipe, validation = setting.recipe, setting.development.validation
    loss, accuracy = validate(learner, validation, recipe)
    images = len(setting.development.train)
    row = EpochRow(
        epoch=len(learner.history) + 1,
        step=learner.step,
        learning_rate=learning_rate(recipe, learner.step - 1, setting.steps_per_epoch),
        train_loss=learner.loss_sum / images,
        train_accuracy=learner.correct / images,
        validation_loss=loss,
        validation_accuracy=accuracy,
    )
    if not isfinite(loss):
        raise DivergedError(f"the validation loss after epoch {row.epoch} is {loss}; {_ADVICE}")
    learner.history.append(row)
    learner.pick(recipe)
    learner.loss_sum, learner.correct = 0.0, 0


def validate(learner: Learner, validation: ImageSet, recipe: Recipe) -> tuple[float, float]:
    """Return cross-entropy and accuracy on the validation images."""
    logits = infer(learner.evaluated, validation.images, recipe)
    labels = validation.labels.cpu()
    return metrics.cross_entropy(logits, labels), metrics.accuracy(logits, labels)


def learning_rate(recipe: Recipe, step: int, steps_in_epoch: int) -> float:
    """Return the learning rate of a step; the schedule is read at the step's middle, never at its zero."""
    progress = (step + 0.5) / (recipe.epochs * steps_in_epoch)
    return recipe.optimizer.learning_rate * factor(recipe.schedule, progress)


def out_of_patience(history: list[EpochRow], recipe: Recipe) -> bool:
    """Tell whether validation accuracy has not risen for as many epochs as the recipe waits."""
    if not recipe.patience or not history:
        return False
    best = max(history, key=lambda row: row.validation_accuracy)
    return len(history) - best.epoch >= recipe.patience


_ADVICE = "try a smaller --optimizer.learning-rate, --schedule.warm-up or --optimizer.clip-norm"


def _check_finite(loss: float, norm: float, step: int) -> None:
    if not (isfinite(loss) and isfinite(norm)):
        what = f"the loss is {loss}" if not isfinite(loss) else f"the gradient's norm is {norm}"
        raise DivergedError(f"step {step + 1}: {what}; the step was not applied; {_ADVICE}")


def _count_correct(logits: Tensor, targets: Tensor) -> int:
    return int((logits.argmax(1) == targets.argmax(1)).sum())


def _save_and_stop(learner: Learner, setting: Fit) -> None:
    learner.save(setting.folder / run_folder.STATES, setting.development.fingerprint)
    raise StoppedError(
        f"stopped on request after step {learner.step}; everything is saved in {setting.folder}, "
        "and the same command goes on from here"
    )
