"""The learning rate's course: ends, continuity, and torch's own schedulers where they have the same shape."""

from dataclasses import replace
from itertools import pairwise
from math import cos, pi

import pytest
import torch

from modiste.recipes.recipe import OptimizerRecipe, Recipe, ScheduleRecipe
from modiste.training.schedules import ONE_CYCLE_START, SHAPES, factor, learning_rate

POINTS = [number / 1000 for number in range(1001)]
VARIANTS = {
    "constant": ScheduleRecipe(),
    "constant after warm-up": ScheduleRecipe(warm_up=0.2),
    "step": ScheduleRecipe(shape="step"),
    "linear": ScheduleRecipe(shape="linear"),
    "linear to a tenth after warm-up": ScheduleRecipe(shape="linear", warm_up=0.1, final_factor=0.1),
    "cosine": ScheduleRecipe(shape="cosine"),
    "cosine to a half after warm-up": ScheduleRecipe(shape="cosine", warm_up=0.3, final_factor=0.5),
    "one-cycle": ScheduleRecipe(shape="one-cycle", warm_up=0.3, final_factor=0.01),
    "cosine, then held": ScheduleRecipe(shape="cosine", warm_up=0.1, final_factor=0.2, hold=0.25),
}
every_variant = pytest.mark.parametrize("recipe", VARIANTS.values(), ids=VARIANTS)


def test_every_shape_is_tried() -> None:
    assert {recipe.shape for recipe in VARIANTS.values()} == set(SHAPES)


@every_variant
def test_from_start_to_end_within_bounds(recipe: ScheduleRecipe) -> None:
    values = [factor(recipe, point) for point in POINTS]
    assert all(0 <= value <= 1 for value in values)
    assert factor(recipe, recipe.warm_up) == pytest.approx(1)
    if recipe.shape in ("linear", "cosine", "one-cycle"):
        assert values[-1] == pytest.approx(recipe.final_factor)
    rise = [value for point, value in zip(POINTS, values, strict=True) if point <= recipe.warm_up]
    rest = [value for point, value in zip(POINTS, values, strict=True) if point >= recipe.warm_up]
    assert rise == sorted(rise)
    assert rest == sorted(rest, reverse=True)


@every_variant
def test_no_jumps_but_those_of_step(recipe: ScheduleRecipe) -> None:
    if recipe.shape != "step":
        values = [factor(recipe, point) for point in POINTS]
        assert max(abs(after - before) for before, after in pairwise(values)) < 0.011


def test_warm_up_is_a_straight_line_from_zero() -> None:
    recipe = ScheduleRecipe(shape="cosine", warm_up=0.25)
    for point in POINTS[:250]:
        assert factor(recipe, point) == pytest.approx(point / 0.25)


def test_what_is_held_is_the_end_of_the_shape() -> None:
    held = ScheduleRecipe(shape="cosine", final_factor=0.2, hold=0.25)
    whole = replace(held, hold=0.0)
    assert [factor(held, point) for point in (0.75, 0.8, 1.0)] == pytest.approx([0.2] * 3)
    assert [factor(held, 0.75 * point) for point in POINTS] == pytest.approx([factor(whole, point) for point in POINTS])


@every_variant
def test_cycles_repeat_the_whole_schedule(recipe: ScheduleRecipe) -> None:
    """With the shape cosine and no warm-up, the cyclic annealing of Huang et al. (2017)."""
    repeated = replace(recipe, cycles=4)
    for cycle in range(4):
        for point in (0.0, 0.125, 0.5, 0.875):  # powers of two, so that no rounding tips a step over
            assert factor(repeated, (cycle + point) / 4) == factor(recipe, point)
    assert factor(repeated, 1.0) == factor(recipe, 1.0)


def test_steps_fall_where_they_should() -> None:
    recipe = ScheduleRecipe(shape="step", step_every=0.25, step_factor=0.5)
    expected = {0.0: 1, 0.2499: 1, 0.25: 0.5, 0.4999: 0.5, 0.5: 0.25, 0.75: 0.125, 0.99: 0.125}
    for point, value in expected.items():
        assert factor(recipe, point) == value


@pytest.mark.parametrize("parts", range(1, 60))
def test_the_end_of_the_shape_is_no_step(parts: int) -> None:
    """Also where 1 / (1 / parts) is rounded to a little more than ``parts``, as for 49."""
    recipe = ScheduleRecipe(shape="step", step_every=1 / parts, step_factor=0.5, warm_up=0.1, hold=0.25)
    before = factor(recipe, 0.1 + 0.65 * (1 - 1e-4))
    assert before == 0.5 ** (parts - 1)
    assert {factor(recipe, point) for point in (0.75, 0.7501, 0.9, 1.0)} == {before}


def test_a_part_of_a_step_at_the_end_stays_one() -> None:
    recipe = ScheduleRecipe(shape="step", step_every=0.3, step_factor=0.5, hold=0.5)
    assert [factor(recipe, point) for point in (0.44, 0.46, 0.9)] == [0.25, 0.125, 0.125]


def test_values_in_closed_form() -> None:
    assert factor(ScheduleRecipe(shape="linear", final_factor=0.2), 0.25) == pytest.approx(0.8)
    assert factor(ScheduleRecipe(shape="cosine"), 0.25) == pytest.approx((1 + cos(pi / 4)) / 2)
    assert factor(ScheduleRecipe(shape="cosine", warm_up=0.5), 0.75) == pytest.approx(0.5)
    assert factor(ScheduleRecipe(shape="one-cycle", warm_up=0.3), 0.0) == ONE_CYCLE_START


def trace(scheduler_of: object, steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 1.0)
    scheduler = scheduler_of(optimizer)  # type: ignore[operator]
    rates = []
    for _ in range(steps + 1):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(rates) <= steps:
            scheduler.step()
    return rates


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_torch_draws_the_same_curves() -> None:
    steps = 40
    cosine = trace(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, steps), steps)
    linear = trace(lambda o: torch.optim.lr_scheduler.LinearLR(o, 1.0, 0.0, steps), steps)
    for index in range(steps + 1):
        assert factor(VARIANTS["cosine"], index / steps) == pytest.approx(cosine[index], abs=1e-9)
        assert factor(VARIANTS["linear"], index / steps) == pytest.approx(linear[index], abs=1e-9)


def test_one_cycle_is_that_of_torch() -> None:
    steps = 100
    theirs = trace(
        lambda o: torch.optim.lr_scheduler.OneCycleLR(
            o, 1.0, total_steps=steps + 1, pct_start=0.31, div_factor=25, final_div_factor=4, cycle_momentum=False
        ),
        steps,
    )
    ours = ScheduleRecipe(shape="one-cycle", warm_up=0.3031, final_factor=0.01)
    for index, rate in enumerate(theirs):
        assert factor(ours, index / steps) == pytest.approx(rate, abs=0.005)


def test_the_rate_of_a_step_is_read_at_its_middle() -> None:
    recipe = Recipe(
        name="x",
        epochs=2,
        optimizer=OptimizerRecipe(learning_rate=0.5),
        schedule=ScheduleRecipe(shape="linear", warm_up=0.5),
    )
    rates = [learning_rate(recipe, step, 5) for step in range(10)]
    assert rates == pytest.approx([0.05, 0.15, 0.25, 0.35, 0.45, 0.45, 0.35, 0.25, 0.15, 0.05])
    assert min(rates) > 0
