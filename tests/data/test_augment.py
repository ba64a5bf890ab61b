"""Random changes to images, against slow references that go image by image and pixel by pixel."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modiste import machine
from modiste.data.augment import (
    CHANGES,
    MIXTURES,
    augment,
    colour,
    crop,
    cutout,
    erase,
    flip,
    photo,
    resized_crop,
    rotate,
    shift,
)
from modiste.data.batch import Batch, as_targets
from modiste.data.geometry import boxes
from modiste.recipes.recipe import AugmentationRecipe

IMAGES = torch.randint(0, 256, (40, 2, 5, 7), generator=torch.Generator().manual_seed(1)) / 255


def generator(step: int = 0, seed: int = 0) -> torch.Generator:
    return machine.generator(seed, "augmentation", step)


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
    flipped = flip(IMAGES, True, generator())
    mirrored = [torch.equal(after, before.flip(2)) for before, after in zip(IMAGES, flipped, strict=True)]
    left = [torch.equal(after, before) for before, after in zip(IMAGES, flipped, strict=True)]
    assert all(one != other for one, other in zip(mirrored, left, strict=True))
    assert 0 < sum(mirrored) < len(IMAGES)


def test_flipping_twice_with_the_same_draw_is_nothing() -> None:
    assert torch.equal(flip(flip(IMAGES, True, generator(4)), True, generator(4)), IMAGES)


def test_half_are_mirrored() -> None:
    marked = torch.zeros(20_000, 1, 1, 2)
    marked[:, 0, 0, 0] = 1
    share = flip(marked, True, generator())[:, 0, 0, 1].double().mean().item()
    assert share == pytest.approx(0.5, abs=0.015)  # 4 standard deviations


@pytest.mark.parametrize("most", [1, 2, 4, 9])
def test_each_image_is_moved_by_an_allowed_amount(most: int) -> None:
    for before, after in zip(IMAGES, shift(IMAGES, most, generator(most)), strict=True):
        steps = range(-most, most + 1)
        assert any(torch.equal(after, moved(before, down, right)) for down in steps for right in steps)


def test_every_amount_occurs_equally_often_in_both_directions() -> None:
    most, count = 2, 10_000
    points = torch.zeros(count, 1, 5, 5)
    points[:, 0, 2, 2] = 1
    seen = shift(points, most, generator()).sum(0)[0].double() / count
    assert seen.sum().item() == pytest.approx(1), "a point was lost though it cannot leave the image"
    assert (seen - 1 / 25).abs().max().item() < 0.009  # 4.5 standard deviations


LABELS = torch.arange(40) % 10
BATCH = Batch(IMAGES, as_targets(LABELS, 10, 0.1))
STRENGTHS = {
    "flip": True,
    "shift": 3,
    "crop": 0.3,
    "resized_crop": 0.5,
    "rotate": 20.0,
    "photo": 0.6,
    "colour": 0.4,
    "trivial": 1.0,
    "random_ops": 2,
    "erase": 0.9,
    "cutout": 3,
    "aspect": 0.6,
    "fold": 0.2,
    "pattern": 0.8,
    "tone": 0.9,
    "hide": 0.9,
    "mixup": 0.8,
    "cutmix": 1.0,
    "fmix": 1.0,
}


def recipe_of(**strengths: float) -> AugmentationRecipe:
    """The recipe of these fields, with the one that random_ops needs beside it."""
    return AugmentationRecipe(**strengths, random_strength=0.5 if "random_ops" in strengths else 0.0)  # type: ignore[arg-type]


def test_every_field_of_the_recipe_is_a_change_or_a_mixture() -> None:
    names = {item.name for item in fields(AugmentationRecipe)}
    assert names == {*STRENGTHS, "random_strength"}
    pair = {"random_ops", "random_strength"}
    assert {*CHANGES, *MIXTURES} == names - pair | {"random_operations"}


@pytest.mark.parametrize("name", STRENGTHS)
def test_each_follows_from_seed_and_step_alone(name: str) -> None:
    recipe, untouched = recipe_of(**{name: STRENGTHS[name]}), IMAGES.clone()
    one = augment(BATCH, recipe, generator(3))
    torch.manual_seed(99)
    same, other = augment(BATCH, recipe, generator(3)), augment(BATCH, recipe, generator(4))
    assert torch.equal(one.images, same.images)
    assert torch.equal(one.targets, same.targets)
    assert not torch.equal(one.images, other.images)
    assert torch.equal(IMAGES, untouched)


@pytest.mark.parametrize("name", STRENGTHS)
def test_images_stay_images_and_targets_probabilities(name: str) -> None:
    batch = augment(BATCH, recipe_of(**{name: STRENGTHS[name]}), generator())
    assert batch.images.shape == IMAGES.shape
    assert batch.images.min() >= 0
    assert batch.images.max() <= 1 + 1e-6
    assert torch.allclose(batch.targets.sum(1), torch.ones(40))
    assert not torch.equal(batch.images, IMAGES)


def test_without_strength_nothing_changes() -> None:
    batch = augment(BATCH, AugmentationRecipe(), generator())
    assert torch.equal(batch.images, IMAGES)
    assert torch.equal(batch.targets, BATCH.targets)


@settings(max_examples=40, derandomize=True, deadline=None, database=None)
@given(st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(2, 6), st.integers(2, 6)), st.integers(0, 2**40))
def test_any_shape_can_be_changed_by_everything_at_once(shape: tuple[int, int, int, int], step: int) -> None:
    images = torch.rand(shape, generator=torch.Generator().manual_seed(2))
    batch = Batch(images, as_targets(torch.zeros(shape[0], dtype=torch.long), 3, 0.0))
    result = augment(batch, recipe_of(**STRENGTHS), generator(step))
    assert result.images.shape == shape
    assert result.images.isfinite().all()


def test_mixup_mixes_images_and_targets_by_the_same_share() -> None:
    """Constant images tell their share: each is its own class's number."""
    numbers = torch.arange(10.0)
    batch = Batch((numbers / 10)[:, None, None, None].expand(10, 1, 4, 4), torch.eye(10))
    mixed = augment(batch, AugmentationRecipe(mixup=1.0), generator())
    assert torch.allclose(mixed.images[:, 0, 0, 0] * 10, mixed.targets @ numbers, atol=1e-5)


def test_cutmix_gives_targets_the_share_of_pasted_pixels() -> None:
    numbers = torch.arange(10.0)
    batch = Batch((numbers / 10)[:, None, None, None].expand(10, 1, 9, 9), torch.eye(10))
    mixed = augment(batch, AugmentationRecipe(cutmix=1.0), generator())
    assert torch.allclose(mixed.images.mean((1, 2, 3)) * 10, mixed.targets @ numbers, atol=1e-5)
    values = [image.unique().numel() for image in mixed.images]
    assert max(values) == 2


def test_cutout_blackens_at_most_its_square() -> None:
    images = torch.ones(500, 1, 12, 12)
    black = (cutout(images, 4, generator()) == 0).sum((1, 2, 3))
    assert black.max() == 16
    assert black.min() >= 4  # a quarter is left at the corners


def test_erasing_replaces_a_rectangle_in_the_asked_share_of_images() -> None:
    images = torch.full((2000, 1, 20, 20), 2.0)
    changed = erase(images, 0.3, generator()) != 2
    touched = changed.any(dim=3).any(dim=2).any(dim=1)
    assert touched.double().mean().item() == pytest.approx(0.3, abs=0.04)
    areas = changed[touched].double().mean((1, 2, 3))
    assert 0.01 < areas.min() < 0.06
    assert 0.3 < areas.max() <= 0.45
    for mask in changed[touched][:50, 0]:
        rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
        assert mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].all()


def test_a_rectangle_inside_begins_everywhere_equally_often() -> None:
    count = 8000
    half = torch.full((count,), 0.5)
    masks = boxes(torch.zeros(count, 1, 6, 8), half, half, generator(), inside=True)
    assert (masks.flatten(1).sum(1) == 3 * 4).all()
    for axis, places in ((2, 4), (1, 5)):
        starts = torch.bincount(masks.any(axis).int().argmax(1), minlength=places).double() / count
        assert len(starts) == places
        assert (starts - 1 / places).abs().max().item() < 0.022  # 4.5 standard deviations


def test_erasing_treats_opposite_sides_alike() -> None:
    count = 8000
    erased = (erase(torch.full((count, 1, 12, 12), 2.0), 1.0, generator()) != 2)[:, 0].double().mean(0)
    for axis in (0, 1):
        assert (erased - erased.flip(axis)).abs().max().item() < 0.036  # 4.5 standard deviations of a difference


def test_rotation_of_an_image_that_is_no_square_keeps_shapes() -> None:
    """Columns at the edge are black: without them, an image turns as it does with them."""
    square = torch.zeros(20, 1, 40, 40)
    square[:, :, 16:24, 16:24] = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    turned, narrow = (rotate(images, 60.0, generator()) for images in (square, square[..., 8:32]))
    torch.testing.assert_close(narrow, turned[..., 8:32], rtol=0, atol=1e-4)  # coordinates of 40, with 24 bits
    assert not torch.allclose(narrow, square[..., 8:32], atol=0.1)


def test_rotation_and_crop_keep_the_centre() -> None:
    images = torch.zeros(50, 1, 11, 11)
    images[:, :, 5, 5] = 1
    turned = rotate(images, 45.0, generator())
    assert torch.allclose(turned[:, 0, 5, 5], torch.ones(50), atol=1e-4)
    ramp = torch.linspace(0, 1, 16).expand(50, 1, 16, 16)
    closer = crop(ramp, 0.5, generator())
    assert (closer.diff(dim=3)[:, :, :, 1:-1].mean((1, 2, 3)) < ramp.diff(dim=3).mean()).all(), "not enlarged"


def test_a_resized_crop_lies_inside_with_the_area_and_aspect_allowed() -> None:
    """The two channels are the coordinates, from -1 to 1: the slopes of the result are the sides of the crop."""
    side = 32
    at = (2 * torch.arange(side) + 1) / side - 1
    places = torch.stack([at.expand(side, side), at[:, None].expand(side, side)]).expand(500, 2, side, side)
    taken = resized_crop(places, 0.6, generator())
    inner = taken[:, :, 4:-4, 4:-4]
    wide = inner[:, 0].diff(dim=2).mean((1, 2)) * side / 2
    tall = inner[:, 1].diff(dim=1).mean((1, 2)) * side / 2
    assert 0.38 < (wide * tall).min() < 0.45
    assert 0.95 < (wide * tall).max() < 1.001
    assert 0.74 < (wide / tall).min() < 0.8
    assert 1.25 < (wide / tall).max() < 1.35
    centres = taken.mean((2, 3)).abs()
    assert (centres[:, 0] + wide < 1.01).all()
    assert (centres[:, 1] + tall < 1.01).all()


def test_colour_changes_light_and_contrast_by_what_is_allowed() -> None:
    plain = torch.full((800, 3, 4, 4), 0.4)
    lit = colour(plain, 0.5, generator())
    assert (lit.amax((2, 3)) - lit.amin((2, 3))).max() < 1e-5, "an even image became uneven"
    channels = lit[:, :, 0, 0] / 0.4
    level = channels.mean(1)
    assert 0.5 * 0.85 < level.min() < 0.6
    assert 1.4 < level.max() < 1.5 * 1.15
    assert channels.mean() == pytest.approx(1, abs=0.05)
    assert (channels / level[:, None] - 1).abs().max() > 0.1, "the light has no colour"
    halves = torch.full((800, 3, 4, 4), 0.3)
    halves[:, :, :2] = 0.5
    spans = colour(halves, 0.5, generator())[:, :, 0, 0] - colour(halves, 0.5, generator())[:, :, 3, 0]
    assert spans.min() > 0, "light and dark changed places"
    assert spans.max() / spans.min() > 4


def test_colour_fades_to_grey_and_no_further() -> None:
    red = torch.zeros(800, 3, 2, 2)
    red[:, 0] = 0.5
    changed = colour(red, 0.9, generator())
    assert (changed[:, 0] >= changed[:, 1:].amax(1)).all()
    assert (changed[:, 1] == 0).any(), "no image is more saturated"
    assert (changed[:, 1] > 0.1).any(), "no image is less saturated"


def test_a_photo_keeps_the_object_inside_and_lifts_the_background() -> None:
    images = torch.zeros(200, 1, 28, 28)
    images[:, :, 4:24, 4:24] = 1
    taken = photo(images, 0.5, generator())
    assert taken[:, :, 0].mean() > 0.02
    assert taken.mean() > 0.2


def test_another_step_or_seed_gives_another_result() -> None:
    recipe = AugmentationRecipe(flip=True, shift=3)
    results = [augment(BATCH, recipe, generator(step, seed)).images for step in (0, 1) for seed in (0, 1)]
    for index, one in enumerate(results):
        assert not any(torch.equal(one, other) for other in results[index + 1 :])


def test_memory_layout_changes_nothing() -> None:
    recipe = AugmentationRecipe(flip=True, shift=3)
    batch = Batch(IMAGES.contiguous(memory_format=torch.channels_last), BATCH.targets)
    assert torch.equal(augment(BATCH, recipe, generator()).images, augment(batch, recipe, generator()).images)


@pytest.mark.parametrize("recipe", [AugmentationRecipe(), AugmentationRecipe(flip=True)])
def test_a_batch_comes_back_channels_last(recipe: AugmentationRecipe) -> None:
    assert augment(BATCH, recipe, generator()).images.is_contiguous(memory_format=torch.channels_last)


def test_the_guide_has_the_changes_in_their_order() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "augmentation.md").read_text(encoding="utf-8")
    table = guide.partition("| field |")[2].partition("\n\n")[0]
    names = [name for name in re.findall(r"^\| `(\w+)`", table, re.MULTILINE) if name != "random_strength"]
    assert [name.replace("random_ops", "random_operations") for name in names] == [*CHANGES, *MIXTURES]
