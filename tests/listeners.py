"""Listeners that end training where a test wants it."""

import signal

from modiste.errors import StoppedError
from modiste.runs.run_folder import EpochRow
from modiste.training.tracking import Listener, Timing


class StopAfter(Listener):
    """Ends training after a step, as a request to stop does."""

    def __init__(self, step: int) -> None:
        self.step = step

    def step_done(self, step: int) -> None:
        if step == self.step:
            raise StoppedError


class StopAfterEpoch(Listener):
    """Ends training after an epoch, as a request to stop does."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def epoch_done(self, row: EpochRow, timing: Timing) -> None:
        if row.epoch == self.epoch:
            raise StoppedError


class AskToStop(Listener):
    """Sends this process the signal to save and stop after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def step_done(self, step: int) -> None:
        if step == self.step:
            signal.raise_signal(signal.SIGTERM)
