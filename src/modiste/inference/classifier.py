"""What everything that answers has in common, whether torch computes the answer or an exported file does."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from modiste.errors import DataError, RecipeError
from modiste.photo.preparation import CHANNELS, Preparation


@dataclass(frozen=True)
class Scores:
    """What a classifier makes of N images.

    Attributes:
        probabilities: of each class, tempered by what validation showed.
        novelty: how unlike anything in training each image is, above 1 none of the classes; None where nobody knows.
    """

    probabilities: Float[np.ndarray, "n classes"]
    novelty: Float[np.ndarray, " n"] | None


class Classifier(ABC):
    """Answers for images of bytes as the data set has them."""

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
        """Return what it makes of the images, all in one pass; DataError when they are of another shape."""

    @property
    @abstractmethod
    def pictures(self) -> str:
        """How picture files were prepared in its training: a key of ``photo.preparation.WAYS``."""

    @property
    def preparation(self) -> Preparation:
        """What turns picture files into its images; RecipeError when those are not square, or no pictures."""
        channels, height, width = self.image_shape
        if channels not in CHANNELS or height != width:
            raise RecipeError(
                f"photos become square images, grey or in colour; this network takes {channels} x {height} x {width}; "
                "choose one for images of one or three channels and equal sides"
            )
        return Preparation(self.pictures, height, channels)

    def demand_images(self, shape: tuple[int, ...], kind: str) -> None:
        """Raise DataError unless an array of this shape and kind of number is a batch of its images."""
        if len(shape) != 4 or shape[1:] != self.image_shape or kind != "uint8":
            raise DataError(
                f"images: expected bytes of shape (N, {', '.join(map(str, self.image_shape))}), "
                f"found {kind} of shape {shape}"
            )
