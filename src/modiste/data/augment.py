"""Augmentations: pure functions of (images, strength, generator) that change all images of a batch at once.

Mixtures of two images change targets too. Targets are probabilities, so a mixture needs no special treatment later.
"""

from collections.abc import Callable
from math import pi

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from modiste.compat import sample_dirichlet
from modiste.data import garment_changes
from modiste.data.batch import Batch
from modiste.data.geometry import Images, affine, boxes, of_pixels, uniform, warp
from modiste.data.random_operations import random_operations, trivial
from modiste.errors import RecipeError
from modiste.recipes import own_code
from modiste.recipes.recipe import AugmentationRecipe

WIDEST_CROP = torch.tensor(4 / 3)
"""Largest aspect of a resized crop, relative to that of the image; the smallest is its inverse."""
LIGHT_SHARE = 0.3
"""The colour of the light changes by this share of what brightness does: rooms are rarely lit in strong colours."""
DECAY = 3
"""Exponent by which FMix weakens high frequencies, as published."""


def augment(batch: Batch, recipe: AugmentationRecipe, generator: torch.Generator) -> Batch:
    """Apply the recipe's augmentations: first those that change a single image, then those that mix two."""
    images, targets = batch.images, batch.targets
    for name, change in CHANGES.items():
        strength = getattr(recipe, name)
        if strength:
            images = change(images, strength, generator)
    for name, mix in MIXTURES.items():
        strength = getattr(recipe, name)
        if strength:
            images, targets = mix(images, targets, strength, generator)
    return Batch(images.contiguous(memory_format=torch.channels_last), targets, batch.weights)


def augment_by_own(batch: Batch, reference: str, generator: torch.Generator) -> Batch:
    """Apply an augmentation that is not Modiste's: ``change(images, targets, generator)``.

    It returns the images, or images and targets. All keep their shapes; images are in [0, 1], targets sum to 1.

    Args:
        batch: Images and targets.
        reference: To the code, as the recipe holds it; empty to return the batch unchanged.
        generator: Seeded for the step, on the images' device.

    Raises:
        RunError: The code is not registered in this process.
        RecipeError: It returns something else.
    """
    if not reference:
        return batch
    found = own_code.find(reference, "augmentation")(batch.images, batch.targets, generator)
    images, targets = found if isinstance(found, tuple) and len(found) == 2 else (found, batch.targets)
    for what, before, after in (("images", batch.images, images), ("targets", batch.targets, targets)):
        if not isinstance(after, Tensor) or (after.shape, after.dtype) != (before.shape, before.dtype):
            described = f"{after.dtype} of shape {tuple(after.shape)}" if isinstance(after, Tensor) else type(after)
            raise RecipeError(
                f"{own_code.path_in(reference)}: expected {what} as {before.dtype} of shape {tuple(before.shape)}, "
                f"found {described}"
            )
    return Batch(images.contiguous(memory_format=torch.channels_last), targets, batch.weights)


def check_own_augmentation(reference: str, image_shape: tuple[int, int, int], classes: int) -> None:
    """Try an augmentation that is not Modiste's on two random images; an empty reference needs no trial.

    Raises:
        RecipeError: It fails, returns something else than ``augment_by_own`` expects, or ignores the generator.
        RunError: It is not registered in this process.
    """
    if not reference:
        return
    name, found = own_code.path_in(reference), []
    images = torch.rand(2, *image_shape, generator=torch.Generator().manual_seed(0))
    targets = F.one_hot(torch.tensor([0, classes - 1]), classes).float()
    for _ in range(2):
        generator = torch.Generator().manual_seed(1)
        with own_code.faults_named(name, f"fails on images of shape {tuple(images.shape)}"), torch.random.fork_rng([]):
            torch.manual_seed(1)
            found.append(augment_by_own(Batch(images.clone(), targets.clone()), reference, generator).images)
    if not found[0].isfinite().all():
        raise RecipeError(f"{name}: expected finite pixels, found infinity or NaN")
    if not found[0].equal(found[1]):
        raise RecipeError(
            f"{name}: expected the same images from the same generator, found others; take every random number from "
            "the generator, or from torch's own"
        )


def flip(images: Images, _strength: bool, generator: torch.Generator) -> Images:
    """Mirror each image left to right with probability one half."""
    return torch.where(uniform(images, generator)[:, None, None, None] < 0.5, images.flip(3), images)


def shift(images: Images, most: int, generator: torch.Generator) -> Images:
    """Move each image by -most to most pixels, vertically and horizontally; zeros fill the gap."""
    count, _, height, width = images.shape
    padded = F.pad(images, (most, most, most, most))
    offsets = torch.randint(0, 2 * most + 1, (2, count), generator=generator, device=images.device)
    rows = offsets[0][:, None, None] + torch.arange(height, device=images.device)[None, :, None]
    columns = offsets[1][:, None, None] + torch.arange(width, device=images.device)[None, None, :]
    every = torch.arange(count, device=images.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[every, rows, columns].permute(0, 3, 1, 2)


def crop(images: Images, most: float, generator: torch.Generator) -> Images:
    """Crop a random part and enlarge it to the full size; the crop removes up to the share ``most`` of each side."""
    kept = 1 - most * uniform(images, generator)
    corner = (2 * torch.rand(2, len(images), generator=generator, device=images.device) - 1) * (1 - kept)
    return warp(images, affine(angle=torch.zeros_like(kept), scale=kept, offset=corner))


def resized_crop(images: Images, most: float, generator: torch.Generator) -> Images:
    """Crop a random part and resize it to the full size (Szegedy et al., 2015).

    The crop removes up to the share ``most`` of the area. Its aspect, relative to that of the image, is from 3:4 to
    4:3. A side that would be longer than the image's is cut to it. If ``most`` is below 0.25, the crop may so remove
    more: up to 0.18 where ``most`` is 0.1.
    """
    kept = 1 - most * uniform(images, generator)
    aspect = torch.exp((2 * uniform(images, generator) - 1) * WIDEST_CROP.log())
    wide, tall = (kept * aspect).sqrt().clamp(max=1), (kept / aspect).sqrt().clamp(max=1)
    corner = (2 * torch.rand(2, len(images), generator=generator, device=images.device) - 1) * (
        1 - torch.stack([wide, tall])
    )
    none = torch.zeros_like(wide)
    return warp(images, torch.stack([wide, none, corner[0], none, tall, corner[1]], dim=1).view(-1, 2, 3))


def rotate(images: Images, most_degrees: float, generator: torch.Generator) -> Images:
    """Rotate each image about its centre by -most_degrees to most_degrees; zeros fill the corners."""
    angle = (2 * uniform(images, generator) - 1) * (most_degrees * pi / 180)
    maps = affine(angle=angle, scale=torch.ones_like(angle), offset=angle.new_zeros(2, len(angle)))
    return warp(images, of_pixels(maps, images))


def erase(images: Images, probability: float, generator: torch.Generator) -> Images:
    """With this probability replace a rectangle of 2 to 40 % of the area by noise (Zhong et al., 2020)."""
    area = 0.02 + 0.38 * uniform(images, generator)
    aspect = torch.exp((2 * uniform(images, generator) - 1) * torch.tensor(10 / 3).log())
    chosen = uniform(images, generator) < probability
    inside = boxes(images, (area * aspect).sqrt(), (area / aspect).sqrt(), generator, inside=True)
    noise = torch.rand(images.shape, generator=generator, device=images.device)
    return torch.where((inside & chosen[:, None, None])[:, None], noise, images)


def cutout(images: Images, side: int, generator: torch.Generator) -> Images:
    """Blacken a square of ``side`` pixels, centred anywhere in the image (DeVries and Taylor, 2017)."""
    height, width = images.shape[2:]
    share = torch.ones(len(images), device=images.device)
    inside = boxes(images, share * (side / height), share * (side / width), generator, inside=False)
    return images.masked_fill(inside[:, None], 0.0)


def photo(images: Images, strength: float, generator: torch.Generator) -> Images:
    """Imitate a bad photo: a margin, blur, a background that is not black, and noise, each up to ``strength``."""
    scale = 1 + strength * uniform(images, generator)
    offset = (2 * torch.rand(2, len(images), generator=generator, device=images.device) - 1) * (scale - 1)
    small = warp(images, affine(angle=torch.zeros_like(scale), scale=scale, offset=offset))
    blurred = F.avg_pool2d(small, 3, stride=1, padding=1, count_include_pad=False)
    softness, level = (strength * uniform(images, generator)[:, None, None, None] * share for share in (1.0, 0.5))
    soft = small.lerp(blurred, softness)
    noise = torch.randn(images.shape, generator=generator, device=images.device) * (0.1 * strength)
    return (soft + level * (1 - soft) + noise).clamp(0, 1)


def colour(images: Images, strength: float, generator: torch.Generator) -> Images:
    """Change brightness, contrast, saturation and the colour of the light, each up to ``strength`` (Howard, 2013)."""
    brightness, contrast, saturation = (
        (1 + strength * (2 * uniform(images, generator) - 1))[:, None, None, None] for _ in range(3)
    )
    draws = torch.rand(*images.shape[:2], 1, 1, generator=generator, device=images.device)
    lit = images * brightness * (1 + LIGHT_SHARE * strength * (2 * draws - 1))
    level = lit.mean((1, 2, 3), keepdim=True)
    grey = lit.mean(1, keepdim=True)
    # Contrast about the image's mean and saturation about each pixel's grey, in one pass over the pixels.
    return (lit * (contrast * saturation) + grey * (contrast * (1 - saturation)) + level * (1 - contrast)).clamp(0, 1)


CHANGES: dict[str, Callable[..., Images]] = {
    "flip": flip,
    "shift": shift,
    "crop": crop,
    "resized_crop": resized_crop,
    "rotate": rotate,
    "photo": photo,
    "colour": colour,
    "trivial": trivial,
    "random_operations": random_operations,
    "erase": erase,
    "cutout": cutout,
    "pattern": garment_changes.print_pattern,
    "fold": garment_changes.fold,
    "aspect": garment_changes.aspect,
    "hide": garment_changes.hide,
    "tone": garment_changes.tone,
}


def mixup(images: Images, targets: Tensor, alpha: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Blend each image and target with another's, by a share from Beta(alpha, alpha) (Zhang et al., 2018)."""
    share, partner = _beta(images, alpha, generator), _partners(images, generator)
    mixed = images.lerp(images[partner], share[:, None, None, None])
    return mixed, targets.lerp(targets[partner], share[:, None])


def cutmix(images: Images, targets: Tensor, alpha: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Paste a rectangle of another image; targets are mixed in proportion to its area (Yun et al., 2019)."""
    side = _beta(images, alpha, generator).sqrt()
    partner = _partners(images, generator)
    inside = boxes(images, side, side, generator, inside=False)
    share = inside.flatten(1).float().mean(1)
    pasted = torch.where(inside[:, None], images[partner], images)
    return pasted, targets.lerp(targets[partner], share[:, None])


def fmix(images: Images, targets: Tensor, alpha: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Show another image through a mask of smooth random outline (Harris et al., 2020).

    As in the authors' code, one mask and one share from Beta(alpha, alpha) serve the whole batch. The share is rounded
    to whole pixels, and targets are mixed by the rounded one; theirs are mixed by the share that was drawn.

    Args:
        images: Images of shape (n, c, h, w).
        targets: Targets of shape (n, classes); rows sum to 1.
        alpha: Parameter of the distribution, above 0; 1 as published makes every share equally likely.
        generator: Seeded for the step, on the images' device.

    Returns:
        Images and targets of the same shapes.

    Example:
        >>> black_and_white = torch.tensor([0.0, 1.0])[:, None, None, None].expand(2, 1, 28, 28)
        >>> images, targets = fmix(black_and_white, torch.eye(2), 1.0, torch.Generator().manual_seed(0))
        >>> torch.allclose(images.mean((1, 2, 3)), targets[:, 1])  # of each image, this share is white
        True
    """
    height, width = images.shape[2:]
    pixels = (_beta(images[:1], alpha, generator) * (height * width)).round()
    mask, partner = _smooth_mask(height, width, pixels, generator), _partners(images, generator)
    return torch.where(mask, images[partner], images), targets.lerp(targets[partner], pixels / (height * width))


MIXTURES: dict[str, Callable[..., tuple[Tensor, Tensor]]] = {
    "mixup": mixup,
    "cutmix": cutmix,
    "fmix": fmix,
}
"""In the order in which they are applied; several in one recipe mix what the earlier ones have mixed."""


def _beta(images: Images, alpha: float, generator: torch.Generator) -> Float[Tensor, " n"]:
    """Draw from Beta(alpha, alpha) as the first share of a two-way Dirichlet; torch's own Beta takes no generator."""
    shares: Tensor = sample_dirichlet(torch.full((len(images), 2), alpha, device=images.device), generator)
    return shares[:, 0]


def _partners(images: Images, generator: torch.Generator) -> Tensor:
    return torch.randperm(len(images), generator=generator, device=images.device)


def _smooth_mask(
    height: int, width: int, pixels: Float[Tensor, " 1"], generator: torch.Generator
) -> Bool[Tensor, "h w"]:
    """Return a mask of exactly ``pixels`` pixels: where noise of low frequencies is highest.

    The amplitude of a frequency f, in cycles per pixel, falls as 1 / f**DECAY. In double precision, so that a
    processor's rounding does not decide which pixel is the last.
    """
    device, double = pixels.device, torch.float64
    rows, columns = (torch.fft.fftfreq(side, device=device, dtype=double) for side in (height, width))
    frequency = torch.hypot(rows[:, None], columns[None, : width // 2 + 1]).clamp(min=1 / max(height, width))
    noise = torch.randn(*frequency.shape, 2, generator=generator, device=device, dtype=double)
    spectrum = torch.view_as_complex(noise / frequency[:, :, None] ** DECAY)
    order = torch.fft.irfft2(spectrum, s=(height, width)).flatten().argsort(descending=True)
    chosen = torch.arange(len(order), device=device) < pixels
    return torch.zeros_like(chosen).scatter(0, order, chosen).view(height, width)
