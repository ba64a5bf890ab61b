"""Finds duplicate images: exact ones, and near ones that differ only in size, compression or light.

Near duplicates are found by the correlation of their pixels, which brightness and contrast do not change.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int64, UInt8
from torch import Tensor

from modiste.recipes.recipe import DataRecipe

ALIKE = 0.99
"""Least correlation of near duplicates.

Photographs that were scaled, compressed and brightened have it, and few different ones. Of Fashion-MNIST's 60,000
training images 486 are in groups of near duplicates at 0.99, of which 286 are trousers. At 0.98 there are 4,066, and
chains of pairs join 1,662 different trousers in one group.
"""
DIRECTIONS = 64
"""Directions that images are projected onto to find candidates."""
SAMPLE = 1000
"""Most images that the directions are computed from."""
ROUNDING = 1e-5
"""More than the rounding error of a projected correlation."""
COMPARED = {"pictures": "stretched", "background": "plain", "side": 16, "colour": True}
"""Preparation of picture files for comparison: it crops nothing, and no edge moves when a size is rounded."""
BLOCK_IMAGES, BLOCK_VALUES = 500, 8_000_000
"""Images that are compared with all others at once, and pixels that are worked on at once."""
MOST_PAIRS = 100_000
"""Most pairs returned; the most alike are kept."""


class Pair(NamedTuple):
    """The indices of two images, the smaller one first, and the correlation of their pixels."""

    first: int
    second: int
    likeness: float


def for_comparison(recipe: DataRecipe) -> DataRecipe:
    """Return the recipe with the preparation in which picture files are compared."""
    return replace(recipe, **COMPARED)  # type: ignore[arg-type]


def groups_for(images: UInt8[Tensor, "n c h w"], recipe: DataRecipe) -> Int64[Tensor, " n"] | None:
    """Return ``near_groups`` of the images if the recipe's split draws whole groups, else None."""
    return near_groups(images) if recipe.split == "grouped" else None


def exact_groups(images: UInt8[Tensor, "n c h w"]) -> list[tuple[int, ...]]:
    """Return groups of indices of images with identical pixels."""
    groups: dict[bytes, list[int]] = {}
    for index, image in enumerate(images.cpu().numpy()):
        groups.setdefault(hashlib.sha256(image.tobytes()).digest(), []).append(index)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def near_pairs(images: UInt8[Tensor, "n c h w"], least: float = ALIKE) -> list[Pair]:
    """Return pairs of images whose pixels correlate by ``least`` or more, the most alike first.

    Of identical images only the first is compared. An image without contrast correlates with no other.
    """
    single = _first_of_each(images, exact_groups(images))
    pairs, likeness = torch.empty(0, 2, dtype=torch.long), torch.empty(0, dtype=torch.float64)
    for more, values in _alike(images[single], least):
        pairs, likeness = torch.cat([pairs, single[more]]), torch.cat([likeness, values])
        if len(pairs) > 2 * MOST_PAIRS:
            pairs, likeness = _most_alike(pairs, likeness)
    pairs, likeness = _most_alike(pairs, likeness)
    found = zip(pairs.tolist(), likeness.tolist(), strict=True)
    return [Pair(first, second, min(value, 1.0)) for (first, second), value in found]


def near_groups(images: UInt8[Tensor, "n c h w"], least: float = ALIKE) -> Int64[Tensor, " n"]:
    """Return the number of each image's group, from 0, in the order of their first images.

    A group holds images that are identical, or whose pixels correlate by ``least`` or more, directly or through other
    images of the group. An image without such others is a group of its own. The 60,000 images of Fashion-MNIST take
    about three seconds of one core; the time grows with the square of the number of images.

    Example:
        >>> image = torch.arange(16, dtype=torch.uint8).reshape(1, 1, 4, 4)
        >>> near_groups(torch.cat([image, image.flip(3), 2 * image + 9, image])).tolist()
        [0, 1, 0, 0]
    """
    exact = exact_groups(images)
    single, first = _first_of_each(images, exact), list(range(len(images)))
    for group in exact:
        _join(first, [(group[0], other) for other in group[1:]])
    for pairs, _ in _alike(images[single], least):
        _join(first, single[pairs].tolist())
    roots = torch.tensor([_root(first, index) for index in range(len(images))], dtype=torch.long)
    numbers: Tensor = torch.unique(roots, return_inverse=True)[1]
    return numbers


def _join(first: list[int], pairs: list[list[int]] | list[tuple[int, int]]) -> None:
    """Join the groups of each pair of images; ``first`` leads each image towards the first image of its group."""
    for one, other in pairs:
        low, high = sorted((_root(first, one), _root(first, other)))
        first[high] = low


def _root(first: list[int], index: int) -> int:
    while first[index] != index:
        first[index] = first[first[index]]
        index = first[index]
    return index


def _first_of_each(images: UInt8[Tensor, "n c h w"], exact: list[tuple[int, ...]]) -> Int64[Tensor, " m"]:
    """Return the indices of all images that are not identical to an earlier one."""
    later = {index for group in exact for index in group[1:]}
    return torch.tensor([index for index in range(len(images)) if index not in later], dtype=torch.long)


def _most_alike(
    pairs: Int64[Tensor, "k 2"], likeness: Float64[Tensor, " k"]
) -> tuple[Int64[Tensor, "m 2"], Float64[Tensor, " m"]]:
    """Return at most MOST_PAIRS pairs, the most alike first, those of one likeness in the order of their indices."""
    by_index = pairs[:, 1].argsort(stable=True)
    by_index = by_index[pairs[by_index, 0].argsort(stable=True)]
    kept = by_index[likeness[by_index].argsort(descending=True, stable=True)][:MOST_PAIRS]
    return pairs[kept], likeness[kept]


def _alike(
    images: UInt8[Tensor, "n c h w"], least: float
) -> Iterator[tuple[Int64[Tensor, "k 2"], Float64[Tensor, " k"]]]:
    """Yield all pairs of different images that correlate by ``least`` or more, the smaller index first, in parts."""
    flat = images.flatten(1).cpu()
    for candidates in _candidates(_projected(flat), least):
        for pairs in torch.split(candidates, max(1, BLOCK_VALUES // flat.shape[1])):
            likeness = correlations(flat[pairs[:, 0]], flat[pairs[:, 1]])
            kept = likeness >= least
            yield pairs[kept].sort(dim=1).values, likeness[kept]


def correlations(one: UInt8[Tensor, "k d"], other: UInt8[Tensor, "k d"]) -> Float64[Tensor, " k"]:
    """Return the correlation of the pixels of each pair of images; NaN for an image without contrast.

    All sums are whole numbers below 2^53 for images of up to 370,000 pixels, and so the same on every processor.
    """
    x, y, size = one.double(), other.double(), one.shape[1]
    covariance = size * (x * y).sum(1) - x.sum(1) * y.sum(1)
    first, second = (size * value.square().sum(1) - value.sum(1).square() for value in (x, y))
    return covariance / (first * second).sqrt()


def _projected(flat: UInt8[Tensor, "n d"]) -> Float[Tensor, "n k"]:
    """Return coordinates whose scalar products are never below the correlations, but for ROUNDING.

    They are an image's projections onto orthonormal directions, and the length of the rest. By Cauchy and Schwarz the
    product of two lengths is at least the scalar product of the two rests. The directions are the main ones of some of
    the images.
    """
    if not len(flat):
        return torch.empty(0, 1)
    block = max(1, BLOCK_VALUES // flat.shape[1])
    count = min(len(flat), SAMPLE, max(DIRECTIONS, block))
    sample = normalised(flat[torch.linspace(0, len(flat) - 1, count, dtype=torch.float64).long()].double())
    main = torch.linalg.eigh(sample @ sample.T).eigenvectors[:, -DIRECTIONS:]
    directions = torch.linalg.qr(sample.T @ main).Q
    parts = []
    for some in torch.split(flat, block):
        whole = normalised(some.double())
        inside = whole @ directions
        rest = whole.square().sum(1) - inside.square().sum(1)
        parts.append(torch.cat([inside, rest.clamp(min=0).sqrt()[:, None]], dim=1).float())
    return torch.cat(parts)


def normalised(images: Float[Tensor, "n ..."]) -> Float[Tensor, "n d"]:
    """Return each image as a vector of mean 0 and length 1, so that scalar products are correlations."""
    flat = images.flatten(1)
    return F.normalize(flat - flat.mean(1, keepdim=True), dim=1)


def _candidates(coordinates: Float[Tensor, "n k"], least: float) -> Iterator[Int64[Tensor, "p 2"]]:
    """Yield, in parts, all pairs of images whose ``coordinates`` have a scalar product of ``least`` or more.

    Images are sorted by the coordinate that varies most. Two vectors of length 1 with that product are so close that
    only images within ``reach`` in that coordinate have to be compared.
    """
    widest = int(coordinates.var(0, unbiased=False).argmax()) if len(coordinates) else 0
    order = coordinates[:, widest].argsort(stable=True)
    coordinates, reach = coordinates[order], (2 * max(0.0, 1 - least)) ** 0.5 + 1e-3
    place = coordinates[:, widest].contiguous()
    for start in range(0, len(order), BLOCK_IMAGES):
        end = min(start + BLOCK_IMAGES, len(order))
        last = int(torch.searchsorted(place, place[end - 1] + reach))
        products = coordinates[start:end] @ coordinates[start:last].T
        row, column = (products >= least - ROUNDING).nonzero(as_tuple=True)
        later = column > row
        yield order[torch.stack([row[later], column[later]], dim=1) + start]
