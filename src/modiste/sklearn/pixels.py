"""Rows of numbers and arrays of images, as scikit-learn has them, turned into images of bytes."""

from dataclasses import dataclass
from math import ceil, isqrt

import numpy as np
from jaxtyping import Float, Shaped, UInt8

CHANNELS = (1, 3)
WHITE = 255.0
"""The brightest byte."""
SMALLEST_SIDE = 12
"""Smaller images are enlarged: their pixels are repeated."""


@dataclass(frozen=True, eq=False)
class Pixels:
    """How numbers become images, learnt from the training images.

    Attributes:
        sample_shape: Shape of one sample, as it was given.
        shape: (channels, height, width) of the images before they are enlarged.
        low: The number that becomes 0: one for all pixels, or one for each column of a table.
        high: The number that becomes 255, in the form of ``low``.
    """

    sample_shape: tuple[int, ...]
    shape: tuple[int, int, int]
    low: Float[np.ndarray, "..."]
    high: Float[np.ndarray, "..."]

    @classmethod
    def learn(cls, samples: Shaped[np.ndarray, "n ..."]) -> "Pixels":
        """Choose the shape and the range.

        Args:
            samples: Rows (N, features), or images (N, H, W), (N, H, W, C) or (N, C, H, W). Whole numbers from 0 to 255
                are brightness: bytes, or with a maximum below 128 shares of that maximum. Numbers from 0 to 1 are
                shares of full brightness. Any other column of rows has a range of its own; other images have one for
                all pixels.
        """
        values = samples if samples.dtype == np.uint8 else samples.astype(np.float64)
        least, most = float(values.min()), float(values.max())
        if least >= 0 and 1 < most <= WHITE and bool((values == np.round(values)).all()):
            low, high = np.array(0.0), np.array(most if most <= WHITE / 2 else WHITE)
        elif least >= 0 and most <= 1:
            low, high = np.array(0.0), np.array(1.0)
        elif samples.ndim == 2:
            low, high = values.min(0), values.max(0)
        else:
            low, high = np.array(least), np.array(most)
        return cls(samples.shape[1:], _shape(samples.shape), low, high)

    def images(self, samples: Shaped[np.ndarray, "n ..."]) -> UInt8[np.ndarray, "n c tall wide"]:
        """Return samples as bytes; numbers out of range become 0 or 255.

        Raises:
            ValueError: The samples have another shape than those of training.
        """
        if samples.shape[1:] != self.sample_shape:
            found = f"an array of shape {samples.shape}"
            raise ValueError(f"X: expected samples of shape {self.sample_shape}, as in training; found {found}")
        if samples.dtype == np.uint8 and self.high.ndim == 0 and float(self.high) == WHITE:
            pixels = samples
        else:
            span = np.where(self.high > self.low, self.high - self.low, 1.0)
            pixels = np.clip(np.rint((samples - self.low) / span * WHITE), 0, WHITE).astype(np.uint8)
        return self._enlarged(self._arranged(pixels))

    def _arranged(self, pixels: UInt8[np.ndarray, "n ..."]) -> UInt8[np.ndarray, "n c h w"]:
        channels, height, width = self.shape
        if pixels.ndim == 2:  # a row that is no square is padded with black
            missing = channels * height * width - pixels.shape[1]
            return np.pad(pixels, ((0, 0), (0, missing))).reshape(-1, channels, height, width)
        if pixels.ndim == 3:
            return pixels[:, None]
        return pixels if pixels.shape[1:] == self.shape else np.moveaxis(pixels, 3, 1)

    def _enlarged(self, images: UInt8[np.ndarray, "n c h w"]) -> UInt8[np.ndarray, "n c tall wide"]:
        times = max(1, ceil(SMALLEST_SIDE / min(self.shape[1:])))
        return np.ascontiguousarray(images.repeat(times, axis=2).repeat(times, axis=3))


def _shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return (channels, height, width) for samples of this shape; ValueError if they are no images."""
    if len(shape) == 2:
        side = isqrt(shape[1] - 1) + 1
        return 1, side, side
    if len(shape) == 3:
        return 1, *shape[1:]
    if len(shape) == 4 and shape[3] in CHANNELS and shape[1] not in CHANNELS:
        return shape[3], shape[1], shape[2]
    if len(shape) == 4 and shape[1] in CHANNELS:
        return shape[1], shape[2], shape[3]
    raise ValueError(
        f"X: expected rows (N, features) or images (N, H, W), (N, H, W, C) or (N, C, H, W) of 1 or 3 channels, "
        f"found {shape}"
    )
