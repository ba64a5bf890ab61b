"""Where a network looked, against a classifier whose reasons are known."""

import numpy as np
import pytest

from modiste.errors import DataError, RecipeError
from modiste.inference.classifier import Classifier, Scores, evidence, patches_of
from modiste.photo.preparation import Preparation


class Corner(Classifier):
    """Believes in its first class as much as the upper left corner is bright."""

    shape = (1, 28, 28)
    way = "garment"

    @property
    def class_names(self) -> tuple[str, ...]:
        return ("bright", "dark")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.shape

    @property
    def pictures(self) -> str:
        return self.way

    def classify(self, images: np.ndarray) -> Scores:
        self.demand_images(images.shape, str(images.dtype))
        bright = (images[:, 0, :8, :8].mean((1, 2)) / 255).astype(np.float32)
        return Scores(self.class_names, np.stack([bright, 1 - bright], axis=1))


def test_what_was_looked_at_is_found_and_nothing_else() -> None:
    found = evidence(Corner(), np.full((1, 28, 28), 255, np.uint8))
    assert found.shape == (28, 28)
    assert found[:8, :8].min() > 0
    assert found[10:, :].max() == found[:, 10:].max() == 0
    assert found.argmax() // 28 < 8


def test_what_speaks_against_the_answer_is_below_zero() -> None:
    image = np.zeros((1, 28, 28), np.uint8)
    image[:, :8, :8] = 100  # dark by 0.61, more so when the corner is covered
    assert evidence(Corner(), image)[:8, :8].max() < 0


@pytest.mark.parametrize("side", [1, 7, 12, 28, 32, 64])
def test_patches_cover_every_pixel(side: int) -> None:
    count = np.zeros((side, side))
    for patch in patches_of((side, side)):
        count[patch] += 1
    assert count.min() >= 1


@pytest.mark.usefixtures("without_type_checks")
def test_a_classifier_says_which_images_it_takes() -> None:
    with pytest.raises(DataError, match=r"expected bytes of shape \(N, 1, 28, 28\), found float32 of shape"):
        Corner().classify(np.zeros((2, 1, 28, 28), np.float32))
    assert Corner().preparation == Preparation("garment", 28, 1)
    other = Corner()
    for shape in ((2, 28, 28), (1, 28, 20)):
        other.shape = shape
        with pytest.raises(RecipeError, match="square images"):
            _ = other.preparation
    other.shape = (3, 28, 28)
    with pytest.raises(RecipeError, match="choose whole for colour"):
        _ = other.preparation
    other.way = "whole"
    assert other.preparation == Preparation("whole", 28, 3)
    other.way = "upside down"
    with pytest.raises(RecipeError, match="'upside down' is unknown; known: garment, whole"):
        _ = other.preparation
