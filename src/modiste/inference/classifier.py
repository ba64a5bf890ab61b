"""The interface of everything that classifies images, and the explanation by occlusion that works for each of them.

A classifier runs with torch (``Predictor``) or without it (``OnnxModel``). Occlusion (Zeiler and Fergus, 2014) covers
one patch of the image after another and measures how much probability the predicted class loses. It needs only the
classifier's probabilities.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from modiste.errors import DataError, RecipeError
from modiste.photo.preparation import CHANNELS, Preparation
from modiste.recipes.recipe import DECODERS


@dataclass(frozen=True)
class Scores:
    """A classifier's results for N images.

    Attributes:
        class_names: One per class, in the order of the columns.
        probabilities: Probabilities of each class, calibrated by temperature scaling on validation images.
        novelty: How unlike the training images each image is; above 1 it is out of distribution. None if the classifier
            has no detector.
        logits: Logits of each class; None if an exported file leaves them out.
    """

    class_names: tuple[str, ...]
    probabilities: Float[np.ndarray, "n classes"]
    novelty: Float[np.ndarray, " n"] | None = None
    logits: Float[np.ndarray, "n classes"] | None = None

    @property
    def names(self) -> list[str]:
        """The name of each image's most probable class."""
        values = self.probabilities if self.logits is None else self.logits  # logits have fewer ties
        return [self.class_names[label] for label in values.argmax(1).tolist()]


class Classifier(ABC):
    """Classifies images of bytes, shaped as those of its data set."""

    @property
    @abstractmethod
    def class_names(self) -> tuple[str, ...]:
        """One name per class, in the order of the probabilities."""

    @property
    @abstractmethod
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the images that it takes."""

    @abstractmethod
    def classify(self, images: UInt8[np.ndarray, "n c h w"]) -> Scores:
        """Return the scores of all images; DataError if they have another shape or are not bytes."""

    @property
    @abstractmethod
    def pictures(self) -> str:
        """How picture files were prepared for its training: a key of ``photo.preparation.WAYS``."""

    @property
    def decoder(self) -> int:
        """How picture files were decoded for its training: one of DECODERS."""
        return DECODERS[-1]

    @property
    def background(self) -> str:
        """How garments were found for its training: a key of ``photo.separation.BACKGROUNDS``."""
        return "plain"

    @property
    def transpose(self) -> bool:
        """Whether rows and columns of its data set's images were exchanged for its training."""
        return False

    @property
    def preparation(self) -> Preparation:
        """Turns picture files into its images; RecipeError unless these are square, with 1 or 3 channels."""
        channels, height, width = self.image_shape
        if channels not in CHANNELS or height != width:
            raise RecipeError(
                f"photos become square images, grey or in colour; this network takes {channels} x {height} x {width}; "
                "choose one for images of one or three channels and equal sides"
            )
        return Preparation(self.pictures, height, channels, self.decoder, self.background)

    def preparation_with(self, background: str | None) -> Preparation:
        """Return the preparation with another way to find a garment, ready for use; None leaves it as it is.

        Raises:
            RecipeError: As for ``preparation``; or there is no such way, or the network takes whole pictures.
            MissingExtraError, DataError: The segmentation network is not installed, or its file is another one.
        """
        own = self.preparation
        chosen = own if background is None else replace(own, background=background)
        chosen.check_network()
        return chosen

    def least_probability(self, coverage: float) -> float:
        """Return the probability from which on a class belongs to a prediction set of this coverage.

        Raises:
            RecipeError: The coverage is out of range, or this classifier knows no validation images.
        """
        raise RecipeError(
            "coverage: expected the folder of a run, or an ONNX file of modiste export; validation images set the "
            "threshold, and this model does not keep what they showed"
        )

    def demand_images(self, shape: tuple[int, ...], kind: str) -> None:
        """Raise DataError unless an array of this shape and number type is a batch of its images."""
        if len(shape) != 4 or shape[1:] != self.image_shape or kind != "uint8":
            raise DataError(
                f"images: expected bytes of shape (N, {', '.join(map(str, self.image_shape))}), "
                f"found {kind} of shape {shape}"
            )


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
        classifier: Whose prediction is explained.
        image: Bytes of shape (C, H, W).

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
