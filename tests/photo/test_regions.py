"""Parts of a mask and the blur are what SciPy gives, whose results networks were trained with.

The blur is equal to the last bit where SciPy is compiled without fused multiplication and addition, as on x86-64.
"""

import numpy as np
import pytest
from scipy import ndimage

from modiste.photo.regions import bounding_box, gaussian_blur, label

MASKS = {
    "empty": np.zeros((5, 7), bool),
    "full": np.ones((5, 7), bool),
    "a pixel": np.ones((1, 1), bool),
    "corners that touch": np.eye(6, dtype=bool) | np.eye(6, dtype=bool)[::-1],
    "a comb, whose teeth meet in the last row": np.array([[1, 0, 1, 0, 1], [1, 0, 1, 0, 1], [1, 1, 1, 1, 1]], bool),
    "the end of a row and the start of the next": np.array([[0, 0, 1], [0, 0, 0], [1, 0, 0]], bool),
}


def check(mask: np.ndarray) -> None:
    expected, expected_count = ndimage.label(mask, np.ones((3, 3)))
    labels, count = label(mask)
    assert count == expected_count
    np.testing.assert_array_equal(labels, expected)
    assert [bounding_box(labels == number + 1) for number in range(count)] == ndimage.find_objects(expected)


@pytest.mark.parametrize("name", MASKS)
def test_parts_are_numbered_as_scipy_numbers_them(name: str) -> None:
    check(MASKS[name])


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_parts_of_noise(share: float) -> None:
    random = np.random.RandomState(int(share * 10))
    for height, width in ((1, 40), (40, 1), (30, 37), (64, 64)):
        check(random.random_sample((height, width)) < share)


def test_parts_of_a_spiral() -> None:
    """Its runs are joined in long chains."""
    spiral = np.zeros((41, 41), bool)
    for ring in range(0, 20, 2):
        inner = slice(ring, 41 - ring)
        spiral[ring, inner] = spiral[inner, 40 - ring] = spiral[40 - ring, inner] = True
        spiral[ring + 2 : 41 - ring, ring] = True
        spiral[ring + 2, ring : ring + 3] = True
    check(spiral)
    assert label(spiral)[1] == 1


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_the_blur_is_scipys(kind: type) -> None:
    random = np.random.RandomState(0)
    for height, width in ((28, 28), (9, 31), (160, 120)):
        image = (random.random_sample((height, width)) * 255).astype(kind)
        blurred = gaussian_blur(image, 0.7, radius=3, edge="symmetric")
        np.testing.assert_array_max_ulp(blurred, ndimage.gaussian_filter(image, 0.7), 4)
        assert blurred.dtype == kind
        sharp = gaussian_blur(image, 1.0, radius=1, edge="edge")
        np.testing.assert_array_max_ulp(sharp, ndimage.gaussian_filter(image, 1.0, mode="nearest", radius=1), 4)
