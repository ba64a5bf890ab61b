"""Random changes to a batch of images: pure functions of (images, strength, generator), all images at once."""

import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor

from modiste.recipe import AugmentationRecipe


def augment(
    images: UInt8[Tensor, "n c h w"], recipe: AugmentationRecipe, generator: torch.Generator
) -> UInt8[Tensor, "n c h w"]:
    """Apply what the recipe asks for, in the order of its fields."""
    if recipe.flip:
        images = flip(images, generator)
    if recipe.shift:
        images = shift(images, recipe.shift, generator)
    return images


def flip(images: UInt8[Tensor, "n c h w"], generator: torch.Generator) -> UInt8[Tensor, "n c h w"]:
    """Mirror each image left to right with probability one half."""
    chosen = torch.rand(len(images), generator=generator, device=images.device) < 0.5
    return torch.where(chosen[:, None, None, None], images.flip(3), images)


def shift(images: UInt8[Tensor, "n c h w"], most: int, generator: torch.Generator) -> UInt8[Tensor, "n c h w"]:
    """Move each image by -most to most pixels in both directions, filling with zeros."""
    count, _, height, width = images.shape
    padded = F.pad(images, (most, most, most, most))
    offsets = torch.randint(0, 2 * most + 1, (2, count), generator=generator, device=images.device)
    rows = offsets[0][:, None, None] + torch.arange(height, device=images.device)[None, :, None]
    columns = offsets[1][:, None, None] + torch.arange(width, device=images.device)[None, None, :]
    every = torch.arange(count, device=images.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[every, rows, columns].permute(0, 3, 1, 2)
