"""Finds duplicate images: exact ones, and near ones that differ only in size, compression or light.

Near duplicates are found by the correlation of their pixels, which brightness and contrast do not change.
"""

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

ALIKE = 0.99
"""Least correlation of near duplicates."""
COARSE_SIDE = 7
"""Pixels a side of the reduced images in which candidates are found; near duplicates are alike there too."""
COARSELY_ALIKE = 0.985
"""Least correlation of the reduced images of candidates."""
BLOCK_IMAGES, BLOCK_PAIRS = 500, 100_000
MOST_PAIRS = 100_000
"""Most candidates of a block, and most pairs returned; the most alike are kept."""


class Pair(NamedTuple):
    """The indices of two images, the smaller one first, and the correlation of their pixels."""

    first: int
    second: int
    likeness: float


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
    single = _first_of_each(images)
    full = normalised(images[single].float())
    coarse = normalised(F.adaptive_avg_pool2d(images[single].float(), COARSE_SIDE))
    pairs = torch.cat(list(_candidates(coarse)) or [torch.empty(0, 2, dtype=torch.long)])
    likeness = torch.cat([(full[some[:, 0]] * full[some[:, 1]]).sum(1) for some in torch.split(pairs, BLOCK_PAIRS)])
    kept = (likeness >= least).nonzero().squeeze(1)
    order = kept[likeness[kept].argsort(descending=True, stable=True)][:MOST_PAIRS]
    found = zip(single[pairs[order]].tolist(), likeness[order].tolist(), strict=True)
    return [Pair(first, second, min(value, 1.0)) for (first, second), value in found]


def _first_of_each(images: UInt8[Tensor, "n c h w"]) -> Int64[Tensor, " m"]:
    """Return the indices of all images that are not identical to an earlier one."""
    later = {index for group in exact_groups(images) for index in group[1:]}
    return torch.tensor([index for index in range(len(images)) if index not in later], dtype=torch.long)


def normalised(images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
    """Return each image as a vector of mean 0 and length 1, so that scalar products are correlations."""
    flat = images.flatten(1)
    return F.normalize(flat - flat.mean(1, keepdim=True), dim=1)


def _candidates(coarse: Float[Tensor, "n d"]) -> Iterator[Int64[Tensor, "k 2"]]:
    """Yield candidate pairs for each block of images; of too many, the most alike."""
    for start in range(0, len(coarse), BLOCK_IMAGES):
        products = coarse[start : start + BLOCK_IMAGES] @ coarse[start:].T
        row, column = (products >= COARSELY_ALIKE).nonzero(as_tuple=True)
        row, column = row[column > row], column[column > row]
        if len(row) > MOST_PAIRS:
            chosen = products[row, column].topk(MOST_PAIRS).indices
            row, column = row[chosen], column[chosen]
        yield torch.stack([row, column], dim=1) + start
