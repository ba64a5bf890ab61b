"""The training loop: batch, schedule, step; after each epoch validate, select, save, report."""

import time
from math import isfinite

from modiste import machine
from modiste.errors import DivergedError, StoppedError
from modiste.evaluation import metrics
from modiste.evaluation.inference import infer
from modiste.models import layers
from modiste.recipes.recipe import Recipe
from modiste.runs import run_folder
from modiste.runs.run_folder import EpochRow
from modiste.training import averages
from modiste.training.cuda_graph import ResidentSteps, can_stay
from modiste.training.schedules import learning_rate
from modiste.training.state import Context, TrainingState
from modiste.training.step import ADVICE, Steps
from modiste.training.tracking import Timing


def fit(state: TrainingState, context: Context) -> None:
    """Train from the current step until the recipe's last epoch, or until patience runs out.

    The training state is saved after every epoch, but not more often than the steps' ``SECONDS_BETWEEN_STATES``. It is
    always saved after the last epoch.

    Args:
        state: Changed in place.
        context: What stays the same during training.

    Raises:
        DivergedError: A loss or gradient is not finite. The step was not applied, and the last saved state is on disk.
        StoppedError: A signal asked to stop. The state after the last step is on disk.
    """
    recipe = context.recipe
    if not recipe.epochs:
        finish_without_training(state, context)
        return
    steps = ResidentSteps(state, context) if can_stay(context) else Steps(state, context)
    last_saved = time.monotonic()
    while not is_over(state.history, recipe):
        if context.stop_requested():
            _save_and_stop(state, context)
        started, first_step = time.perf_counter(), state.step
        train_epoch(state, context, steps)
        trained = time.perf_counter()
        finish_epoch(state, context)
        if is_over(state.history, recipe) or time.monotonic() - last_saved >= steps.SECONDS_BETWEEN_STATES:
            state.save(context.folder / run_folder.STATES, context.development.fingerprint)
            last_saved = time.monotonic()
        images = min((state.step - first_step) * recipe.batch_size, len(context.development.train))
        context.listener.epoch_done(state.history[-1], Timing.since(started, trained, images))


def train_epoch(state: TrainingState, context: Context, steps: Steps) -> None:
    """Take the remaining steps of the current epoch."""
    layers.to_training(state.model, keep_statistics=context.recipe.transfer.keep_statistics)
    with machine.gpu_arithmetic(context.device):
        for chosen in steps.choose():
            if context.stop_requested():
                steps.settle()
                _save_and_stop(state, context)
            steps.take(chosen)
            context.listener.step_done(state.step)
    steps.settle()


def finish_epoch(state: TrainingState, context: Context) -> None:
    """Measure the validation set, add the epoch to the history, and keep its weights if it is the best so far.

    If the recipe averages weights over epochs, those of this epoch are added first.

    Raises:
        DivergedError: The validation loss is not finite.
    """
    recipe, validation = context.recipe, context.development.validation
    if state.average is not None and averages.takes_epoch(recipe, len(state.history) + 1):
        averages.add_epoch(state.average, state.model, context.development.train, recipe)
    known = {} if recipe.epochs else state.logits
    logits = known.get("validation")
    if logits is None:
        logits = infer(state.evaluated, validation.images, recipe)
    labels = validation.labels.cpu()
    loss, accuracy = metrics.cross_entropy(logits, labels), metrics.accuracy(logits, labels)
    images = len(context.development.train)
    row = EpochRow(
        epoch=len(state.history) + 1 if recipe.epochs else 0,
        step=state.step,
        learning_rate=learning_rate(recipe, state.step - 1, context.steps_per_epoch) if recipe.epochs else 0.0,
        train_loss=state.loss_sum / images,
        train_accuracy=state.correct / images,
        validation_loss=loss,
        validation_accuracy=accuracy,
    )
    if not isfinite(loss):
        raise DivergedError(f"the validation loss after epoch {row.epoch} is {loss}; {ADVICE}")
    if not logits.isfinite().all():
        raise DivergedError(f"a validation logit after epoch {row.epoch} is not finite; {ADVICE}")
    state.history.append(row)
    state.pick(recipe, known | {"validation": logits})
    state.keep_snapshot(recipe)
    state.loss_sum, state.correct = 0.0, 0


def is_over(history: list[EpochRow], recipe: Recipe) -> bool:
    """Tell whether the last epoch is done, or patience has run out."""
    return len(history) >= recipe.epochs or out_of_patience(history, recipe)


def out_of_patience(history: list[EpochRow], recipe: Recipe) -> bool:
    """Tell whether validation accuracy has not risen for ``recipe.patience`` epochs; 0 means to wait for ever."""
    if not recipe.patience or not history:
        return False
    best = max(history, key=lambda row: row.validation_accuracy)
    return len(history) - best.epoch >= recipe.patience


def finish_without_training(state: TrainingState, context: Context) -> None:
    """Measure a network that was fitted before the first epoch, as the only row of the history: epoch 0."""
    if state.history:
        return
    fitted, images = time.perf_counter(), len(context.development.train) if state.fit_seconds else 0
    finish_epoch(state, context)
    state.save(context.folder / run_folder.STATES, context.development.fingerprint)
    context.listener.epoch_done(state.history[-1], Timing.since(fitted - state.fit_seconds, fitted, images))


def _save_and_stop(state: TrainingState, context: Context) -> None:
    state.save(context.folder / run_folder.STATES, context.development.fingerprint)
    raise StoppedError(
        f"stopped on request after step {state.step}; everything is saved in {context.folder}, "
        "and the same command goes on from here"
    )
