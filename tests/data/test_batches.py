"""The batches of an epoch: every image once, the same from wherever the epoch is entered."""

from dataclasses import replace

import pytest
import torch

from commands_and_data import epoch_from
from modiste.data.batch import Batch, as_floats, as_targets, class_weights, weighted
from modiste.data.batches import Batches, steps_per_epoch
from modiste.data.dataset import ImageSet
from modiste.recipes.recipe import AugmentationRecipe, Recipe

COUNT, CLASSES = 53, 5
# Every image is told by its first two pixels.
NUMBERS = torch.arange(COUNT, dtype=torch.uint8)
IMAGES = torch.zeros(COUNT, 1, 4, 6, dtype=torch.uint8)
IMAGES[:, 0, 0, 0] = NUMBERS
TRAIN = ImageSet(IMAGES, torch.arange(COUNT) % CLASSES)
RECIPE = Recipe(name="x", batch_size=8, seed=3)


def epoch_of(recipe: Recipe, epoch: int, train: ImageSet = TRAIN) -> list[tuple[torch.Tensor, torch.Tensor]]:
    first = epoch * steps_per_epoch(len(train), recipe.batch_size)
    return [(batch.images, batch.targets) for batch in epoch_from(Batches(train, recipe, CLASSES), first)]


def order_of(recipe: Recipe, epoch: int) -> list[int]:
    return [round(pixel) for images, _ in epoch_of(recipe, epoch) for pixel in (images[:, 0, 0, 0] * 255).tolist()]


@pytest.mark.parametrize(("images", "size", "steps"), [(53, 8, 7), (56, 8, 7), (57, 8, 8), (3, 100, 1), (1, 1, 1)])
def test_steps(images: int, size: int, steps: int) -> None:
    assert steps_per_epoch(images, size) == steps


@pytest.mark.parametrize("batch_size", [1, 7, 8, 53, 1000])
def test_an_epoch_holds_every_image_once_with_its_label(batch_size: int) -> None:
    recipe = replace(RECIPE, batch_size=batch_size)
    assert sorted(order_of(recipe, 2)) == list(range(COUNT))
    parts = epoch_of(recipe, 2)
    assert len(parts) == steps_per_epoch(COUNT, batch_size)
    assert all(len(images) == min(batch_size, COUNT) for images, _ in parts[:-1])
    for images, targets in parts:
        numbers = (images[:, 0, 0, 0] * 255).round().long()
        assert torch.equal(targets.argmax(1), numbers % CLASSES)


def test_bytes_become_floats_that_are_channels_last() -> None:
    floats = as_floats(torch.full((2, 3, 4, 5), 255, dtype=torch.uint8))
    assert floats.is_contiguous(memory_format=torch.channels_last)
    assert (floats == 1).all()


AUGMENTED = replace(RECIPE, augmentation=AugmentationRecipe(flip=True, shift=2), label_smoothing=0.1)


@pytest.mark.parametrize("recipe", [RECIPE, AUGMENTED], ids=["plain", "augmented"])
@pytest.mark.parametrize("epoch", [0, 3])
def test_starting_in_the_middle_gives_the_same_batches(recipe: Recipe, epoch: int) -> None:
    whole, per_epoch = epoch_of(recipe, epoch), steps_per_epoch(COUNT, recipe.batch_size)
    for start in range(per_epoch):
        rest = list(epoch_from(Batches(TRAIN, recipe, CLASSES), epoch * per_epoch + start))
        assert len(rest) == per_epoch - start
        for batch, (images, targets) in zip(rest, whole[start:], strict=True):
            assert torch.equal(batch.images, images)
            assert torch.equal(batch.targets, targets)


def test_the_order_differs_by_epoch_and_by_seed_and_not_by_day() -> None:
    orders = [order_of(recipe, epoch) for recipe in (RECIPE, replace(RECIPE, seed=4)) for epoch in range(3)]
    assert all(sorted(order) == list(range(COUNT)) for order in orders)
    assert len({tuple(order) for order in orders}) == len(orders)
    assert list(range(COUNT)) not in orders
    torch.manual_seed(99)
    assert order_of(RECIPE, 1) == orders[1]


def test_augmentation_differs_by_step_and_keeps_the_order() -> None:
    shifted = replace(RECIPE, augmentation=AugmentationRecipe(shift=2), batch_size=COUNT)
    same = ImageSet(IMAGES[:1].expand(COUNT, 1, 4, 6).contiguous() + 200, TRAIN.labels)
    first, second = (epoch_of(shifted, epoch, same)[0][0] for epoch in (0, 1))
    assert not torch.equal(first, second)
    assert torch.equal(epoch_of(shifted, 0)[0][1], epoch_of(replace(RECIPE, batch_size=COUNT), 0)[0][1])


def test_the_images_are_not_changed() -> None:
    before = TRAIN.images.clone()
    epoch_of(AUGMENTED, 0)
    assert torch.equal(TRAIN.images, before)


def test_floats_are_bytes_over_255() -> None:
    values = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    floats = as_floats(values)
    assert floats.dtype == torch.float32
    assert torch.equal((floats * 255).round().to(torch.uint8), values)
    assert (floats.min().item(), floats.max().item()) == (0.0, 1.0)
    one_rounding = torch.finfo(torch.float32).eps
    torch.testing.assert_close(floats.double(), values.double() / 255, rtol=one_rounding, atol=0)
    assert torch.equal(values.flatten(), torch.arange(256, dtype=torch.uint8)), "the bytes themselves were changed"


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5, 0.99])
@pytest.mark.parametrize("classes", [2, 5, 10, 100])
def test_targets_are_probabilities(smoothing: float, classes: int) -> None:
    labels = torch.arange(20) % classes
    targets = as_targets(labels, classes, smoothing)
    assert targets.shape == (20, classes)
    assert targets.dtype == torch.float32
    torch.testing.assert_close(targets.sum(1), torch.ones(20))
    assert (targets >= 0).all()
    expected = torch.full((20, classes), smoothing / classes)
    expected[torch.arange(20), labels] += 1 - smoothing
    torch.testing.assert_close(targets, expected)


LABELS = torch.tensor([0] * 30 + [1] * 10 + [2] * 10)


@pytest.mark.parametrize("balance", [0.25, 0.5, 1.0])
def test_weights_make_up_for_small_classes_and_are_one_in_the_mean(balance: float) -> None:
    weights = class_weights(LABELS, 3, balance)
    assert weights[LABELS].mean().item() == pytest.approx(1, abs=1e-6)
    assert (weights[1] / weights[0]).item() == pytest.approx(3**balance, rel=1e-6)
    if balance == 1:
        shares = torch.zeros(3).index_add_(0, LABELS, weights[LABELS]) / len(LABELS)
        assert shares.tolist() == pytest.approx([1 / 3] * 3)


@pytest.mark.parametrize("balance", [0.25, 0.5, 1.0])
def test_a_class_without_images_has_no_share_in_the_mean_of_the_weights(balance: float) -> None:
    weights = class_weights(LABELS, 10, balance)
    assert weights[LABELS].mean().item() == pytest.approx(1, abs=1e-6)
    assert weights[:3].tolist() == pytest.approx(class_weights(LABELS, 3, balance).tolist())


def test_each_image_has_the_weight_of_its_classes() -> None:
    weights = torch.tensor([0.5, 2.0, 1.0])
    targets = torch.tensor([[1.0, 0, 0], [0.5, 0.5, 0], [0, 0, 1]])
    batch = weighted(Batch(torch.zeros(3, 1, 2, 2), targets), weights)
    assert batch.weights is not None
    assert batch.weights.tolist() == [0.5, 1.25, 1.0]
    part = batch[1:]
    assert part.weights is not None
    assert part.weights.tolist() == [1.25, 1.0]
    assert weighted(batch, None) is batch


@pytest.mark.parametrize("balance", [0.0, 1.0])
def test_batches_bear_weights_when_asked(balance: float) -> None:
    train = ImageSet(IMAGES[:50], LABELS)
    found = list(epoch_from(Batches(train, replace(RECIPE, balance=balance), 3), 0))
    assert all((batch.weights is None) == (balance == 0) for batch in found)
    if balance:
        whole = torch.cat([batch.weights for batch in found if batch.weights is not None])
        assert whole.mean().item() == pytest.approx(1, abs=1e-6)
