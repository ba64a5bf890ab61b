"""Superpixels by SLIC, the features of these regions, and the graph of regions that touch.

SLIC: Achanta, Shaji, Smith, Lucchi, Fua and Süsstrunk, "SLIC Superpixels Compared to State-of-the-Art", 2012. Three
things differ. Each pixel is compared with the nine centres around its cell of the first grid, not with every centre in
a window of twice their distance. Centres start as the means of their cells, not at the lowest gradient nearby. Pieces
that are cut off from their region keep its label.

Shapes: n images, c channels, p = h w pixels with f features each, k regions with d features and m neighbours each.
"""

from dataclasses import dataclass
from itertools import product
from math import sqrt

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

QUANTUM = 1 / 1024
"""Intensities are rounded to multiples of this. Their sums are exact in any order, so devices find the same regions."""


def grid_of(regions: int, height: int, width: int) -> tuple[int, int]:
    """Return the rows and columns of a grid of about ``regions`` nearly square cells of at least one pixel."""
    spacing = sqrt(height * width / regions)
    rows, columns = (min(side, max(1, round(side / spacing))) for side in (height, width))
    return rows, columns


@torch.no_grad()
def slic(
    images: Float[Tensor, "n c h w"], *, grid: tuple[int, int], compactness: float, iterations: int
) -> Int64[Tensor, "n h w"]:
    """Return the region of every pixel, from 0 to rows * columns - 1. A region may end without a pixel.

    A pixel joins the centre with the smallest d² + (compactness * s / spacing)², where d is the difference in intensity
    and s the distance in pixels. The result for an image does not depend on the other images of the batch.

    Args:
        images: Intensities in any scale, up to about 100.
        grid: Rows and columns of the regions.
        compactness: Difference in intensity, in the images' scale, that counts as much as the grid's spacing; above 0.
        iterations: Rounds of moving the centres and assigning the pixels again.

    Example:
        >>> import torch
        >>> from modiste.models.superpixels import slic
        >>> slic(torch.zeros(1, 1, 4, 4), grid=(2, 2), compactness=1.0, iterations=1)[0].tolist()
        [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]
    """
    height, width = images.shape[2:]
    pixels, regions = features(images), grid[0] * grid[1]
    candidates = _candidates(grid, height, width, images.device)
    labels = candidates[4].expand(images.shape[0], -1)
    scale = pixels.new_ones(pixels.shape[1])
    scale[-2:] = compactness * sqrt(regions / (height * width))
    scaled = _images_last(pixels, scale)
    centres = pixels.new_zeros(*pixels.shape[:2], regions)
    for _ in range(iterations):
        centres = means(pixels, labels, centres)
        labels = _nearest(scaled, _images_last(centres, scale), candidates)
    return labels.view(-1, height, width)


def features(images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n f p"]:
    """Return the features of every pixel: its intensities, rounded to multiples of QUANTUM, then its row and column."""
    count, _, height, width = images.shape
    values = (images.float() / QUANTUM).round() * QUANTUM
    row = torch.arange(height, device=images.device).float()[:, None].expand(count, 1, height, width)
    column = torch.arange(width, device=images.device).float().expand(count, 1, height, width)
    return torch.cat([values, row, column], dim=1).flatten(2)


def sums(pixels: Float[Tensor, "n f p"], labels: Int64[Tensor, "n p"], regions: int) -> Float[Tensor, "n f k"]:
    """Return the sum of each feature over each region."""
    index = labels.unsqueeze(1).expand_as(pixels)
    return pixels.new_zeros(*pixels.shape[:2], regions).scatter_add_(2, index, pixels)


def areas(labels: Int64[Tensor, "n p"], regions: int) -> Float[Tensor, "n 1 k"]:
    """Return the number of pixels of each region."""
    return sums(torch.ones_like(labels, dtype=torch.float32).unsqueeze(1), labels, regions)


def means(
    pixels: Float[Tensor, "n f p"], labels: Int64[Tensor, "n p"], otherwise: Float[Tensor, "n f k"]
) -> Float[Tensor, "n f k"]:
    """Return the mean of each feature over each region; for a region without pixels the value from ``otherwise``."""
    regions = otherwise.shape[2]
    area = areas(labels, regions)
    return torch.where(area > 0, sums(pixels, labels, regions) / area.clamp(min=1), otherwise)


def _candidates(grid: tuple[int, int], height: int, width: int, device: torch.device) -> Int64[Tensor, "9 p"]:
    """Return the nine regions of the first grid around every pixel; the fifth contains the pixel.

    At the edge of the grid some of them are the same region, which changes nothing.
    """
    rows, columns = grid
    row = torch.arange(height, device=device) * rows // height
    column = torch.arange(width, device=device) * columns // width
    around = [
        (row + below).clamp(0, rows - 1)[:, None] * columns + (column + beside).clamp(0, columns - 1)
        for below, beside in product((-1, 0, 1), repeat=2)
    ]
    return torch.stack(around).flatten(1)


def _nearest(
    pixels: Float[Tensor, "f p n"], centres: Float[Tensor, "f k n"], candidates: Int64[Tensor, "9 p"]
) -> Int64[Tensor, "n p"]:
    """Return the nearest of each pixel's candidates; the first of several at the same distance."""
    best = torch.full_like(pixels[0], torch.inf)
    winners = torch.zeros_like(best)
    for number, candidate in enumerate(candidates):
        squares = centres.index_select(1, candidate).sub_(pixels).square_()
        distance = squares[0]
        for square in squares[1:]:  # a reduction would not fix the order of the sum
            distance = distance + square
        nearer = torch.minimum(best, distance)
        is_nearer = best.gt_(distance)  # as a number of the same kind, many times as fast as a boolean
        winners = torch.maximum(winners, is_nearer.mul_(number))
        best = nearer
    return candidates.T.gather(1, winners.long()).T.contiguous()


def _images_last(values: Float[Tensor, "n f p"], scale: Float[Tensor, "f"]) -> Float[Tensor, "f p n"]:
    """Return scaled features with the images last, so that looking up a centre copies contiguous memory."""
    return (values * scale[:, None]).permute(1, 2, 0).contiguous()


@dataclass(frozen=True)
class Graph:
    """The edges between regions that touch.

    Attributes:
        neighbours: Indices of each region's nearest neighbours, the region itself first.
        touching: Whether each entry of ``neighbours`` is a neighbour or padding.
        between: Rows, columns and distance from each region to each of its neighbours, as multiples of the grid's
            spacing; 0 for padding.
    """

    neighbours: Int64[Tensor, "n m k"]
    touching: Bool[Tensor, "n m k"]
    between: Float[Tensor, "n m k 3"]


def describe(images: Float[Tensor, "n c h w"], labels: Int64[Tensor, "n h w"], regions: int) -> Float[Tensor, "n k d"]:
    """Return the features of each region; all are 0 for a region without pixels.

    In this order: mean intensity of each channel. Row and column of the centroid, from -1 to 1 across the image.
    Standard deviation of each channel. Standard deviation of rows and of columns, relative to a square cell of the
    grid. Area, relative to the mean area.
    """
    height, width = images.shape[2:]
    pixels, flat = features(images), labels.flatten(1)
    zeros = pixels.new_zeros(*pixels.shape[:2], regions)
    mean = means(pixels, flat, zeros)
    from_mean = pixels - mean.gather(2, flat.unsqueeze(1).expand_as(pixels))
    deviation = means(from_mean.square(), flat, zeros).sqrt()
    area = areas(flat, regions) * (regions / (height * width))
    sides = torch.cat([pixels.new_full((1, 1), side) for side in (height, width)])
    place = torch.where(area > 0, (2 * mean[:, -2:] + 1) / sides - 1, 0)
    cell = sqrt(height * width / regions / 12)
    extent = torch.cat([deviation[:, :-2], deviation[:, -2:] / cell], dim=1)
    return torch.cat([mean[:, :-2], place, extent, area], dim=1).transpose(1, 2)


def adjacency(labels: Int64[Tensor, "n h w"], regions: int) -> Bool[Tensor, "n k k"]:
    """Return which regions have pixels next to each other; each region also touches itself."""
    touching = torch.zeros(labels.shape[0], regions * regions, dtype=torch.bool, device=labels.device)
    for one, other in ((labels[:, 1:], labels[:, :-1]), (labels[:, :, 1:], labels[:, :, :-1])):
        touching.scatter_(1, (one * regions + other).flatten(1), True)
    touching = touching.view(-1, regions, regions)
    return touching | touching.transpose(1, 2) | torch.eye(regions, dtype=torch.bool, device=labels.device)


def join(touching: Bool[Tensor, "n k k"], places: Float[Tensor, "n k 2"], most: int) -> Graph:
    """Return the graph that joins each region to the nearest regions that it touches, itself included.

    Args:
        touching: Which regions touch.
        places: Row and column of each region's centroid, as multiples of the grid's spacing.
        most: The largest number of neighbours of a region.
    """
    row, column = (part.unsqueeze(1) - part.unsqueeze(2) for part in places.unbind(2))
    distance = (row.square() + column.square()).sqrt().masked_fill(~touching, torch.inf)
    nearest, neighbours = (part.mT.contiguous() for part in distance.topk(min(most, places.shape[1]), largest=False))
    within = nearest.isfinite()
    flat = neighbours.flatten(1)
    apart = [(part.gather(1, flat).view_as(nearest) - part.unsqueeze(1)) for part in places.unbind(2)]
    between = torch.stack([*apart, nearest], dim=1).masked_fill_(~within.unsqueeze(1), 0)
    return Graph(neighbours, within, between.permute(0, 2, 3, 1))
