"""The training loop: batch, step, schedule; after each epoch validate, pick, save, tell."""

import time
from math import isfinite

from modiste import machine
from modiste.data.dataset import ImageSet
from modiste.errors import DivergedError, StoppedError
from modiste.evaluation import metrics
from modiste.evaluation.inference import infer
from modiste.models import layers
from modiste.recipes.recipe import Recipe
from modiste.runs import run_folder
from modiste.runs.run_folder import EpochRow
from modiste.training.context import Context
from modiste.training.cuda_graph import ResidentSteps, can_stay
from modiste.training.schedules import learning_rate
from modiste.training.state import TrainingState
from modiste.training.step import ADVICE, Steps
from modiste.training.tracking import Timing


def fit(learner: TrainingState, context: Context) -> None:
    """Train until the recipe's last epoch, or until patience runs out, from wherever the learner stands.

    A state is written after each epoch; where epochs are shorter than the steps' ``SECONDS_BETWEEN_STATES``, after some
    and the last.

    Raises:
        DivergedError: a loss or gradient is not finite; the step was not applied, the last state is on disk.
        StoppedError: a signal asked to stop; the state after the last step is on disk.
    """
    recipe = context.recipe
    steps = ResidentSteps(learner, context) if can_stay(context) else Steps(learner, context)
    saved = time.monotonic()
    while not is_over(learner.history, recipe):
        if context.stop_requested():
            _save_and_stop(learner, context)
        started, first_step = time.perf_counter(), learner.step
        train_epoch(learner, context, steps)
        trained = time.perf_counter()
        finish_epoch(learner, context)
        if is_over(learner.history, recipe) or time.monotonic() - saved >= steps.SECONDS_BETWEEN_STATES:
            learner.save(context.folder / run_folder.STATES, context.development.fingerprint)
            saved = time.monotonic()
        images = min((learner.step - first_step) * recipe.batch_size, len(context.development.train))
        context.listener.epoch_done(learner.history[-1], Timing.since(started, trained, images))


def train_epoch(learner: TrainingState, context: Context, steps: Steps) -> None:
    """Take the steps that are left of the epoch under way."""
    layers.to_training(learner.model)
    with machine.gpu_arithmetic(context.device):
        for chosen in steps.batches.choose(learner.step):
            if context.stop_requested():
                steps.settle()
                _save_and_stop(learner, context)
            steps.take(chosen)
            context.listener.step_done(learner.step)
    steps.settle()


def finish_epoch(learner: TrainingState, context: Context) -> None:
    """Measure the validation set, enter the epoch into the history, and keep its weights if they are picked."""
    recipe, validation = context.recipe, context.development.validation
    loss, accuracy = validate(learner, validation, recipe)
    images = len(context.development.train)
    row = EpochRow(
        epoch=len(learner.history) + 1,
        step=learner.step,
        learning_rate=learning_rate(recipe, learner.step - 1, context.steps_per_epoch),
        train_loss=learner.loss_sum / images,
        train_accuracy=learner.correct / images,
        validation_loss=loss,
        validation_accuracy=accuracy,
    )
    if not isfinite(loss):
        raise DivergedError(f"the validation loss after epoch {row.epoch} is {loss}; {ADVICE}")
    learner.history.append(row)
    learner.pick(recipe)
    learner.loss_sum, learner.correct = 0.0, 0


def validate(learner: TrainingState, validation: ImageSet, recipe: Recipe) -> tuple[float, float]:
    """Return cross-entropy and accuracy on the validation images."""
    logits = infer(learner.evaluated, validation.images, recipe)
    labels = validation.labels.cpu()
    return metrics.cross_entropy(logits, labels), metrics.accuracy(logits, labels)


def is_over(history: list[EpochRow], recipe: Recipe) -> bool:
    """Tell whether the last epoch is done, or patience is at its end."""
    return len(history) >= recipe.epochs or out_of_patience(history, recipe)


def out_of_patience(history: list[EpochRow], recipe: Recipe) -> bool:
    """Tell whether validation accuracy has not risen for as many epochs as the recipe waits."""
    if not recipe.patience or not history:
        return False
    best = max(history, key=lambda row: row.validation_accuracy)
    return len(history) - best.epoch >= recipe.patience


def _save_and_stop(learner: TrainingState, context: Context) -> None:
    learner.save(context.folder / run_folder.STATES, context.development.fingerprint)
    raise StoppedError(
        f"stopped on request after step {learner.step}; everything is saved in {context.folder}, "
        "and the same command goes on from here"
    )
