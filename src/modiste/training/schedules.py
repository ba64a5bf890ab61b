"""The learning rate's factor as a pure function of progress through the run, 0 to 1."""

from collections.abc import Callable
from math import cos, pi

from modiste.recipes.recipe import Recipe, ScheduleRecipe

ONE_CYCLE_START = 0.04  # Smith and Topin (2018) start at a small fraction of the peak; torch's default is 1/25 too


def learning_rate(recipe: Recipe, step: int, steps_in_epoch: int) -> float:
    """Return the learning rate of a step; the schedule is read at the step's middle, never at its zero."""
    progress = (step + 0.5) / (recipe.epochs * steps_in_epoch)
    return recipe.optimizer.learning_rate * factor(recipe.schedule, progress)


def factor(recipe: ScheduleRecipe, progress: float) -> float:
    """Return what the peak learning rate is multiplied by at ``progress``.

    The rate rises linearly during ``warm_up`` (for one-cycle along a cosine, from a start above zero), and follows
    the named shape over what remains.
    """
    if progress < recipe.warm_up:
        rise = progress / recipe.warm_up
        return ONE_CYCLE_START + (1 - ONE_CYCLE_START) * _half_cosine(rise) if recipe.shape == "one-cycle" else rise
    return SHAPES[recipe.shape](recipe, (progress - recipe.warm_up) / (1 - recipe.warm_up))


def _constant(_recipe: ScheduleRecipe, _progress: float) -> float:
    return 1.0


def _step(recipe: ScheduleRecipe, progress: float) -> float:
    return recipe.step_factor ** int(progress / recipe.step_every)


def _linear(recipe: ScheduleRecipe, progress: float) -> float:
    return 1 + (recipe.final_factor - 1) * progress


def _cosine(recipe: ScheduleRecipe, progress: float) -> float:
    return 1 + (recipe.final_factor - 1) * _half_cosine(progress)


def _half_cosine(progress: float) -> float:
    """Rise from 0 to 1, flat at both ends (Loshchilov and Hutter, 2017)."""
    return (1 - cos(pi * progress)) / 2


SHAPES: dict[str, Callable[[ScheduleRecipe, float], float]] = {
    "constant": _constant,
    "step": _step,
    "linear": _linear,
    "cosine": _cosine,
    "one-cycle": _cosine,
}
