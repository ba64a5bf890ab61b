"""Changes of an image such as photographs taken at home show: garments laid wide, folded, printed, in another light.

Each is a pure function of (images, strength, generator), as in ``augment``. Garments are light on black.
"""

from math import log

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from modiste.data.geometry import Images, sample, uniform, warp

BACKGROUND = 8 / 255
"""Pixels up to this brightness are background."""
FOLDS = 4
"""Points a side of the grid whose displacements ``fold`` draws."""
COARSEST, FINEST = 2, 12
"""Fewest and most patches a side of a printed pattern."""
INVERTED = 0.3
"""Probability that ``tone`` exchanges light and dark, at strength 1."""
SHARPEST, SOFTEST = 1.5, 0.5
"""Largest shares of sharpening and of blur at strength 1: photographs are sharpened, and warped images are soft."""
GRAIN = 0.1
"""Largest standard deviation of grain at strength 1."""


def aspect(images: Images, most: float, generator: torch.Generator) -> Images:
    """Make each image wider or narrower, by a factor of up to 1 + most, and fill the frame with it."""
    wider = torch.exp((2 * uniform(images, generator) - 1) * log(1 + most))
    return framed(images, wider)


def fold(images: Images, most: float, generator: torch.Generator) -> Images:
    """Displace parts of each image by up to the share ``most`` of its side, smoothly (after Simard et al., 2003)."""
    count = len(images)
    moves = 2 * torch.rand(count, 2, FOLDS, FOLDS, generator=generator, device=images.device) - 1
    smooth = F.interpolate(2 * most * moves, size=images.shape[2:], mode="bicubic", align_corners=True)
    grid = _identity(images) + smooth.permute(0, 2, 3, 1)
    return sample(images, grid)


def print_pattern(images: Images, probability: float, generator: torch.Generator) -> Images:
    """With this probability cover the garment by a pattern of patches, more or less; where it is dark it stays black.

    The patches are 2 to 12 a side, some of them stretched into stripes, sharp or blurred.
    """
    pattern = _pattern(images, generator)
    cover = uniform(images, generator) * (uniform(images, generator) < probability)
    return torch.where(is_garment(images), images.lerp(pattern, cover[:, None, None, None]), images)


def tone(images: Images, strength: float, generator: torch.Generator) -> Images:
    """Change brightness and contrast of each garment, and exchange light and dark of some; sharpen or blur, add grain.

    At strength 1 brightness falls by up to 60 %, and the exponent of brightness lies between 1/3 and 3.
    """
    garment = is_garment(images)
    draws = torch.rand(5, len(images), 1, 1, 1, generator=generator, device=images.device)
    exponent = torch.exp((2 * draws[0] - 1) * log(1 + 2 * strength))
    shown = images.clamp(min=0).pow(exponent)
    shown = torch.where(garment & (draws[1] < INVERTED * strength), 1 + BACKGROUND - shown, shown)
    shown = shown * (1 - 0.6 * strength * draws[2])
    blurred = F.avg_pool2d(shown, 3, stride=1, padding=1, count_include_pad=False)
    shown = shown.lerp(blurred, strength * ((SHARPEST + SOFTEST) * draws[3] - SHARPEST))
    grain = torch.randn(images.shape, generator=generator, device=images.device) * (GRAIN * strength * draws[4])
    return (shown + grain * garment).clamp(0, 1)


def hide(images: Images, probability: float, generator: torch.Generator) -> Images:
    """With this probability put an ellipse at the edge of each image: a part cut off, a head, a hand, the floor.

    Half of the ellipses are black, the other half have one brightness with grain.
    """
    count, device = len(images), images.device
    _, _, height, width = images.shape
    rows, columns = torch.meshgrid(
        torch.linspace(-1, 1, height, device=device), torch.linspace(-1, 1, width, device=device), indexing="ij"
    )
    draws = torch.rand(7, count, 1, 1, generator=generator, device=device)
    angle = 2 * torch.pi * draws[0]
    reach = torch.maximum(angle.cos().abs(), angle.sin().abs())  # from the centre to the edge of the square
    down, right = angle.sin() / reach, angle.cos() / reach
    tall, wide = 0.1 + 0.5 * draws[1], 0.1 + 0.5 * draws[2]
    inside = ((rows - down) / tall) ** 2 + ((columns - right) / wide) ** 2 < 1
    grain = torch.randn(images.shape, generator=generator, device=device) * 0.2 * draws[3][:, None]
    filling = (draws[4][:, None] + grain).clamp(0, 1) * (draws[5] < 0.5)[:, None]
    return torch.where((inside & (draws[6] < probability))[:, None], filling, images)


def framed(images: Images, wider: Float[Tensor, " n"] | None = None) -> Images:
    """Enlarge the foreground until it touches two opposite sides, centred as in the data set's images.

    Args:
        images: Light on black.
        wider: Makes each foreground this many times wider before it is enlarged.
    """
    is_seen = images.amax(1) > BACKGROUND
    (top, bottom), (left, right) = (_extent(is_seen.any(axis)) for axis in (2, 1))
    stretch = torch.ones_like(right) if wider is None else wider.to(right)
    scale = torch.maximum(bottom - top, (right - left) * stretch)
    middle = torch.stack([left + right - 1, top + bottom - 1], dim=1)
    maps = torch.cat([torch.diag_embed(torch.stack([scale / stretch, scale], dim=1)), middle[:, :, None]], dim=2)
    return warp(images, maps)


def is_garment(images: Images) -> Bool[Tensor, "n 1 h w"]:
    """Return which pixels show a garment: those that are not black, and small dark spots between them."""
    seen = images.amax(1, keepdim=True) > BACKGROUND
    return (F.avg_pool2d(seen.float(), 3, stride=1, padding=1) > 0.5) | seen


def _pattern(images: Images, generator: torch.Generator) -> Images:
    """Return patches of random brightness; each image has its own number of patches in each direction."""
    count, _, height, width = images.shape
    device = images.device
    finest = torch.rand(count, 1, FINEST, FINEST, generator=generator, device=device)
    spans = COARSEST + (FINEST - COARSEST) * torch.rand(2, count, generator=generator, device=device)
    stripes = torch.rand(2, count, generator=generator, device=device) < 0.2
    spans = torch.where(stripes, torch.full_like(spans, 0.5), spans) / FINEST
    maps = F.pad(torch.diag_embed(spans.T), (0, 1))
    grid = F.affine_grid(maps, [count, 1, height, width], align_corners=False)
    sharp, smooth = (
        F.grid_sample(finest, grid, mode=mode, padding_mode="border", align_corners=False)
        for mode in ("nearest", "bilinear")
    )
    is_sharp = torch.rand(count, 1, 1, 1, generator=generator, device=device) < 0.5
    return torch.where(is_sharp, sharp, smooth).clamp(min=2 * BACKGROUND).expand_as(images)


def _identity(images: Images) -> Float[Tensor, "n h w 2"]:
    maps = torch.eye(2, 3, device=images.device).expand(len(images), 2, 3)
    return F.affine_grid(maps, list(images.shape), align_corners=False)


def _extent(is_seen: Tensor) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Return the start of the first True and the end of the last in each row, as shares of its length; 0, 1 if none."""
    length, flags = is_seen.shape[1], is_seen.int()
    return flags.argmax(1) / length, 1 - flags.flip(1).argmax(1) / length
