"""What the warm starts share: progress for the listeners, the check for a request to stop, a network's features."""

from jaxtyping import Float
from torch import Tensor, nn

from modiste.errors import RecipeError, StoppedError
from modiste.models.hooks import captured
from modiste.recipes.recipe import Recipe
from modiste.runs.run_folder import PretrainingRow
from modiste.training.interruption import Interruption
from modiste.training.tracking import Listener


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


def linear_head(model: nn.Module, asker: str) -> nn.Linear:
    """Return the layer that turns features into logits; RecipeError, naming the ``asker``, when there is none."""
    head = next((layer for name, layer in model.named_modules() if name.endswith("head")), None)
    if not isinstance(head, nn.Linear):
        raise RecipeError(f"warm_start: {asker} needs a network that ends in a linear layer")
    return head


def features(model: nn.Module, head: nn.Linear, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
    """Return the input of ``head``, the last layer of ``model``, for each image."""
    with captured([head], where="input") as seen:
        model(images)
    entered: Tensor = seen[-1].input
    return entered
