"""The preview of augmentation shows what training gets, and says at what strength."""

from dataclasses import fields, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from figure_checks import check_legible, texts, written
from matplotlib.figure import Figure

from fault_counter import slow_case
from modiste import machine
from modiste.data.augment import augment
from modiste.data.batch import Batch, as_floats, as_targets
from modiste.data.dataset import Development, ImageSet
from modiste.recipes import named
from modiste.recipes.recipe import AugmentationRecipe, Recipe
from modiste.reports import augmentations, style
from modiste.reports.figures import write_figures
from modiste.reports.image_rows import FINE
from modiste.reports.images import choose_samples

IMAGES = augmentations.IMAGES
NAMES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


@pytest.fixture(scope="module")
def development() -> Development:
    random = np.random.RandomState(2)
    images = torch.from_numpy(random.randint(0, 256, (40, 1, 28, 28)).astype(np.uint8))
    train = ImageSet(images, torch.arange(40) % 10)
    return Development("specimens", train, train.images, train, NAMES, "")


@pytest.fixture(scope="module")
def figure(development: Development) -> Figure:
    """Figure of every field; never changed."""
    return augmentations.every_field(development)


def first_ones(development: Development, smoothing: float = 0.0) -> Batch:
    chosen = choose_samples(development.train.labels, IMAGES)
    images, labels = development.train.images[chosen], development.train.labels[chosen]
    return Batch(as_floats(images), as_targets(labels, len(NAMES), smoothing))


def drawn_row(figure: Figure, number: int) -> torch.Tensor:
    pictures = figure.axes[0].images[IMAGES * number : IMAGES * (number + 1)]
    return torch.stack([torch.from_numpy(np.asarray(item.get_array())) for item in pictures])


def test_every_field_has_its_row(figure: Figure) -> None:
    names = [item.name for item in fields(AugmentationRecipe) if item.name != "random_strength"]
    assert list(augmentations.EXAMPLES) == names
    assert len(figure.axes[0].images) == IMAGES * (len(names) + 1)
    labels = [text.split()[0] for text in written(figure)]
    assert set(names) <= set(labels)
    check_legible(figure)


@pytest.mark.parametrize("name", augmentations.EXAMPLES)
def test_a_row_shows_what_the_field_does(name: str, development: Development, figure: Figure) -> None:
    number = list(augmentations.EXAMPLES).index(name)
    recipe, _ = augmentations.EXAMPLES[name]
    expected = augment(first_ones(development), recipe, machine.generator(1, "augmentation", number))
    drawn = drawn_row(figure, number + 1)
    np.testing.assert_allclose(drawn, expected.images[:, 0], atol=1e-6)
    assert not torch.equal(drawn, drawn_row(figure, 0))


def test_a_recipes_draws_are_those_of_its_augmentation(development: Development) -> None:
    recipe = replace(named.wide_resnet(), seed=4)
    figure, batch = augmentations.of_recipe(development, recipe), first_ones(development, recipe.label_smoothing)
    for draw in range(augmentations.DRAWS):
        expected = augment(batch, recipe.augmentation, machine.generator(4, "augmentation", draw))
        np.testing.assert_allclose(drawn_row(figure, draw + 1), expected.images[:, 0], atol=1e-6)
        for target in expected.targets:
            assert augmentations.target_text(target, NAMES) in written(figure)
    check_legible(figure)


@pytest.mark.parametrize(
    "names",
    [
        slow_case(NAMES, id="usual"),
        pytest.param(tuple(letter * 30 for letter in "WMQGOHNUDK"), id="long"),
        slow_case(tuple("衣服鞋包帽裤裙衫靴袜"), id="wide"),
    ],
)
def test_captions_leave_room_between_them(names: tuple[str, ...], development: Development) -> None:
    renamed = replace(development, class_names=names)
    mixing = Recipe(name="x", augmentation=AugmentationRecipe(mixup=0.4, cutmix=1.0), label_smoothing=0.1)
    for figure in (augmentations.every_field(renamed), augmentations.of_recipe(renamed, mixing)):
        check_legible(figure)
        with style.figure_style():
            boxes = [item.get_window_extent() for item in texts(figure) if item.get_fontsize() == FINE]
        assert len(boxes) >= 2 * IMAGES
        for one, other in combinations(sorted(boxes, key=lambda box: box.x0), 2):
            if min(one.y1, other.y1) > max(one.y0, other.y0):
                assert other.x0 - one.x1 > 0.03 * figure.dpi


def test_a_target_is_written_in_percent() -> None:
    target = torch.tensor([0.0, 0.3, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.7, 0.0])
    assert augmentations.target_text(target, NAMES).replace("\N{NO-BREAK SPACE}", " ") == "70 % Bag\n30 % Trouser"
    alone = torch.eye(10)[1]
    assert augmentations.target_text(alone, NAMES).replace("\N{NO-BREAK SPACE}", " ") == "100 % Trouser"


def test_changes_in_words() -> None:
    assert augmentations.changes(AugmentationRecipe()) == ""
    assert augmentations.changes(AugmentationRecipe(flip=True, shift=2, erase=0.5)) == "flip, shift 2, erase 0.5"


def test_of_a_recipe_that_augments_there_is_a_figure_and_without_a_run_none_of_curves(
    tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path
) -> None:
    recipe = replace(tiny_recipe, augmentation=AugmentationRecipe(flip=True, mixup=0.5))
    paths = write_figures(tmp_path, recipe=recipe, data_folder=tiny_folder, format="svg")
    assert [path.stem for path in paths] == [
        "figure-1-layers",
        "figure-2-activations",
        "figure-3-network",
        "figure-4-samples",
        "augmentations",
        "augmentation-of-tiny",
    ]
