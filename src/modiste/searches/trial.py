"""One trial of a search: a run in its own folder, and its outcome."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from modiste import machine
from modiste.errors import (
    MOST_LETTERS,
    DataError,
    FolderInUseError,
    MissingExtraError,
    ModisteError,
    RunError,
    StoppedError,
    StorageError,
    printable,
)
from modiste.recipes.recipe import Recipe
from modiste.runs import run_folder, storage
from modiste.runs.run_folder import EpochRow
from modiste.searches.sent_code import NO_CODE, SentCode
from modiste.training import trainer
from modiste.training.setup import Inputs
from modiste.training.tracking import Listener, Timing, trackers

State = Literal["complete", "pruned", "failed"]
LEAST_CURVES = 4
"""Number of complete trials needed before the median of their curves can prune another trial."""


@dataclass(frozen=True)
class TrialOutcome:
    """The outcome of a trial.

    Attributes:
        number: Number of the trial.
        values: Values of the searched fields.
        state: ``complete``, ``pruned`` or ``failed``.
        accuracy: On validation, of the selected epoch. For a pruned trial, of its last epoch; None for a failed one.
        curve: Validation accuracy after each epoch.
        reason: Why it failed or was pruned.
        fingerprint: Fingerprint of the images of a complete trial. Empty for other trials, if the search chooses the
            data, and in the outcomes of earlier versions.
    """

    number: int
    values: dict[str, Any]
    state: State
    accuracy: float | None
    curve: tuple[float, ...] = ()
    reason: str = ""
    fingerprint: str = ""


@dataclass(frozen=True, kw_only=True)
class TrialTask:
    """A trial to run, as sent to a worker on this or another machine.

    Attributes:
        number: Number of the trial.
        values: Values of the searched fields.
        recipe: With those values.
        folder: Folder of the run.
        device: Where it computes.
        data_folder: Folder of Fashion-MNIST, or of data that have moved; see ``load_dataset``.
        curves: Validation accuracies of earlier trials after each epoch, for pruning; empty for no pruning.
        minutes: Longest time that it may take; 0 for no limit.
        track: Names of trackers.
        sent: Code that is not Modiste's, which the worker imports.
        fingerprint: Fingerprint of the images of earlier trials; empty if it is not known.
    """

    number: int
    values: dict[str, Any]
    recipe: Recipe
    folder: Path
    device: str = "auto"
    data_folder: Path | None = None
    curves: tuple[tuple[float, ...], ...] = ()
    minutes: float = 0.0
    track: tuple[str, ...] = ()
    sent: SentCode = NO_CODE
    fingerprint: str = ""

    @property
    def chooses_data(self) -> bool:
        """Whether the search chooses the data, so that trials may have different images."""
        return any(name.startswith("data.") for name in self.values)

    @property
    def clock(self) -> Path:
        """The file that a worker writes when it begins the trial. Its age is the time that the trial has taken."""
        return self.folder.with_name(f".{self.folder.name}.begun")

    def is_late(self) -> bool:
        """Return whether the trial has begun and takes too long."""
        try:
            return self.minutes > 0 and time.time() - self.clock.stat().st_mtime > 60 * self.minutes
        except FileNotFoundError:
            return False

    def outcome(
        self, state: State, accuracy: float | None = None, reason: str = "", fingerprint: str = ""
    ) -> TrialOutcome:
        """Return an outcome of this trial, with the curve from the run's log."""
        log = self.folder / run_folder.LOG
        curve = tuple(row["validation_accuracy"] for row in run_folder.read_lines(log)) if log.exists() else ()
        return TrialOutcome(self.number, self.values, state, accuracy, curve, reason, fingerprint)

    def overdue(self) -> TrialOutcome:
        """Return the outcome of a trial that took too long, without a curve: it would depend on the machine's speed."""
        return TrialOutcome(
            self.number, self.values, "failed", None, reason=f"had not ended after {self.minutes:g} minutes"
        )


def ignore(*_outcome: object) -> None:
    """Do nothing: the ``on_outcome`` of a caller who gave none."""


class PrunedError(Exception):
    """Raised to prune a trial; ``accuracy`` is that of its last epoch."""

    def __init__(self, row: EpochRow) -> None:
        super().__init__(f"below the median of earlier trials after epoch {row.epoch}")
        self.accuracy = row.validation_accuracy


class Pruner(Listener):
    """Stops a trial whose best validation accuracy is below the median of earlier trials after the same epoch.

    This is a variant of the median stopping rule (Golovin et al., 2017): it compares with the values after the same
    epoch, not with running averages. The earlier trials are an argument, so that a trial that was killed and begins
    again is compared with the same ones.

    Args:
        curves: Validation accuracies of the earlier trials after each epoch.
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
        """Compare the epochs that a continued run already has with the median."""
        self._last_epoch = recipe.epochs
        for row in history:
            self._judge(row)

    def epoch_done(self, row: EpochRow, timing: Timing) -> None:
        """Compare the new epoch with the median; PrunedError if the trial should stop."""
        self._judge(row)

    def _judge(self, row: EpochRow) -> None:
        self._trial.report(row.validation_accuracy, row.epoch)
        if row.epoch < self._last_epoch and self._trial.should_prune():
            raise PrunedError(row)


def run_trial(task: TrialTask) -> TrialOutcome:
    """Train the task's recipe, or continue its run, and return the outcome.

    A fault of the recipe is an outcome. A fault of the machine is an error, because every other trial would fail too.

    Raises:
        StoppedError: A signal asked to stop.
        RecipeError: The device cannot be used here, or code that is not Modiste's cannot be imported.
        FolderInUseError: Another process is training in the task's folder.
        RunError: The images are not those of earlier trials, or not those that the run began with. Or the run folder is
            damaged or holds something else.
        DataError: The images are missing or damaged, and the search does not choose the data.
        StorageError, MissingExtraError: Nothing can be written, or a package is missing.
    """
    task.sent.load()
    machine.choose_device(task.device)
    listeners = trackers.make(task.track, task.folder, task.recipe)
    if task.curves:
        listeners.append(Pruner(task.curves))
    inputs = Inputs(task.data_folder, fingerprint=task.fingerprint)
    if task.minutes:
        storage.write_text(task.clock, "")
    try:
        done = trainer.train(task.recipe, task.folder, inputs, device=task.device, listeners=listeners)
    except PrunedError as reason:
        return task.outcome("pruned", reason.accuracy, str(reason))
    except (StoppedError, FolderInUseError, StorageError, MissingExtraError, RunError):
        raise
    except ModisteError as error:
        if isinstance(error, DataError) and not task.chooses_data:
            raise
        return task.outcome("failed", reason=str(error))
    except Exception as error:  # for example out of memory: the search continues, and the table shows the reason
        line = " ".join(f"{type(error).__name__}: {error}".split())
        return task.outcome("failed", reason=printable(line, MOST_LETTERS))
    finally:
        task.clock.unlink(missing_ok=True)
    fingerprint = "" if task.chooses_data else run_folder.open_run(task.folder).load_info().fingerprint
    return task.outcome("complete", done.picked.validation_accuracy, fingerprint=fingerprint)
