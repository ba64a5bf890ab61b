"""Random changes to images, against slow references that go image by image and pixel by pixel."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modiste import runtime
from modiste.data.augment import augment, flip, shift
from modiste.recipe import AugmentationRecipe

IMAGES = torch.randint(0, 256, (40, 2, 5, 7), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def generator(step: int = 0, seed: int = 0) -> torch.Generator:
    return runtime.generator(seed, "augmentation", step)


def moved(image: torch.Tensor, down: int, right: int) -> torch.Tensor:
    """Pixel by pixel; what comes from outside is zero."""
    result = torch.zeros_like(image)
    _, height, width = image.shape
    for row in range(height):
        for column in range(width):
            if 0 <= row - down < height and 0 <= column - right < width:
                result[:, row, column] = image[:, row - down, column - right]
    return result


def test_each_image_is_mirrored_or_left() -> None:
    flipped = flip(IMAGES, generator())
    mirrored = [torch.equal(after, before.flip(2)) for before, after in zip(IMAGES, flipped, strict=True)]
    left = [torch.equal(after, before) for before, after in zip(IMAGES, flipped, strict=True)]
    assert all(one != other for one, other in zip(mirrored, left, strict=True))
    assert 0 < sum(mirrored) < len(IMAGES)


def test_flipping_twice_with_the_same_draw_is_nothing() -> None:
    assert torch.equal(flip(flip(IMAGES, generator(4)), generator(4)), IMAGES)


def test_half_are_mirrored() -> None:
    marked = torch.zeros(20_000, 1, 1, 2, dtype=torch.uint8)
    marked[:, 0, 0, 0] = 1
    share = flip(marked, generator())[:, 0, 0, 1].double().mean().item()
    assert share == pytest.approx(0.5, abs=0.015)  # 4 standard deviations


@pytest.mark.parametrize("most", [1, 2, 4, 9])
def test_each_image_is_moved_by_an_allowed_amount(most: int) -> None:
    for before, after in zip(IMAGES, shift(IMAGES, most, generator(most)), strict=True):
        steps = range(-most, most + 1)
        assert any(torch.equal(after, moved(before, down, right)) for down in steps for right in steps)


def test_every_amount_occurs_equally_often_in_both_directions() -> None:
    most, count = 2, 10_000
    points = torch.zeros(count, 1, 5, 5, dtype=torch.uint8)
    points[:, 0, 2, 2] = 1
    seen = shift(points, most, generator()).sum(0)[0].double() / count
    assert seen.sum().item() == pytest.approx(1), "a point was lost though it cannot leave the image"
    assert (seen - 1 / 25).abs().max().item() < 0.009  # 4.5 standard deviations


@settings(max_examples=40, derandomize=True, deadline=None, database=None)
@given(
    st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 6), st.integers(1, 6)),
    st.booleans(),
    st.integers(0, 7),
    st.integers(0, 2**40),
)
def test_any_shape_keeps_type_and_shape_and_follows_from_seed_and_step(
    shape: tuple[int, int, int, int], mirror: bool, most: int, step: int
) -> None:
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    untouched, recipe = images.clone(), AugmentationRecipe(flip=mirror, shift=most)
    one = augment(images, recipe, generator(step))
    torch.manual_seed(step % 1000)
    other = augment(images, recipe, generator(step))
    assert torch.equal(one, other)
    assert one.dtype == torch.uint8
    assert one.shape == images.shape
    assert torch.equal(images, untouched)
    if not mirror and not most:
        assert torch.equal(one, images)


def test_another_step_or_seed_gives_another_result() -> None:
    recipe = AugmentationRecipe(flip=True, shift=3)
    results = [augment(IMAGES, recipe, generator(step, seed)) for step in (0, 1) for seed in (0, 1)]
    for index, one in enumerate(results):
        assert not any(torch.equal(one, other) for other in results[index + 1 :])


def test_memory_layout_changes_nothing() -> None:
    recipe = AugmentationRecipe(flip=True, shift=3)
    channels_last = IMAGES.contiguous(memory_format=torch.channels_last)
    assert torch.equal(augment(IMAGES, recipe, generator()), augment(channels_last, recipe, generator()))
