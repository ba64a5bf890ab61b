"""Fashion-MNIST-C, made reproducible: sixteen corruptions of small grey images, at five severities.

Fifteen are those of MNIST-C (Mu and Gilmer, 2019), with simpler formulas; contrast is from Fashion-MNIST-C (Weiss and
Tonella, 2022). The same images give the same bytes on every machine: all arithmetic is in whole numbers. An image is
corrupted in the same way whatever other images stand around it. UNIT is also a pixel's width, in the whole numbers that
coordinates, sines and shares are written in.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from modiste import machine
from modiste.benchmarks.draws import UNIT, Draws
from modiste.errors import DataError

Pixels = Int[np.ndarray, "n h w"]
SEVERITIES = (1, 2, 3, 4, 5)
WHITE = 255
BLOCK = 1000
"""Images that are corrupted together: they fit into a processor's cache."""
DIRECTIONS = 16
"""Directions of motion, in half a turn."""
LATTICES = (4, 7, 12)
"""Points a side of the lattices of a smooth pattern, coarse to fine."""


@dataclass(frozen=True)
class Corruption:
    """A change of images, and its strength at each severity.

    Attributes:
        change: Takes images as int32 from 0 to 255, the strength and random numbers; its result is clipped to bytes.
        strengths: Strengths of the severities 1 to 5.
    """

    change: Callable[[Pixels, Any, Draws], Pixels]
    strengths: tuple[Any, ...]


def corrupt(images: UInt8[np.ndarray, "n h w"], kind: str, severity: int, seed: int = 0) -> UInt8[np.ndarray, "n h w"]:
    """Return corrupted images.

    Args:
        images: Grey levels.
        kind: A key of CORRUPTIONS.
        severity: 1 to 5.
        seed: Seed of the random numbers; the yardstick has seed 0.

    Raises:
        KeyError: There is no such kind.
        IndexError: There is no such severity.

    Example:
        >>> image = np.full((1, 2, 2), 100, np.uint8)
        >>> corrupt(image, "brightness", 2).tolist()
        [[[151, 151], [151, 151]]]
    """
    corruption = CORRUPTIONS[kind]
    strength, key = corruption.strengths[SEVERITIES.index(severity)], machine.seed_for(seed, kind, severity)
    changed = np.empty_like(images)
    for first in range(0, len(images), BLOCK):
        block = images[first : first + BLOCK]
        found = corruption.change(block.astype(np.int32), strength, Draws(key, first, len(block)))
        changed[first : first + BLOCK] = found.clip(0, WHITE)
    return changed


def every_corruption(images: UInt8[np.ndarray, "n h w"]) -> Iterator[tuple[str, int, UInt8[np.ndarray, "n h w"]]]:
    """Yield kind, severity and images of all eighty corruptions, in their order."""
    for kind in CORRUPTIONS:
        for severity in SEVERITIES:
            yield kind, severity, corrupt(images, kind, severity)


def grey(images: UInt8[np.ndarray, "n c h w"]) -> UInt8[np.ndarray, "n h w"]:
    """Return the only channel of grey images; DataError if they have several."""
    if images.shape[1] != 1:
        raise DataError(
            f"images: expected one channel, grey, found {images.shape[1]}; the corruptions are for grey images"
        )
    return images[:, 0]


def _shot_noise(images: Pixels, variance: int, draws: Draws) -> Pixels:
    """Add noise whose variance is ``variance`` times the pixel: what few photons leave, Poisson's law made normal."""
    root = np.sqrt((images * variance * UNIT**2).astype(np.float64)).astype(np.int32)  # IEEE rounds roots exactly
    noisy: Pixels = images + _divided(draws.normal(*images.shape[1:]) * root, 2)
    return noisy


def _impulse_noise(images: Pixels, per_mille: int, draws: Draws) -> Pixels:
    """Make a share of the pixels black or white."""
    is_hit = draws.below(1000, *images.shape[1:]) < per_mille
    return np.where(is_hit, WHITE * draws.below(2, *images.shape[1:]), images)


def _glass_blur(images: Pixels, strength: tuple[int, int], draws: Draws) -> Pixels:
    """Take each pixel from its neighbourhood at random, a few times, then average 3 x 3 pixels."""
    reach, times = strength
    rows, columns = _grid(images)
    for _ in range(times):
        down, right = draws.below(2 * reach + 1, 2, *images.shape[1:]).swapaxes(0, 1) - reach
        images = _sampled(images, (rows + down) * UNIT, (columns + right) * UNIT)
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)), mode="edge")
    height, width = images.shape[1:]
    total = np.sum([padded[:, y : y + height, x : x + width] for y in range(3) for x in range(3)], axis=0)
    return np.asarray(total // 9)


def _motion_blur(images: Pixels, length: int, draws: Draws) -> Pixels:
    """Average ``length`` pixels along a line, in one of DIRECTIONS directions; ``length`` is odd."""
    chosen, reach = draws.below(DIRECTIONS, 1)[:, 0], length // 2
    padded = np.pad(images, ((0, 0), (reach, reach), (reach, reach)))
    height, width = images.shape[1:]
    blurred = np.zeros_like(images)
    for number in range(DIRECTIONS):
        angle, members = math.pi * number / DIRECTIONS, chosen == number
        own = padded[members]
        for step in range(-reach, reach + 1):
            down, right = (_rounded(step * _whole(part)) + reach for part in (math.sin(angle), math.cos(angle)))
            blurred[members] += own[:, down : down + height, right : right + width]
    return blurred // length


def _shear(images: Pixels, slope: int, draws: Draws) -> Pixels:
    return _mapped(images, (UNIT, 0), (slope * draws.sign(), UNIT))


def _scale(images: Pixels, step: int, draws: Draws) -> Pixels:
    """Make the garment smaller: ``step`` is the distance between the samples."""
    return _mapped(images, (step, 0), (0, step))


def _rotate(images: Pixels, degrees: int, draws: Draws) -> Pixels:
    sine, cosine = _whole(math.sin(math.radians(degrees))) * draws.sign(), _whole(math.cos(math.radians(degrees)))
    return _mapped(images, (cosine, sine), (-sine, cosine))


def _brightness(images: Pixels, more: int, draws: Draws) -> Pixels:
    return images + more


def _contrast(images: Pixels, share: int, draws: Draws) -> Pixels:
    """Bring each pixel nearer to the mean of its image; ``share`` / UNIT of the distance stays."""
    mean = images.sum((1, 2), keepdims=True) // images[0].size
    flatter: Pixels = mean + _divided((images - mean) * share)
    return flatter


def _translate(images: Pixels, pixels: int, draws: Draws) -> Pixels:
    """Move each image by this number of pixels, in one of eight directions."""
    compass = np.array([(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)])
    down, right = pixels * UNIT * compass[draws.below(8, 1, 1)].transpose(3, 0, 1, 2)
    rows, columns = _grid(images)
    return _sampled(images, rows * UNIT + down, columns * UNIT + right)


def _stripe(images: Pixels, wide: int, draws: Draws) -> Pixels:
    """Exchange light and dark in a stripe, which stands or lies."""
    rows, columns = _grid(images)
    place = np.where(draws.below(2, 1, 1) == 1, rows, columns)
    start = draws.below(max(1, min(images.shape[1:]) - wide), 1, 1)
    return np.where((place >= start) & (place < start + wide), WHITE - images, images)


def _fog(images: Pixels, share: int, draws: Draws) -> Pixels:
    """Blend in a smooth bright pattern; ``share`` / UNIT of the result is fog."""
    fog = WHITE // 2 + smooth_patterns(images, draws) // 2
    return _divided(images * (UNIT - share) + fog * share)


def _spatter(images: Pixels, least: int, draws: Draws) -> Pixels:
    """Cover the image with light drops: where a smooth pattern is above ``least``."""
    return np.where(smooth_patterns(images, draws) > least, WHITE, images)


def _dotted_line(images: Pixels, lines: int, draws: Draws) -> Pixels:
    return _with_lines(images, lines, draws, dotted=True)


def _zigzag(images: Pixels, lines: int, draws: Draws) -> Pixels:
    return _with_lines(images, lines, draws, dotted=False)


def _edges(images: Pixels, share: int, draws: Draws) -> Pixels:
    """Blend in the edges: where Sobel's gradient is large and largest across the edge (after Canny, 1986)."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)), mode="edge")
    smooth = padded[:, :, :-2] + 2 * padded[:, :, 1:-1] + padded[:, :, 2:]
    down = np.abs(smooth[:, 2:] - smooth[:, :-2])
    smooth = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    right = np.abs(smooth[:, :, 2:] - smooth[:, :, :-2])
    size = np.pad(down + right, ((0, 0), (1, 1), (1, 1)))
    centre = size[:, 1:-1, 1:-1]
    beside, above = (
        np.maximum(size[:, 1:-1, :-2], size[:, 1:-1, 2:]),
        np.maximum(size[:, :-2, 1:-1], size[:, 2:, 1:-1]),
    )
    across = np.where(right > down, beside, above)
    edges = np.where((centre > WHITE) & (centre >= across), WHITE, 0)
    return _divided(images * (UNIT - share) + edges * share)


CORRUPTIONS: dict[str, Corruption] = {
    "shot noise": Corruption(_shot_noise, (4, 10, 21, 51, 85)),
    "impulse noise": Corruption(_impulse_noise, (30, 60, 90, 170, 270)),
    "glass blur": Corruption(_glass_blur, ((1, 1), (1, 2), (2, 1), (2, 2), (3, 2))),
    "motion blur": Corruption(_motion_blur, (3, 5, 7, 9, 11)),
    "shear": Corruption(_shear, (51, 77, 102, 128, 154)),
    "scale": Corruption(_scale, (284, 320, 366, 427, 512)),
    "rotate": Corruption(_rotate, (10, 20, 30, 45, 60)),
    "brightness": Corruption(_brightness, (26, 51, 77, 102, 128)),
    "contrast": Corruption(_contrast, (128, 102, 77, 51, 26)),
    "translate": Corruption(_translate, (2, 3, 4, 5, 6)),
    "stripe": Corruption(_stripe, (2, 4, 6, 8, 10)),
    "fog": Corruption(_fog, (77, 102, 128, 154, 179)),
    "spatter": Corruption(_spatter, (185, 175, 165, 155, 145)),
    "dotted line": Corruption(_dotted_line, (1, 2, 3, 4, 5)),
    "zigzag": Corruption(_zigzag, (1, 2, 3, 4, 5)),
    "edges": Corruption(_edges, (51, 102, 154, 205, 256)),
}
"""The kinds in their order."""


def _whole(number: float) -> int:
    """Return a number in UNITs; no sine that is used lies near a half, where machines might round apart."""
    return round(UNIT * number)


def _divided(products: Int[np.ndarray, "..."], times: int = 1) -> Int[np.ndarray, "..."]:
    """Return products divided by UNIT, once or several times, and rounded down."""
    found: np.ndarray = products >> (8 * times)
    return found


def _rounded(number: int) -> int:
    """Return a number in UNITs as whole pixels."""
    return (number + UNIT // 2) // UNIT


def _grid(images: Pixels) -> tuple[Int[np.ndarray, "1 h 1"], Int[np.ndarray, "1 1 w"]]:
    """Return the number of each row and of each column."""
    height, width = images.shape[1:]
    return np.arange(height)[None, :, None], np.arange(width)[None, None, :]


def _mapped(images: Pixels, of_row: tuple[Any, Any], of_column: tuple[Any, Any]) -> Pixels:
    """Sample images through a linear map about their centre.

    Args:
        images: To be sampled.
        of_row: What the sampled row takes of the row and of the column, in UNITs.
        of_column: The same of the sampled column.
    """
    rows, columns = _grid(images)
    height, width = images.shape[1:]
    down, right = 2 * rows - (height - 1), 2 * columns - (width - 1)  # twice the distance from the centre
    row = (of_row[0] * down + of_row[1] * right + (height - 1) * UNIT) >> 1
    column = (of_column[0] * down + of_column[1] * right + (width - 1) * UNIT) >> 1
    return _sampled(images, row, column)


def _sampled(images: Pixels, rows: Int[np.ndarray, "..."], columns: Int[np.ndarray, "..."]) -> Pixels:
    """Return the images' values at these places, in UNITs, by bilinear interpolation; black outside."""
    count, height, width = images.shape
    padded = np.pad(images, ((0, 0), (1, 2), (1, 2))).reshape(count, -1)
    rows, columns = (place.clip(-UNIT, side * UNIT) for place, side in ((rows, height), (columns, width)))
    rows, columns = np.broadcast_arrays(rows, columns)
    first = ((rows >> 8) + 1) * (width + 3) + (columns >> 8) + 1
    first = np.broadcast_to(first, images.shape).reshape(count, -1)
    down, right = (np.broadcast_to(place & (UNIT - 1), images.shape).reshape(count, -1) for place in (rows, columns))
    upper, lower = (
        np.take_along_axis(padded, first + step, 1) * (UNIT - right)
        + np.take_along_axis(padded, first + step + 1, 1) * right
        for step in (0, width + 3)
    )
    return _divided(upper * (UNIT - down) + lower * down, 2).reshape(images.shape)


def smooth_patterns(images: Pixels, draws: Draws) -> Pixels:
    """Return smooth patterns from 0 to 255: sums of random lattices, the coarser the stronger.

    The products of matrices are exact: all sums are whole numbers below 2**53.
    """
    total = np.zeros(images.shape)
    for weight, side in zip(range(len(LATTICES), 0, -1), LATTICES, strict=True):
        down, across = (_between(length, side) for length in images.shape[1:])
        total += weight * (down @ draws.below(WHITE + 1, side, side).astype(np.float64) @ across.T)
    return total.astype(np.int32) // (UNIT**2 * sum(range(1, len(LATTICES) + 1)))


def _between(length: int, points: int) -> Float[np.ndarray, "length points"]:
    """Return what each of ``length`` places takes of evenly spaced points, in UNITs: linear interpolation."""
    weights = np.zeros((length, points + 1))
    for place in range(length):
        at = place * (points - 1) * UNIT // max(1, length - 1)
        weights[place, at // UNIT], weights[place, at // UNIT + 1] = UNIT - at % UNIT, at % UNIT
    return weights[:, :points]


def _with_lines(images: Pixels, lines: int, draws: Draws, *, dotted: bool) -> Pixels:
    """Draw white lines from the left edge to the right, or from the top to the bottom: dotted, or in zigzag."""
    count, height, width = images.shape
    drawn, numbers, steps = images.copy(), np.arange(count), 2 * max(height, width)
    for _ in range(lines):
        begin, end = draws.below(65_536, 2).T
        lies = draws.below(2, 1)[:, 0] == 1
        for step in range(steps):
            if dotted and step % 6 >= 2:
                continue
            swing = 0 if dotted else 4 * abs(step % 16 - 8) - 16  # in eighths of a pixel, from -2 to 2 pixels
            along, aside = step * 65_536 // steps, (begin * (steps - step) + end * step) // steps
            rows = np.where(lies, (aside * height >> 16) + (swing >> 3), along * height >> 16)
            columns = np.where(lies, along * width >> 16, (aside * width >> 16) + (swing >> 3))
            drawn[numbers, rows.clip(0, height - 1), columns.clip(0, width - 1)] = WHITE
    return drawn
