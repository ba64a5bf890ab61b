"""Where a network looked: how much of its belief in a class is lost when a patch of the image is covered.

Occlusion after Zeiler and Fergus (2014). It asks nothing of the network but answers, so that any classifier can be
explained, an exported file too.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from modiste.inference.classifier import Classifier

PATCHES = 7
"""Patches along each side that together cover the image; they are moved by half of their own width."""


class Patch(NamedTuple):
    """A square of an image."""

    rows: slice
    columns: slice


def evidence(classifier: Classifier, image: UInt8[np.ndarray, "c h w"]) -> Float[np.ndarray, "h w"]:
    """Return for each pixel how much the probability of the likeliest class falls when its surroundings are covered.

    Each pixel's value is the mean over the patches that hold it, -1 to 1: above 0 where the image speaks for the
    class, below where it speaks against it. A patch is covered with black: nothing there, as the data set has it.
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
    """Return patches that cover an image of ``shape``, each overlapping its neighbours by half."""
    rows, columns = (_spans(size) for size in shape)
    return [Patch(row, column) for row in rows for column in columns]


def _spans(size: int) -> list[slice]:
    half = max(1, size // (2 * PATCHES))
    return [slice(start, min(start + 2 * half, size)) for start in range(0, max(size - half, 1), half)]
