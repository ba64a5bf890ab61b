"""Listeners, which are notified of what happens in training. They change nothing."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from modiste import machine
from modiste.recipes.recipe import Recipe
from modiste.runs.run_folder import EpochRow, PretrainingRow, Run
from modiste.training.transfer.transfer import TransferReport


@dataclass(frozen=True)
class Timing:
    """Time and memory that an epoch took in this process.

    Attributes:
        seconds: Training, validation, and writing the training state, if it was time to save.
        train_seconds: Training alone.
        images_per_second: Training images divided by ``train_seconds``.
        peak_memory_bytes: Largest resident memory of the process so far.
    """

    seconds: float
    train_seconds: float
    images_per_second: float
    peak_memory_bytes: int

    @classmethod
    def since(cls, started: float, trained: float, images: int) -> "Timing":
        """Return the timing of an epoch that ends now.

        Args:
            started: ``time.perf_counter()`` at the start of the epoch.
            trained: The same at the end of its training.
            images: Number of images trained.
        """
        now, train_seconds = time.perf_counter(), trained - started
        rate = images / train_seconds if train_seconds else 0.0
        return cls(now - started, train_seconds, rate, machine.peak_memory_bytes())


class Listener:
    """Base of the listeners. Every method does nothing, so a listener overrides only those that it needs.

    A run calls ``started``, then ``step_done`` and ``epoch_done``, then ``stopped``. ``finished`` follows if the run is
    complete. ``closed`` is the last call, whatever happened. A call in ``listeners=`` of ``modiste.train`` belongs to
    the run: an error in it ends the run. A listener in ``track=`` runs on a thread of its own and cannot do so.

    >>> import modiste
    >>> class Best(modiste.Listener):
    ...     accuracy = 0.0
    ...
    ...     def epoch_done(self, row, timing):
    ...         self.accuracy = max(self.accuracy, row.validation_accuracy)
    >>> best = Best()  # modiste.train(recipe, "runs/mine", listeners=[best])
    >>> best.accuracy
    0.0
    """

    def transferred(self, report: TransferReport) -> None:
        """Weights of another network were transferred."""

    def pretraining_started(self, name: str, steps: int) -> None:
        """The warm start of this name begins to train; it will take ``steps`` steps."""

    def pretraining_step_done(self, step: int) -> None:
        """``step`` steps of the warm start are done."""

    def pretraining_epoch_done(self, row: PretrainingRow) -> None:
        """A pass of the warm start over the images is done."""

    def started(self, recipe: Recipe, steps_per_epoch: int, history: Sequence[EpochRow], step: int) -> None:
        """Training begins, or resumes after the epochs of ``history`` and ``step`` steps."""

    def step_done(self, step: int) -> None:
        """``step`` steps are done since the start of the run."""

    def epoch_done(self, row: EpochRow, timing: Timing) -> None:
        """An epoch is measured, and saved if it was time to save."""

    def stopped(self) -> None:
        """Training has ended, whether it finished or not."""

    def finished(self, run: Run) -> None:
        """The run is complete: every file is in its folder, and the folder is free for others."""

    def closed(self) -> None:
        """Nothing follows. Called once for every run, also after an error."""


class Forwarder(Listener):
    """Base of the listeners that pass every event on. A subclass overrides ``forward``."""

    def forward(self, event: str, *arguments: Any) -> None:
        """Pass on the event with this method's name and arguments."""
        raise NotImplementedError

    def transferred(self, report: TransferReport) -> None:
        """Forward."""
        self.forward("transferred", report)

    def pretraining_started(self, name: str, steps: int) -> None:
        """Forward."""
        self.forward("pretraining_started", name, steps)

    def pretraining_step_done(self, step: int) -> None:
        """Forward."""
        self.forward("pretraining_step_done", step)

    def pretraining_epoch_done(self, row: PretrainingRow) -> None:
        """Forward."""
        self.forward("pretraining_epoch_done", row)

    def started(self, recipe: Recipe, steps_per_epoch: int, history: Sequence[EpochRow], step: int) -> None:
        """Forward."""
        self.forward("started", recipe, steps_per_epoch, history, step)

    def step_done(self, step: int) -> None:
        """Forward."""
        self.forward("step_done", step)

    def epoch_done(self, row: EpochRow, timing: Timing) -> None:
        """Forward."""
        self.forward("epoch_done", row, timing)

    def stopped(self) -> None:
        """Forward."""
        self.forward("stopped")

    def finished(self, run: Run) -> None:
        """Forward."""
        self.forward("finished", run)

    def closed(self) -> None:
        """Forward."""
        self.forward("closed")


class Listeners(Forwarder):
    """Several listeners as one: each is called in turn.

    Args:
        members: The listeners, in the order of the calls.
    """

    def __init__(self, members: Sequence[Listener]) -> None:
        self.members = tuple(members)

    def forward(self, event: str, *arguments: Any) -> None:
        """Call every member."""
        for member in self.members:
            getattr(member, event)(*arguments)
