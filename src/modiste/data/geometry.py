"""Geometry of the images of a batch: affine maps, each with its own, and rectangles."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

Images = Float[Tensor, "n c h w"]


def affine(
    *, angle: Float[Tensor, " n"], scale: Float[Tensor, " n"], offset: Float[Tensor, "2 n"]
) -> Float[Tensor, "n 2 3"]:
    """Return affine maps from output to input coordinates in [-1, 1]; a scale above 1 makes the image smaller."""
    cosine, sine = angle.cos() * scale, angle.sin() * scale
    rows = [cosine, -sine, offset[0], sine, cosine, offset[1]]
    return torch.stack(rows, dim=1).view(-1, 2, 3)


def of_pixels(maps: Float[Tensor, "n 2 3"], images: Images) -> Float[Tensor, "n 2 3"]:
    """Return maps that turn and shear by pixels, given those that would for a square; coordinates are in [-1, 1].

    An image that is no square has more pixels to the unit along its longer side.
    """
    height, width = images.shape[2:]
    maps = maps.clone()
    maps[:, 0, 1] *= height / width
    maps[:, 1, 0] *= width / height
    return maps


def warp(images: Images, maps: Float[Tensor, "n 2 3"]) -> Images:
    """Map each image by its affine map from output to input coordinates in [-1, 1]; outside the image is zero."""
    return sample(images, F.affine_grid(maps, list(images.shape), align_corners=False))


def warp_fast(images: Images, maps: Float[Tensor, "n 2 3"]) -> Images:
    """Do the same as ``warp`` in half the time; the last bits of the coordinates differ, so that runs do not mix both.

    The product of matrices in torch's affine_grid takes ten times as long as these sums.
    """
    rows, columns = centres(images)
    parts = maps[:, :, :, None, None].unbind(2)  # of columns, of rows, and constant
    grid = parts[0] * columns + (parts[1] * rows + parts[2])
    return sample(images, grid.permute(0, 2, 3, 1))


def centres(images: Images) -> tuple[Float[Tensor, "h 1"], Float[Tensor, " w"]]:
    """Return rows and columns of the pixels' centres, as ``sample`` takes them; the image reaches from -1 to 1."""
    rows, columns = ((2 * torch.arange(side, device=images.device) + 1) / side - 1 for side in images.shape[2:])
    return rows[:, None], columns


def sample(images: Images, grid: Float[Tensor, "n h w 2"]) -> Images:
    """Take each pixel from a place of the image, given in [-1, 1] as column and row; outside the image is zero."""
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def uniform(images: Images, generator: torch.Generator) -> Float[Tensor, " n"]:
    """Draw a number from 0 to 1 for each image, on the images' device."""
    return torch.rand(len(images), generator=generator, device=images.device)


def boxes(
    images: Images, tall: Float[Tensor, " n"], wide: Float[Tensor, " n"], generator: torch.Generator, *, inside: bool
) -> Bool[Tensor, "n h w"]:
    """Return a random rectangle for each image as a mask.

    Args:
        images: Give number and size of the masks.
        tall: Height of each rectangle, as a share of the image's.
        wide: Width of each rectangle, likewise.
        generator: Generator of the positions.
        inside: Whether the rectangle lies entirely inside the image; otherwise only its centre does.
    """
    height, width = images.shape[2:]
    spans = []
    for share, size in ((tall, height), (wide, width)):
        length = (share.clamp(max=1) * size).round()
        position = uniform(images, generator)
        last = size - length
        if inside:  # rounding may lift the product to last + 1
            start = torch.minimum((position * (last + 1)).floor(), last)
        else:
            start = (position * size).floor() - (length / 2).floor()
        at = torch.arange(size, device=images.device)
        spans.append((at >= start[:, None]) & (at < (start + length)[:, None]))
    return spans[0][:, :, None] & spans[1][:, None, :]
