"""One trial of a search: a run in a folder of its own, and what came of it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from modiste import machine
from modiste.errors import DataError, FolderInUseError, MissingExtraError, ModisteError, StoppedError, StorageError
from modiste.recipes.recipe import Recipe
from modiste.runs import run_folder, storage
from modiste.runs.run_folder import EpochRow
from modiste.training import trainer
from modiste.training.tracking import Listener, Timing

State = Literal["complete", "pruned", "failed"]
LEAST_CURVES = 4
"""Trials must have run to their end before the median of their curves judges another."""


@dataclass(frozen=True)
class TrialOutcome:
    """What came of a trial.

    Attributes:
        number: of the trial.
        values: of the fields that the search chose.
        state: ``complete``; ``pruned``, stopped as hopeless; ``failed``.
        accuracy: on validation, of the epoch that the recipe picks; of a pruned trial the last; None of a failed one.
        curve: validation accuracy after each epoch.
        reason: why it failed or was pruned.
    """

    number: int
    values: dict[str, Any]
    state: State
    accuracy: float | None
    curve: tuple[float, ...] = ()
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a worker needs to know, wherever it is.

    Attributes:
        number: of the trial.
        values: of the fields that the search chose.
        recipe: with those values.
        folder: of the run.
        device: where to compute.
        data_folder: as ``load_dataset`` takes it: of Fashion-MNIST, or of data that have moved.
        curves: validation accuracies of earlier trials, epoch by epoch, that may prune this one; empty for no pruning.
        minutes: that it may take; 0 for any number.
    """

    number: int
    values: dict[str, Any]
    recipe: Recipe
    folder: Path
    device: str = "auto"
    data_folder: Path | None = None
    curves: tuple[tuple[float, ...], ...] = ()
    minutes: float = 0.0

    @property
    def clock(self) -> Path:
        """File that a worker writes when it begins: its age is how long the trial has taken."""
        return self.folder.with_name(f".{self.folder.name}.begun")

    def is_late(self) -> bool:
        """Tell whether this has begun, and takes too long."""
        try:
            return self.minutes > 0 and time.time() - self.clock.stat().st_mtime > 60 * self.minutes
        except FileNotFoundError:
            return False

    def outcome(self, state: State, accuracy: float | None = None, reason: str = "") -> TrialOutcome:
        """Return this as the outcome, with what the run's log tells."""
        log = self.folder / run_folder.LOG
        curve = tuple(row["validation_accuracy"] for row in run_folder.read_lines(log)) if log.exists() else ()
        return TrialOutcome(self.number, self.values, state, accuracy, curve, reason)

    def overdue(self) -> TrialOutcome:
        """Return that this took too long; without the curve, which would tell how fast the machine was."""
        return TrialOutcome(
            self.number, self.values, "failed", None, reason=f"had not ended after {self.minutes:g} minutes"
        )


class HopelessError(Exception):
    """The trial is not worth going on with; ``accuracy`` is what it came to."""

    def __init__(self, row: EpochRow) -> None:
        super().__init__(f"below the median of earlier trials after epoch {row.epoch}")
        self.accuracy = row.validation_accuracy


class Pruner(Listener):
    """Stops a trial whose best validation accuracy so far is below the median of others after as many epochs.

    That is the median stopping rule (Golovin et al., 2017). The others are given, not looked up, so that a trial that
    was killed and began anew is judged as before.
    """

    def __init__(self, curves: Sequence[Sequence[float]]) -> None:
        from optuna import create_study, logging
        from optuna.pruners import MedianPruner
        from optuna.trial import TrialState, create_trial

        logging.set_verbosity(logging.WARNING)
        self._study = create_study(direction="maximize", pruner=MedianPruner(n_startup_trials=LEAST_CURVES))
        for curve in curves:
            steps = dict(enumerate(curve, 1))
            self._study.add_trial(create_trial(state=TrialState.COMPLETE, value=curve[-1], intermediate_values=steps))
        self._trial = self._study.ask()

    def started(self, recipe: Recipe, steps_per_epoch: int, history: Sequence[EpochRow], step: int) -> None:
        """Take in the epochs of a run that goes on, and judge them as they would have been."""
        self._last_epoch = recipe.epochs
        for row in history:
            self._judge(row)

    def epoch_done(self, row: EpochRow, timing: Timing) -> None:
        """Judge."""
        self._judge(row)

    def _judge(self, row: EpochRow) -> None:
        self._trial.report(row.validation_accuracy, row.epoch)
        if row.epoch < self._last_epoch and self._trial.should_prune():
            raise HopelessError(row)


def run_trial(task: Task) -> TrialOutcome:
    """Train the task's recipe, or go on with it; whatever is wrong with it is an outcome, not an error.

    What is wrong with the machine is an error: other trials would fail of it too, and none would be tried again.

    Raises:
        StoppedError: a signal asked to stop.
        RecipeError: the device cannot be used here.
        FolderInUseError: another process is training in the task's folder.
        DataError: the images are missing or damaged, and the search chose nothing about them.
        StorageError, MissingExtraError.
    """
    machine.choose_device(task.device)
    listeners = [Pruner(task.curves)] if task.curves else []
    choices: dict[str, Any] = {"device": task.device, "data_folder": task.data_folder, "listeners": listeners}
    if task.minutes:
        storage.write_text(task.clock, "")
    try:
        done = trainer.train(task.recipe, task.folder, **choices)
    except HopelessError as reason:
        return task.outcome("pruned", reason.accuracy, str(reason))
    except (StoppedError, FolderInUseError, StorageError, MissingExtraError):
        raise
    except ModisteError as error:
        if isinstance(error, DataError) and not any(name.startswith("data.") for name in task.values):
            raise
        return task.outcome("failed", reason=str(error))
    except Exception as error:  # out of memory, say: the search goes on, the table tells
        return task.outcome("failed", reason=f"{type(error).__name__}: {error}")
    finally:
        task.clock.unlink(missing_ok=True)
    return task.outcome("complete", done.picked.validation_accuracy)
