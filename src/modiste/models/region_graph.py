"""The regions of an image as a graph: what is known of each, and which are joined."""

from dataclasses import dataclass
from math import sqrt

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from modiste.models import slic


@dataclass(frozen=True)
class Graph:
    """Which regions are joined.

    Attributes:
        neighbours: indices of each region's nearest neighbours, itself the first.
        touching: which of them are neighbours; the rest fill the columns up.
        between: rows, columns and distance from each region to each of them, in spacings of the grid.
    """

    neighbours: Int64[Tensor, "n m k"]
    touching: Bool[Tensor, "n m k"]
    between: Float[Tensor, "n m k 3"]


def describe(images: Float[Tensor, "n c h w"], labels: Int64[Tensor, "n h w"], regions: int) -> Float[Tensor, "n k d"]:
    """Return what is known of each region: 0 in every place where it has no pixel.

    In this order: mean intensity of each channel; centroid's row and column, from -1 to 1 across the image; deviation
    of each channel, and of rows and columns, over that of the region were it a square cell of the grid; area, as a
    multiple of the mean area.
    """
    height, width = images.shape[2:]
    pixels, flat = slic.features(images), labels.flatten(1)
    nothing = pixels.new_zeros(*pixels.shape[:2], regions)
    mean = slic.means(pixels, flat, nothing)
    from_mean = pixels - mean.gather(2, flat.unsqueeze(1).expand_as(pixels))
    deviation = slic.means(from_mean.square(), flat, nothing).sqrt()
    area = slic.areas(flat, regions) * (regions / (height * width))
    sides = torch.cat([pixels.new_full((1, 1), side) for side in (height, width)])
    place = torch.where(area > 0, (2 * mean[:, -2:] + 1) / sides - 1, 0)
    cell = sqrt(height * width / regions / 12)
    extent = torch.cat([deviation[:, :-2], deviation[:, -2:] / cell], dim=1)
    return torch.cat([mean[:, :-2], place, extent, area], dim=1).transpose(1, 2)


def adjacency(labels: Int64[Tensor, "n h w"], regions: int) -> Bool[Tensor, "n k k"]:
    """Tell which regions share an edge between two pixels; each is next to itself."""
    touching = torch.zeros(labels.shape[0], regions * regions, dtype=torch.bool, device=labels.device)
    for one, other in ((labels[:, 1:], labels[:, :-1]), (labels[:, :, 1:], labels[:, :, :-1])):
        touching.scatter_(1, (one * regions + other).flatten(1), True)
    touching = touching.view(-1, regions, regions)
    return touching | touching.transpose(1, 2) | torch.eye(regions, dtype=torch.bool, device=labels.device)


def join(touching: Bool[Tensor, "n k k"], places: Float[Tensor, "n k 2"], most: int) -> Graph:
    """Join each region to those that it touches, the nearest ``most`` if there are more, itself included."""
    row, column = (part.unsqueeze(1) - part.unsqueeze(2) for part in places.unbind(2))
    distance = (row.square() + column.square()).sqrt().masked_fill(~touching, torch.inf)
    nearest, neighbours = (part.mT.contiguous() for part in distance.topk(min(most, places.shape[1]), largest=False))
    index = neighbours.flatten(1).unsqueeze(2).expand(-1, -1, 2)
    apart = places.gather(1, index).view(*neighbours.shape, 2) - places.unsqueeze(1)
    within = nearest.isfinite()
    between = torch.cat([apart, nearest.unsqueeze(3)], dim=3).masked_fill(~within.unsqueeze(3), 0)
    return Graph(neighbours, within, between)
