"""Explanation by occlusion (Zeiler and Fergus, 2014): which parts of an image speak for the predicted class.

It covers one patch of the image after another and measures how much probability the class loses. It needs nothing but
the classifier's probabilities, so it works for any classifier, also for an exported file.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from modiste.inference.classifier import Classifier

PATCHES = 7
"""Number of patches side by side that cover the image. Patches start at every half of their width."""


class Patch(NamedTuple):
    """A square of an image."""

    rows: slice
    columns: slice


def evidence(classifier: Classifier, image: UInt8[np.ndarray, "c h w"]) -> Float[np.ndarray, "h w"]:
    """Return for each pixel how much the probability of the predicted class falls when its surroundings are covered.

    Patches are covered with black, the background of the data set.

    Args:
        classifier: whose prediction is explained.
        image: bytes of shape (C, H, W).

    Returns:
        The mean loss of probability over the patches that contain a pixel, -1 to 1. It is positive where the image
        speaks for the class and negative where it speaks against it.
    """
    patches = patches_of(image.shape[1:])
    covered = np.repeat(image[None], len(patches) + 1, axis=0)
    for one, patch in zip(covered[1:], patches, strict=True):
        one[:, *patch] = 0
    probabilities = classifier.classify(covered).probabilities
    best = int(probabilities[0].argmax())
    lost = probabilities[0, best] - probabilities[1:, best]
    total, count = np.zeros(image.shape[1:]), np.zeros(image.shape[1:])
    for loss, patch in zip(lost.tolist(), patches, strict=True):
        total[patch] += loss
        count[patch] += 1
    return total / count


def patches_of(shape: tuple[int, ...]) -> list[Patch]:
    """Return patches that cover an image of ``shape`` (height, width), each overlapping its neighbours by half."""
    rows, columns = (_spans(size) for size in shape)
    return [Patch(row, column) for row in rows for column in columns]


def _spans(size: int) -> list[slice]:
    """Return the patches along one side of the image."""
    half = max(1, size // (2 * PATCHES))
    return [slice(start, min(start + 2 * half, size)) for start in range(0, max(size - half, 1), half)]
