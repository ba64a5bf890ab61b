"""Random numbers that are the same on every machine and with every version of NumPy.

They come from a counter (SplitMix64; Steele, Lea and Flood, 2014). An image has the same numbers whatever other images
stand around it.
"""

import math

import numpy as np
from jaxtyping import Int, UInt64

UNIT = 256
"""Standard deviation of normal numbers, which are whole."""
GOLDEN, FIRST, SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
"""Constants of SplitMix64."""
MOST_DRAWS = 1 << 20
"""Random numbers that an image may use."""
NORMAL_SPREAD = 37_837
"""Standard deviation of the sum of four random numbers below 65,536."""


class Draws:
    """Random numbers of consecutive images, each from the corruption's key, the image's number and a counter.

    Args:
        key: Key of the corruption.
        first: Number of the first image.
        count: Number of images.
    """

    def __init__(self, key: int, first: int, count: int) -> None:
        self._key, self._images, self._used = np.uint64(key), np.arange(first, first + count, dtype=np.uint64), 0

    def _next(self, *shape: int) -> UInt64[np.ndarray, "n ..."]:
        """Return numbers of 64 bits, of the shape (images, *shape)."""
        size = math.prod(shape)
        counter = np.arange(self._used, self._used + size, dtype=np.uint64)
        self._used += size
        mixed = (self._images[:, None] * np.uint64(MOST_DRAWS) + counter) * np.uint64(GOLDEN) + self._key
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(FIRST)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(SECOND)
        return (mixed ^ (mixed >> np.uint64(31))).reshape(-1, *shape)

    def below(self, limit: int, *shape: int) -> Int[np.ndarray, "n ..."]:
        """Return numbers from 0 to ``limit`` - 1; ``limit`` is at most 65,536."""
        return (((self._next(*shape) >> np.uint64(48)) * np.uint64(limit)) >> np.uint64(16)).astype(np.int32)

    def sign(self) -> Int[np.ndarray, "n 1 1"]:
        """Return -1 or 1 for each image."""
        return 2 * self.below(2, 1, 1) - 1

    def normal(self, *shape: int) -> Int[np.ndarray, "n ..."]:
        """Return nearly normal numbers with mean 0 and standard deviation UNIT: sums of four parts of 16 bits."""
        drawn, mask = self._next(*shape), np.uint64(65_535)
        total = sum((drawn >> np.uint64(shift)) & mask for shift in (0, 16, 32, 48))
        return (np.asarray(total).astype(np.int32) - 2 * 65_535) * UNIT // NORMAL_SPREAD
