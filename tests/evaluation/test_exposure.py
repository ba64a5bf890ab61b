"""What is drawn to learn from: garments stay garments, nothing is nothing, one generator draws it again."""

import pytest
import torch

from modiste.data import by_class, garment_changes
from modiste.data.batch import as_floats
from modiste.evaluation.out_of_distribution import boundary
from modiste.recipes.recipe import AugmentationRecipe


@pytest.fixture(scope="module", params=[(1, 28, 28), (3, 30, 33), (1, 12, 12)], ids=str)
def images(request: pytest.FixtureRequest) -> torch.Tensor:
    """A light, textured box on black in each."""
    drawn = torch.zeros(64, *request.param, dtype=torch.uint8)
    height, width = request.param[1:]
    box = drawn[:, :, height // 4 : -height // 4, width // 8 : -width // 8]
    box[:] = torch.randint(60, 256, box.shape, generator=torch.Generator().manual_seed(1)).byte()
    return drawn


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def altered(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return boundary.in_distribution_images(images, AugmentationRecipe(shift=1, erase=0.5), generator)


def test_one_generator_draws_it_again(images: torch.Tensor) -> None:
    for draw in (boundary.out_of_distribution_images, altered):
        assert torch.equal(draw(images, generator()), draw(images, generator()))
        assert draw(images, generator()).shape == images.shape
        assert draw(images, generator()).dtype == torch.uint8


def test_a_cut_up_image_keeps_its_pixels_and_loses_their_order(images: torch.Tensor) -> None:
    whole = as_floats(images)
    height, width = images.shape[2] // 4 * 4, images.shape[3] // 4 * 4
    cut = by_class.shuffled_tiles(whole, 4, generator())
    assert torch.equal(
        cut.flatten(1).sort().values,
        boundary.F.pad(whole[:, :, :height, :width], (0, whole.shape[3] - width, 0, whole.shape[2] - height))
        .flatten(1)
        .sort()
        .values,
    )
    assert (cut != whole).flatten(1).any(1).all()


def test_four_tiles_never_stay_where_they_were() -> None:
    """One order of 24 leaves them in place. Of the images with another, none changes."""
    whole = torch.arange(4.0).view(1, 1, 2, 2).expand(500, 1, 2, 2)
    cut = by_class.shuffled_tiles(whole, 2, generator())
    order = torch.rand(500, 4, generator=generator()).argsort(1).float()
    stays = (order == torch.arange(4)).all(1)
    assert stays.any()
    assert torch.equal(cut.flatten(1)[~stays], order[~stays])
    assert (cut.flatten(1)[stays] == torch.tensor([3.0, 0.0, 1.0, 2.0])).all()


def test_shapes_differ_from_each_other_and_are_seldom_empty(images: torch.Tensor) -> None:
    drawn = boundary.as_bytes(by_class.random_shapes(as_floats(images), generator()))
    assert len({one.numpy().tobytes() for one in drawn}) == len(drawn)
    assert (drawn.flatten(1).amax(1) > 20).float().mean() > 0.9


def test_framed_it_reaches_two_opposite_sides_in_the_middle() -> None:
    image = torch.zeros(2, 1, 28, 28)
    image[0, 0, 3:9, 20:24] = 1
    found = garment_changes.framed(image)
    rows, columns = (found[0, 0] > 0.5).any(1).nonzero(), (found[0, 0] > 0.5).any(0).nonzero()
    assert (rows[0].item(), rows[-1].item()) == (0, 27)
    assert columns[0].item() + columns[-1].item() == 27
    assert len(columns) == pytest.approx(28 * 4 / 6, abs=1)
    assert torch.equal(found[1], image[1])


def test_a_garment_turned_a_little_still_looks_like_itself(images: torch.Tensor) -> None:
    turned = as_floats(boundary.in_distribution_images(images, AugmentationRecipe(), generator()))
    brightness = turned.mean().item() / as_floats(images).mean().item()
    assert 0.7 < brightness < 1.8
    assert not torch.equal(turned, as_floats(images))


def test_what_training_changes_is_changed_except_mirroring(images: torch.Tensor) -> None:
    plain = boundary.in_distribution_images(images, AugmentationRecipe(), generator())
    flipped = boundary.in_distribution_images(images, AugmentationRecipe(flip=True), generator())
    erased = boundary.in_distribution_images(images, AugmentationRecipe(erase=1.0), generator())
    random = AugmentationRecipe(random_ops=1, random_strength=1.0)
    operated = boundary.in_distribution_images(images, random, generator())
    assert torch.equal(plain, flipped)
    assert not torch.equal(plain, erased)
    assert not torch.equal(plain, operated)


def test_stretched_it_is_wider_or_narrower_and_whole() -> None:
    image = torch.zeros(40, 1, 28, 28)
    image[:, :, 4:-4, 4:-4] = 1
    found = boundary.stretched(image, generator())[:, 0] > 0.5
    width, height = (found.any(axis).sum(1) for axis in (1, 2))
    ratio = width / height
    low, high = boundary.STRETCH
    assert low - 0.1 < ratio.min() < 1 < 1.3 < ratio.max() < high + 0.1
    assert (torch.maximum(width, height) <= 21).all()


def test_a_negative_share_of_blur_sharpens() -> None:
    image = torch.full((3, 1, 9, 9), 0.3)
    image[:, :, :, 4:] = 0.6
    soft = by_class.softened(image, 0.5, generator(), least=0.5)
    sharp = by_class.softened(image, -0.5, generator(), least=-0.5)
    step = [(one[:, 0, 4, 4] - one[:, 0, 4, 3]).mean().item() for one in (soft, image, sharp)]
    assert step == sorted(step)
    assert step[0] < step[1] < step[2]
