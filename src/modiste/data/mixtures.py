"""Mixtures of two images of a batch: pure functions of (images, targets, strength, generator).

Targets are probabilities, so a mixture of two images needs no special treatment later.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from modiste.compat import sample_dirichlet
from modiste.data.geometry import Images, boxes

DECAY = 3
"""Exponent by which FMix weakens high frequencies, as published."""


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
