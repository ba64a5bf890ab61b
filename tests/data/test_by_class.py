"""Changes that depend on the class: who is changed, into what, and with which target."""

import pytest
import torch

from modiste import machine
from modiste.data import by_class
from modiste.data.batch import Batch, as_targets
from modiste.data.idx.idx_source import CLASS_NAMES
from modiste.errors import RecipeError
from modiste.recipes.recipe import ByClassRecipe

LABELS = torch.arange(60) % 3


def generator(step: int = 0) -> torch.Generator:
    return machine.generator(0, "augmentation", step)


def batch() -> Batch:
    """In each image the upper half is dark, the lower half light, and the left edge of it lightest."""
    images = torch.zeros(60, 1, 28, 28)
    images[:, :, 0:14, 2:26], images[:, :, 14:28, 2:26], images[:, :, 14:28, 2:4] = 0.3, 0.6, 0.9
    return Batch(images, as_targets(LABELS, 3, 0.1))


def test_the_asked_share_becomes_outliers_of_no_class() -> None:
    found = by_class.change_by_class(batch(), ByClassRecipe(outliers=0.25), generator())
    assert torch.allclose(found.targets[:15], torch.full((15, 3), 1 / 3))
    assert torch.equal(found.targets[15:], batch().targets[15:])
    assert torch.equal(found.images[15:], batch().images[15:])
    assert (found.images[:15] != batch().images[:15]).flatten(1).any(1).all()


def test_of_a_small_batch_no_image_becomes_an_outlier() -> None:
    few = batch()[:4]
    found = by_class.change_by_class(few, ByClassRecipe(outliers=0.1, upper=(0,)), generator())
    assert torch.equal(found.images, few.images)
    assert torch.equal(found.targets, few.targets)


def test_of_each_class_the_named_part_is_left_and_fills_the_frame() -> None:
    recipe = ByClassRecipe(outliers=0.5, upper=(0,), lower=(1,))
    parts, cut = by_class.cut_short(batch().images, LABELS, recipe, generator())
    assert torch.equal(cut, LABELS < 2)
    centres = parts[:, 0, 14, 14]  # a part is at most 0.6 of the height: its centre lies in its own half
    assert centres[LABELS == 0].sub(0.3).abs().max() < 0.05
    assert centres[LABELS == 1].sub(0.6).abs().max() < 0.05
    assert ((parts[cut, 0] > 0.1).any(1).sum(1) >= 27).all(), "it is wider than high, and fills the width"


def test_of_a_class_named_twice_either_part_is_left() -> None:
    recipe = ByClassRecipe(outliers=0.5, upper=(0,), lower=(0,))
    parts, _ = by_class.cut_short(batch().images[LABELS == 0], LABELS[LABELS == 0], recipe, generator())
    is_upper = parts[:, 0, 14, 14] < 0.35
    assert 0 < is_upper.sum() < len(is_upper)


def test_only_named_classes_are_shown_as_pairs_which_are_their_own_mirror_images() -> None:
    images = batch().images
    found = by_class.pair(images, LABELS, (1, 2), generator())
    changed = (found != images).flatten(1).any(1)
    assert not changed[LABELS == 0].any()
    assert 0.5 < changed[LABELS > 0].double().mean() < 0.95
    pairs = found[changed]
    assert torch.allclose(pairs, pairs.flip(3), atol=0.02)


def test_of_named_classes_half_the_images_are_shown_with_their_legs_apart() -> None:
    images = torch.zeros(60, 1, 28, 28)
    images[:, :, :8, 9:19], images[:, :, 8:, 9:13], images[:, :, 8:, 15:19] = 0.5, 0.7, 0.9
    found = by_class.legs_apart(images, LABELS, (1, 2), generator())
    changed = (found != images).flatten(1).any(1)
    assert not changed[LABELS == 0].any()
    assert 0.3 < changed[LABELS > 0].double().mean() < 0.7
    hip, foot = ((found[changed, 0, row] > 0.2).sum(1) for row in (2, 26))
    assert (hip > 0).all()
    spans = (found[changed, 0] > 0.2).amax(1).sum(1) / hip  # of the whole image: the feet stand farthest out
    assert (spans >= 1).all()
    assert spans.mean() > 1.5, "they stood below the hip"
    assert (foot < spans * hip).all(), "something dark is left between them"


@pytest.mark.parametrize("shape", [(20, 28), (28, 21)])
def test_images_need_not_be_square(shape: tuple[int, int]) -> None:
    images = torch.zeros(60, 1, *shape)
    images[:, :, 4:-4, 6:-6] = torch.linspace(0.2, 0.8, shape[1] - 12)
    recipe = ByClassRecipe(pair=(0, 1), legs=(2,), outliers=0.25, upper=(2,))
    found = by_class.change_by_class(Batch(images, as_targets(LABELS, 3, 0.0)), recipe, generator())
    assert found.images.shape == images.shape
    pairs = by_class.pair(images, LABELS, (0, 1), generator())
    changed = (pairs != images).flatten(1).any(1)
    assert 10 < changed.sum() <= 40
    if shape[1] % 2 == 0:
        assert torch.allclose(pairs[changed], pairs[changed].flip(3), atol=0.02)


@pytest.mark.parametrize("field", ["pair", "legs", "upper", "lower"])
def test_a_label_of_no_class_is_refused(field: str) -> None:
    recipe = ByClassRecipe(outliers=0.1, **{field: (1, 3)})
    assert len(by_class.check_labels(recipe, ("a", "b", "c", "d"))) == 1
    with pytest.raises(
        RecipeError, match=rf"^by_class.{field}: expected labels from 0 to 2 for 3 classes, or none, found \(1, 3"
    ):
        by_class.check_labels(recipe, ("a", "b", "c"))


def test_labels_of_other_classes_than_fashion_mnists_are_noted() -> None:
    recipe = ByClassRecipe(pair=(1, 2), outliers=0.1, lower=(0,))
    assert by_class.check_labels(recipe, CLASS_NAMES) == ()
    notes = by_class.check_labels(recipe, ("hat", "boot", "coat"))
    assert [note.partition(" here;")[0] for note in notes] == [
        "by_class.pair: its labels are 1 boot, 2 coat",
        "by_class.lower: its labels are 0 hat",
    ]
    assert by_class.check_labels(ByClassRecipe(outliers=0.1), ("hat", "boot")) == ()


def test_a_picture_of_several_classes_is_never_shown_twice() -> None:
    some = batch()
    several = Batch(some.images, torch.full((60, 3), 1 / 3))
    found = by_class.change_by_class(several, ByClassRecipe(pair=(0, 1, 2), legs=(0, 1, 2)), generator())
    assert torch.equal(found.images, some.images)


def test_the_same_step_gives_the_same_batch() -> None:
    recipe = ByClassRecipe(outliers=0.3, upper=(0,), pair=(1,), legs=(2,))
    one, same, other = (by_class.change_by_class(batch(), recipe, generator(step)) for step in (1, 1, 2))
    assert torch.equal(one.images, same.images)
    assert not torch.equal(one.images, other.images)


def test_pairs_keep_the_weights_of_their_images() -> None:
    weighted = Batch(batch().images, batch().targets, torch.linspace(0.5, 1.5, 60))
    found = by_class.change_by_class(weighted, ByClassRecipe(pair=(1,)), generator())
    assert found.weights is not None
    assert torch.equal(found.weights, torch.linspace(0.5, 1.5, 60))
