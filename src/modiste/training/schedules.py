"""Learning-rate schedules: pure functions of progress through the run, from 0 to 1."""

from collections.abc import Callable
from math import ceil, cos, pi

from modiste.recipes.recipe import Recipe, ScheduleRecipe

ONE_CYCLE_START = 0.04  # Smith and Topin (2018) start at a small fraction of the peak; torch's default is 1/25 too
ROUNDING = 1e-9
"""A number of steps or epochs that is this close to a whole one is whole."""


def learning_rate(recipe: Recipe, step: int, steps_in_epoch: int) -> float:
    """Return the learning rate of a step, counted from 0.

    The schedule is evaluated at the middle of the step: a warm-up does not start at 0.
    """
    progress = (step + 0.5) / (recipe.epochs * steps_in_epoch)
    return recipe.optimizer.learning_rate * factor(recipe.schedule, progress)


def factor(recipe: ScheduleRecipe, progress: float) -> float:
    """Return the factor of the peak learning rate at ``progress`` (0 to 1).

    The factor rises linearly from 0 during ``warm_up``; for one-cycle it rises along a cosine from a small value. After
    that it follows the named shape, and stays at its end during ``hold``. With several ``cycles`` all of that repeats.
    """
    progress *= recipe.cycles
    progress -= min(int(progress), recipe.cycles - 1)
    if progress < recipe.warm_up:
        rise = progress / recipe.warm_up
        return ONE_CYCLE_START + (1 - ONE_CYCLE_START) * _half_cosine(rise) if recipe.shape == "one-cycle" else rise
    return SHAPES[recipe.shape](recipe, min(1.0, (progress - recipe.warm_up) / (1 - recipe.warm_up - recipe.hold)))


def depends_on_length(recipe: Recipe) -> bool:
    """Return whether a step depends on how many steps the whole run has.

    Its learning rate does, with most schedules. So does the epoch from which weights are averaged equally.

    Example:
        >>> recipe = Recipe(name="x")
        >>> depends_on_length(recipe), depends_on_length(recipe.with_(schedule__shape="cosine"))
        (False, True)
    """
    schedule = recipe.schedule
    return schedule.shape != "constant" or schedule.warm_up > 0 or schedule.cycles > 1 or recipe.swa_start > 0


def _constant(_recipe: ScheduleRecipe, _progress: float) -> float:
    return 1.0


def _step(recipe: ScheduleRecipe, progress: float) -> float:
    # The end of the shape is no step, nor is a hold, which begins there. 1 / (1 / 49) is a little above 49.
    most = ceil(1 / recipe.step_every - ROUNDING) - 1
    return recipe.step_factor ** min(int(progress / recipe.step_every), most)


def _linear(recipe: ScheduleRecipe, progress: float) -> float:
    return 1 + (recipe.final_factor - 1) * progress


def _cosine(recipe: ScheduleRecipe, progress: float) -> float:
    return 1 + (recipe.final_factor - 1) * _half_cosine(progress)


def _half_cosine(progress: float) -> float:
    """Return half a cosine wave that rises from 0 to 1, flat at both ends (Loshchilov and Hutter, 2017)."""
    return (1 - cos(pi * progress)) / 2


SHAPES: dict[str, Callable[[ScheduleRecipe, float], float]] = {
    "constant": _constant,
    "step": _step,
    "linear": _linear,
    "cosine": _cosine,
    "one-cycle": _cosine,
}
