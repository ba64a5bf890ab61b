"""A step of training: a batch, its gradient, an update."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
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
from modiste.training import averages, distillation, optimizers
from modiste.training.distillation import Teachers, taught
from modiste.training.distributed import ALONE, Group
from modiste.training.schedules import learning_rate
from modiste.training.sharpness import at_highest_loss, is_sharp
from modiste.training.state import Context, TrainingState

ADVICE = "try a smaller --optimizer.learning-rate, --schedule.warm-up or --optimizer.clip-norm"


class Steps:
    """Takes the steps of one run. Each step is checked before it is applied.

    Args:
        state: Changed in place; on the device of the context's images.
        context: What stays the same during training.
    """

    SECONDS_BETWEEN_STATES = 0.0
    """Minimum seconds between two saved states, except before the last; 0 saves one after every epoch."""

    def __init__(self, state: TrainingState, context: Context) -> None:
        self.state, self.context = state, context
        self.has_own_code = bool(context.recipe.own_code)
        development = context.development
        extra = development.extra.train if development.extra else None
        answers = context.teachers.answers if context.teachers else None
        self.batches = Batches(development.train, context.recipe, context.classes, extra, answers)
        passes = 2 if context.recipe.optimizer.sam_rho else 1
        self.dropout = [torch.Generator(context.device) for _ in range(passes)]
        layers.share_generator(state.model, *self.dropout)

    def choose(self) -> Iterator[Int64[Tensor, " n"]]:
        """Yield the indices of each step's images, from the next step to the end of its epoch."""
        order, train = self.state.order, self.context.development.train
        if order is None:
            yield from self.batches.choose(self.state.step)
            return
        size = self.context.recipe.batch_size
        done = self.state.step % self.context.steps_per_epoch * size
        for first in range(done, len(train), size):
            yield order.next_images(min(size, len(train) - first)).to(train.labels.device)

    def take(self, chosen: Int64[Tensor, " n"]) -> None:
        """Take one step with the training images of these indices; DivergedError if it is not finite."""
        self.prepare(len(chosen))
        context, batch = self.context, self.batches.make(chosen)
        logits = train_step(self.state, batch, context.recipe, context.group, context.teachers)
        if self.state.order is not None:
            self.state.order.step_done(logits, batch.targets)

    def prepare(self, images: int) -> None:
        """Set the learning rate and the random generators of the next step, for a batch of ``images`` images."""
        recipe, step, group = self.context.recipe, self.state.step, self.context.group
        rate = learning_rate(recipe, step, self.context.steps_per_epoch)
        self.state.optimizer.set_learning_rate(rate)
        self.batches.seed(step)
        for generator in self.dropout:
            generator.manual_seed(machine.seed_for(recipe.seed, "dropout", step))
        if self.has_own_code:  # which may draw from torch's global generator
            torch.manual_seed(machine.seed_for(recipe.seed, "own code", step))
        if not group.is_alone:
            layers.share_generator(self.state.model, *self.dropout, part=group.part(images))

    def settle(self) -> None:
        """Add pending losses and counts to the state; here there are none, since every step adds its own."""


@dataclass(frozen=True)
class Gradient:
    """Figures of a backward pass; the gradient itself is in each parameter's ``grad``.

    Attributes:
        logits: Logits of the images that were passed.
        loss: Mean over these images, with the network's auxiliary loss.
        norm: Euclidean norm of the whole gradient.
    """

    logits: Float[Tensor, "n classes"]
    loss: Float[Tensor, ""]
    norm: Float[Tensor, ""]


def train_step(
    state: TrainingState, batch: Batch, recipe: Recipe, group: Group = ALONE, teachers: Teachers | None = None
) -> Float[Tensor, "n classes"]:
    """Take one step; return the logits of this process's part of the batch, with the weights before the step.

    Raises:
        DivergedError: The loss or its gradient is not finite; no weight has changed.
    """
    part = group.part(len(batch))
    mine = taught(batch[part.first : part.last], teachers)
    found = gradient(state, mine, recipe, group, part)
    loss_sum, correct = group.sums(found.loss.item() * len(part), float(count_correct(found.logits, mine.targets)))
    _check_finite(loss_sum / part.whole, found.norm.item(), state.step)
    clip(state, recipe, found.norm)
    state.optimizer.step()
    average(state, recipe)
    state.step += 1
    state.loss_sum += loss_sum
    state.correct += int(correct)
    return found.logits


def gradient(
    state: TrainingState, mine: Batch, recipe: Recipe, group: Group = ALONE, part: layers.BatchShare | None = None
) -> Gradient:
    """Compute the gradient for the images of ``mine``, the share ``part`` of a batch; None means the whole batch.

    In sharpness-aware minimisation a second pass takes the gradient at nearby weights, with the same images, dropped
    units and other random draws. Loss and logits are those of the weights themselves.
    """
    if not is_sharp(recipe.optimizer, state.step):
        return backward(state, mine, recipe, group, part)
    with machine.random_numbers_kept(mine.images.device) if recipe.own_code else contextlib.nullcontext():
        found = backward(state, mine, recipe, group, part)
    with at_highest_loss(state.model, recipe.optimizer), layers.repeated_draws(state.model):
        return replace(found, norm=backward(state, mine, recipe, group, part).norm)


def backward(
    state: TrainingState, mine: Batch, recipe: Recipe, group: Group, part: layers.BatchShare | None
) -> Gradient:
    """Compute the gradient at the present weights by one forward and one backward pass; arguments as ``gradient``."""
    with machine.autocast(recipe.precision, mine.images.device):
        logits = state.network(mine.images)
    loss = distillation.loss(logits.to(mine.targets.dtype), mine, recipe)
    loss = loss + layers.auxiliary_loss(state.model, mine.images, mine.targets)
    state.optimizer.zero_grad()
    group.weighted(loss, part or ALONE.part(len(mine))).backward()  # type: ignore[no-untyped-call]
    return Gradient(logits.detach(), loss.detach(), optimizers.gradient_norm(state.model))


def clip(state: TrainingState, recipe: Recipe, norm: Float[Tensor, ""]) -> None:
    """Scale the gradient down to the recipe's ``clip_norm`` if its norm is larger; 0 means no limit."""
    if recipe.optimizer.clip_norm:
        torch.nn.utils.clip_grads_with_norm_(state.model.parameters(), recipe.optimizer.clip_norm, norm)


def average(state: TrainingState, recipe: Recipe) -> None:
    """Update the moving average of the weights after a step, if the recipe has one."""
    if state.average is not None and recipe.ema_decay:
        averages.follow(state.average, state.model, recipe, updates=state.step)


def count_correct(logits: Float[Tensor, "n classes"], targets: Float[Tensor, "n classes"]) -> Int64[Tensor, ""]:
    """Return the number of images whose largest logit is that of the class with the largest target."""
    return (logits.argmax(1) == targets.argmax(1)).sum()


def _check_finite(loss: float, norm: float, step: int) -> None:
    if not (isfinite(loss) and isfinite(norm)):
        what = f"the loss is {loss}" if not isfinite(loss) else f"the gradient's norm is {norm}"
        raise DivergedError(f"step {step + 1}: {what}; the step was not applied; {ADVICE}")
