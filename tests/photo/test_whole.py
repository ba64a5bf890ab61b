"""Whole pictures: padded or stretched, in colour or grey, nothing left out."""

import io

import numpy as np
import pytest
from PIL import Image

from modiste.errors import PhotoError
from modiste.photo.preparation import WAYS, Preparation
from modiste.recipes.recipe import DataRecipe


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_the_ways_are_those_of_the_recipe() -> None:
    for way in WAYS:
        assert DataRecipe(pictures=way).pictures == way  # type: ignore[arg-type]


@pytest.mark.parametrize("side", [8, 28, 33])
def test_the_aspect_is_kept_on_black_or_stretched(side: int) -> None:
    wide = np.full((40, 80, 3), (200, 100, 50), np.uint8)
    padded = Preparation("whole", side, 3)(png(wide))
    height = round(side / 2)
    top = (side - height) // 2
    assert (padded.image[top : top + height] == (200, 100, 50)).all()
    assert padded.image[:top].max(initial=0) == padded.image[top + height :].max(initial=0) == 0
    assert (Preparation("stretched", side, 3)(png(wide)).image == (200, 100, 50)).all()


def test_grey_is_luminance() -> None:
    colours = np.zeros((10, 10, 3), np.uint8)
    colours[..., 1] = 100
    prepared = Preparation("whole", 10, 1)(png(colours))
    assert (prepared.image == 59).all()
    assert prepared.planes.shape == (1, 10, 10)
    assert Preparation("whole", 10, 3)(png(colours)).planes.shape == (3, 10, 10)
    assert list(prepared.steps) == ["photo", "network's view"]
    assert prepared.separated
    assert not prepared.inverted


def test_an_image_of_the_right_size_keeps_every_pixel() -> None:
    random = np.random.default_rng(0)
    colours, grey = random.integers(0, 256, (28, 28, 3), np.uint8), random.integers(0, 256, (28, 28), np.uint8)
    for way in ("whole", "stretched"):
        assert np.array_equal(Preparation(way, 28, 3)(png(colours)).image, colours)
        assert np.array_equal(Preparation(way, 28, 1)(png(grey)).image, grey)


def test_an_image_of_a_data_set_goes_to_a_grey_network_only() -> None:
    image = np.zeros((28, 28), np.uint8)
    assert Preparation("whole", 28, 1)(image).image is image
    with pytest.raises(PhotoError, match="expected an image of 28 x 28 in colour, found 28 x 28"):
        Preparation("whole", 28, 3)(image)
