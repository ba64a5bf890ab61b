"""Connected parts of a mask, and a Gaussian blur: what finding a garment needs, by NumPy alone.

Results equal those of ``scipy.ndimage`` (``label``, ``gaussian_filter``), on x86-64 bit for bit: earlier versions used
it, and networks were trained with its results. SciPy takes 140 MB, nearly half of what a server would install.
"""

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int32, Int64


def label(mask: Bool[np.ndarray, "h w"]) -> tuple[Int32[np.ndarray, "h w"], int]:
    """Number the parts of a mask; pixels that touch at a side or a corner belong to one part.

    Returns:
        For each pixel the number of its part, from 1 in the order of the rows, and 0 outside the mask; and how many
        parts there are.

    Example:
        >>> label(np.array([[True, False, True], [False, False, True]]))[1]
        2
    """
    starts, ends, size = _runs(mask)
    line = mask.shape[1] + 1
    distinct, numbers = np.unique(_connected(len(starts), *_touching(starts, ends, line)), return_inverse=True)
    values = np.zeros(2 * len(starts) + 1, np.int32)
    values[1::2] = numbers + 1
    lengths = np.diff(np.stack([starts, ends], 1).ravel(), prepend=0, append=size)
    return np.repeat(values, lengths).reshape(-1, line)[:, 1:], len(distinct)


def bounding_box(part: Bool[np.ndarray, "h w"]) -> tuple[slice, slice]:
    """Return the rows and the columns between the first and the last that a mask covers; it must not be empty."""
    rows, columns = (np.flatnonzero(part.any(axis=axis)) for axis in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def gaussian_weights(deviation: float, radius: int) -> Float[np.ndarray, " width"]:
    """Return the weights of a Gaussian of this standard deviation, at -radius to radius pixels; their sum is 1."""
    offsets = np.arange(-radius, radius + 1)
    heights: Float[np.ndarray, " width"] = np.exp(-0.5 / (deviation * deviation) * offsets**2)
    heights /= heights.sum()
    return heights


def gaussian_blur(
    image: Float[np.ndarray, "h w"], deviation: float, *, radius: int, edge: Literal["edge", "symmetric"]
) -> Float[np.ndarray, "h w"]:
    """Return the image blurred by a Gaussian, down the columns and then along the rows, in its own precision.

    Args:
        image: Grey values in any unit.
        deviation: Standard deviation in pixels.
        radius: Distance in pixels at which the Gaussian is cut off.
        edge: How the image goes on beyond its edge, as ``numpy.pad`` names it.
    """
    weights = gaussian_weights(deviation, radius)
    for axis in (0, 1):
        padded = np.pad(image.astype(np.float64), [(radius, radius) if axis == one else (0, 0) for one in (0, 1)], edge)
        length = image.shape[axis]

        def at(offset: int, padded: np.ndarray = padded, axis: int = axis, length: int = length) -> np.ndarray:
            return padded.take(np.arange(radius + offset, radius + offset + length), axis)

        blurred = at(0) * weights[radius]
        for offset in range(radius, 0, -1):  # from the farthest, as SciPy adds them: the last bit depends on the order
            blurred += (at(-offset) + at(offset)) * weights[radius - offset]
        image = blurred.astype(image.dtype)
    return image


Indices = Int64[np.ndarray, " n"]
Pairs = Int64[np.ndarray, " m"]


def _runs(mask: Bool[np.ndarray, "h w"]) -> tuple[Indices, Indices, int]:
    """Return the first place of each run of pixels in a row, the place after its last, and the number of places.

    Places are counted through all rows, each of which begins with one more place, outside the mask.
    """
    framed = np.zeros((mask.shape[0], mask.shape[1] + 1), bool)
    framed[:, 1:] = mask
    flat = framed.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    if len(changes) % 2:
        changes = np.append(changes, flat.size)
    return changes[0::2], changes[1::2], flat.size


def _touching(starts: Indices, ends: Indices, line: int) -> tuple[Pairs, Pairs]:
    """Return the numbers of all pairs of runs that touch: the upper ones, and the lower ones.

    A run touches those of the row above, ``line`` places before, that end at its start or later and start at its end
    or earlier: one range of numbers.
    """
    first = np.searchsorted(ends, starts - line)
    counts = np.searchsorted(starts, ends - line, side="right") - first
    lower = np.repeat(np.arange(len(starts)), counts)
    within = np.arange(len(lower)) - np.repeat(counts.cumsum() - counts, counts)
    return first[lower] + within, lower


def _connected(count: int, one: Pairs, other: Pairs) -> Indices:
    """Return for each of ``count`` nodes the smallest number in its component, given the edges between them."""
    roots = np.arange(count)
    while len(one):
        low, high = np.minimum(roots[one], roots[other]), np.maximum(roots[one], roots[other])
        apart = low != high
        one, other = one[apart], other[apart]
        np.minimum.at(roots, high[apart], low[apart])
        while not np.array_equal(roots, nearer := roots[roots]):
            roots = nearer
    return roots
