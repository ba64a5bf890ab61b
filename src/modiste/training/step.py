"""A step of training: a batch, its gradient, an update."""

from dataclasses import dataclass
from math import isfinite

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from modiste import machine
from modiste.data.batch import Batch
from modiste.data.batches import Batches
from modiste.errors import DivergedError
from modiste.models import layers
from modiste.recipes.recipe import Recipe
from modiste.training import optimizers
from modiste.training.context import Context
from modiste.training.distributed import ALONE, Group
from modiste.training.objectives import OBJECTIVES
from modiste.training.schedules import learning_rate
from modiste.training.state import TrainingState

ADVICE = "try a smaller --optimizer.learning-rate, --schedule.warm-up or --optimizer.clip-norm"


class Steps:
    """Takes a state's steps, one after another, each looked at before it is applied.

    Args:
        state: on the device of the context's images.
        context: what it learns from, and how.
    """

    SECONDS_BETWEEN_STATES = 0.0
    """The fewest from one to the next, but for the last; 0 writes one after every epoch."""

    def __init__(self, state: TrainingState, context: Context) -> None:
        self.state, self.context = state, context
        self.batches = Batches(context.development.train, context.recipe, context.classes)
        self.dropout = torch.Generator(context.device)
        layers.share_generator(state.model, self.dropout)

    def take(self, chosen: Int64[Tensor, " n"]) -> None:
        """Take one step with these images of the training set; DivergedError when it is not finite."""
        self.prepare(len(chosen))
        train_step(self.state, self.batches.make(chosen), self.context.recipe, self.context.group)

    def prepare(self, images: int) -> None:
        """Set what changes from step to step: the learning rate, and where random numbers come from."""
        recipe, step, group = self.context.recipe, self.state.step, self.context.group
        rate = learning_rate(recipe, step, self.context.steps_per_epoch)
        self.state.optimizer.set_learning_rate(rate)
        self.batches.seed(step)
        self.dropout.manual_seed(machine.seed_for(recipe.seed, "dropout", step))
        if not group.is_alone:
            layers.share_generator(self.state.model, self.dropout, group.part(images))

    def settle(self) -> None:
        """Bring the state's figures up to date, which here they always are."""


@dataclass(frozen=True)
class Gradient:
    """What a batch asks for; the gradient itself lies beside the parameters.

    Attributes:
        logits: of the images at hand.
        loss: their mean, what the network asks for beside the right class included.
        norm: of the whole gradient.
    """

    logits: Float[Tensor, "n classes"]
    loss: Float[Tensor, ""]
    norm: Float[Tensor, ""]


def train_step(state: TrainingState, batch: Batch, recipe: Recipe, group: Group = ALONE) -> None:
    """Take one step, unless its loss or gradient is not finite: then raise DivergedError before any weight moves."""
    part = group.part(len(batch))
    mine = batch[part.first : part.last]
    found = gradient(state, mine, recipe, group, part)
    loss_sum, correct = group.sums(found.loss.item() * len(part), float(count_correct(found.logits, mine.targets)))
    _check_finite(loss_sum / part.whole, found.norm.item(), state.step)
    clip(state, recipe, found.norm)
    state.optimizer.step()
    average(state)
    state.step += 1
    state.loss_sum += loss_sum
    state.correct += int(correct)


def gradient(
    state: TrainingState, mine: Batch, recipe: Recipe, group: Group = ALONE, part: layers.BatchShare | None = None
) -> Gradient:
    """Compute what the images at hand ask for, which are ``part`` of a batch shared with a group, or all of one."""
    with machine.autocast(recipe.precision, mine.images.device):
        logits = state.network(mine.images)
    loss = OBJECTIVES[recipe.objective](logits.to(mine.targets.dtype), mine.targets, mine.weights)
    loss = loss + layers.auxiliary_loss(state.model, mine.images, mine.targets)
    state.optimizer.zero_grad()
    group.weighted(loss, part or ALONE.part(len(mine))).backward()  # type: ignore[no-untyped-call]
    return Gradient(logits.detach(), loss.detach(), optimizers.gradient_norm(state.model))


def clip(state: TrainingState, recipe: Recipe, norm: Float[Tensor, ""]) -> None:
    """Shorten the gradient to what the recipe allows, if it does not allow all."""
    if recipe.optimizer.clip_norm:
        torch.nn.utils.clip_grads_with_norm_(state.model.parameters(), recipe.optimizer.clip_norm, norm)


def average(state: TrainingState) -> None:
    """Let the running average follow the weights, if there is one."""
    if state.average is not None:
        state.average.update_parameters(state.model)


def count_correct(logits: Float[Tensor, "n classes"], targets: Float[Tensor, "n classes"]) -> Int64[Tensor, ""]:
    """Return how many images have their largest logit where their target is largest."""
    return (logits.argmax(1) == targets.argmax(1)).sum()


def _check_finite(loss: float, norm: float, step: int) -> None:
    if not (isfinite(loss) and isfinite(norm)):
        what = f"the loss is {loss}" if not isfinite(loss) else f"the gradient's norm is {norm}"
        raise DivergedError(f"step {step + 1}: {what}; the step was not applied; {ADVICE}")
