"""How far a warm start has come: told to the listeners, and the place where a request to stop is heard."""

from modiste.errors import StoppedError
from modiste.recipe import Recipe
from modiste.run_folder import PretrainingRow
from modiste.training.interruption import Interruption
from modiste.training.log import Listener


class Progress:
    """What a warm start that trains tells of itself.

    Args:
        recipe: of the run.
        listener: who is told.
        interruption: a request to stop, heard before every step.
    """

    def __init__(self, recipe: Recipe, listener: Listener, interruption: Interruption) -> None:
        self.recipe, self.listener, self.interruption = recipe, listener, interruption
        self.step = self.steps = 0

    def start(self, steps: int) -> None:
        """Announce how many steps there will be."""
        self.steps = steps
        self.listener.pretraining_started(self.recipe, steps)

    def step_done(self) -> None:
        """Count a step; StoppedError when a signal has asked to stop before the last, for nothing is saved before."""
        self.step += 1
        self.listener.pretraining_step_done(self.step)
        if self.interruption.requested and self.step < self.steps:
            raise StoppedError(
                f"stopped on request after step {self.step} of the warm start {self.recipe.warm_start}; "
                "the same command begins it again"
            )

    def epoch_done(self, part: str, epoch: int, quantity: str, value: float) -> None:
        """Tell the mean of a quantity over the epoch that ``part`` has just been trained for."""
        self.listener.pretraining_epoch_done(PretrainingRow(part=part, epoch=epoch, quantity=quantity, value=value))
