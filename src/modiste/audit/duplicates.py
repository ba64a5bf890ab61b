"""Images that are there more than once: the same to the last pixel, or alike but for size, compression or light.

Near ones are found by the correlation of their pixels, which brightness and contrast do not change.
"""

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

ALIKE = 0.99
"""Correlation from which two images are near duplicates."""
COARSE_SIDE = 7
"""Pixels a side at which candidates are looked for; what is alike in full is alike so."""
COARSELY_ALIKE = 0.985
BLOCK_IMAGES, BLOCK_PAIRS = 500, 100_000
MOST_PAIRS = 100_000
"""Candidates that are kept at most, the likest."""


class Pair(NamedTuple):
    """Two images by their index, the first the smaller, and the correlation of their pixels."""

    first: int
    second: int
    likeness: float


def exact_groups(images: UInt8[Tensor, "n c h w"]) -> list[tuple[int, ...]]:
    """Return the indices of images that are equal to the last pixel, a group for each such image."""
    groups: dict[bytes, list[int]] = {}
    for index, image in enumerate(images.cpu().numpy()):
        groups.setdefault(hashlib.sha256(image.tobytes()).digest(), []).append(index)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def near_pairs(images: UInt8[Tensor, "n c h w"], least: float = ALIKE) -> list[Pair]:
    """Return pairs of images whose pixels correlate by ``least`` or more, likest first; equal images count once.

    An image without contrast is like no other.
    """
    single = first_of_each(images)
    full = normalised(images[single].float())
    coarse = normalised(F.adaptive_avg_pool2d(images[single].float(), COARSE_SIDE))
    pairs = torch.cat(list(_candidates(coarse)) or [torch.empty(0, 2, dtype=torch.long)])
    likeness = torch.cat([(full[some[:, 0]] * full[some[:, 1]]).sum(1) for some in torch.split(pairs, BLOCK_PAIRS)])
    kept = (likeness >= least).nonzero().squeeze(1)
    order = kept[likeness[kept].argsort(descending=True, stable=True)][:MOST_PAIRS]
    found = zip(single[pairs[order]].tolist(), likeness[order].tolist(), strict=True)
    return [Pair(first, second, min(value, 1.0)) for (first, second), value in found]


def first_of_each(images: UInt8[Tensor, "n c h w"]) -> Int64[Tensor, " m"]:
    """Return the indices of images without those that are equal to an earlier one."""
    later = {index for group in exact_groups(images) for index in group[1:]}
    return torch.tensor([index for index in range(len(images)) if index not in later], dtype=torch.long)


def normalised(images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
    """Return each image as a vector of mean 0 and length 1, so that products are correlations."""
    flat = images.flatten(1)
    return F.normalize(flat - flat.mean(1, keepdim=True), dim=1)


def _candidates(coarse: Float[Tensor, "n d"]) -> Iterator[Int64[Tensor, "k 2"]]:
    """Yield the pairs of each block of images that are alike coarsely, likest first where there are too many."""
    for start in range(0, len(coarse), BLOCK_IMAGES):
        products = coarse[start : start + BLOCK_IMAGES] @ coarse[start:].T
        row, column = (products.triu(1) >= COARSELY_ALIKE).nonzero(as_tuple=True)
        if len(row) > MOST_PAIRS:
            chosen = products[row, column].topk(MOST_PAIRS).indices
            row, column = row[chosen], column[chosen]
        yield torch.stack([row, column], dim=1) + start
