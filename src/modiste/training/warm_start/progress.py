"""Shared parts of the warm starts: progress for the listeners, the check for a stop request, a network's features."""

from jaxtyping import Float
from torch import Tensor, nn

from modiste.errors import RecipeError, StoppedError
from modiste.models.hooks import captured
from modiste.runs.run_folder import PretrainingRow
from modiste.system.processes import Interruption
from modiste.training.tracking import Listener


class Progress:
    """Reports the progress of a warm start, and stops it on request.

    Args:
        name: Name of the warm start.
        listener: Notified of steps and epochs.
        interruption: Requests to stop; checked after every step.
    """

    def __init__(self, name: str, listener: Listener, interruption: Interruption) -> None:
        self.name, self.listener, self.interruption = name, listener, interruption
        self.step = self.steps = 0

    def start(self, steps: int) -> None:
        """Report the start of a warm start of ``steps`` steps."""
        self.steps = steps
        self.listener.pretraining_started(self.name, steps)

    def step_done(self) -> None:
        """Count and report a step.

        Raises:
            StoppedError: A signal asked to stop, and steps remain. Nothing is saved before the end of a warm start.
        """
        self.step += 1
        self.listener.pretraining_step_done(self.step)
        if self.interruption.requested and self.step < self.steps:
            raise StoppedError(
                f"stopped on request after step {self.step} of the warm start {self.name}; "
                "the same command begins it again"
            )

    def epoch_done(self, part: str, epoch: int, quantity: str, value: float) -> None:
        """Report the mean of a quantity over an epoch; ``part`` names the part of the network that was trained."""
        self.listener.pretraining_epoch_done(PretrainingRow(part=part, epoch=epoch, quantity=quantity, value=value))


def linear_head(model: nn.Module, field: str) -> nn.Linear:
    """Return the linear layer that turns features into logits, called head.

    Raises:
        RecipeError: Not exactly one layer has this name, or it is not linear; the message names the field.
    """
    heads = {name: layer for name, layer in model.named_modules() if name.rpartition(".")[2] == "head"}
    if len(heads) > 1:
        found = ", ".join(heads)
        raise RecipeError(f"{field} needs a network with one layer called head, found {found}; rename the others")
    head = next(iter(heads.values()), None)
    if not isinstance(head, nn.Linear):
        raise RecipeError(f"{field} needs a network that ends in a linear layer, called head")
    return head


def biased_head(model: nn.Module, field: str) -> nn.Linear:
    """Return the same layer; RecipeError if it has no bias to set, as in a network that is not Modiste's."""
    head = linear_head(model, field)
    if head.bias is None:
        raise RecipeError(f"{field} needs a last layer with a bias, found one without")
    return head


def features(model: nn.Module, head: nn.Linear, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
    """Return the input of ``head``, the last layer of ``model``, for each image."""
    with captured([head], where="input") as seen:
        model(images)
    entered: Tensor = seen[-1].input
    return entered
