"""Numbers of a network made fit to be shown as pictures."""

from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from modiste.report.image_rows import Row, image_rows
from modiste.report.pixels import Scale
from modiste.report.style import WIDTH

MOST = 40


def signed(weights: Float[Tensor, "n *rest"]) -> Float[Tensor, "n *rest"]:
    """Scale all alike; the hundredth part of largest magnitude is cut to 1, so that a few do not make the rest pale."""
    largest = weights.abs().flatten().quantile(0.99)
    return (weights / largest.clamp(min=1e-12)).clamp(-1, 1)


def each_signed(maps: Float[Tensor, "n *rest"]) -> Float[Tensor, "n *rest"]:
    """Scale each picture by itself so that its largest magnitude is 1."""
    return maps / maps.abs().flatten(1).amax(1).clamp(min=1e-12).view(-1, *[1] * (maps.ndim - 1))


def heat(maps: Float[Tensor, "n h w"]) -> Float[Tensor, "n 1 h w"]:
    """Scale each map by itself from its least value, 0, to its largest, 1."""
    low, high = maps.flatten(1).aminmax(dim=1)
    scaled = (maps - low[:, None, None]) / (high - low).clamp(min=1e-12)[:, None, None]
    return scaled.unsqueeze(1)


def tile_grid(
    pictures: Float[Tensor, "n c h w"], *, columns: int, scale: Scale, captions: tuple[str, ...] = ()
) -> Figure:
    """Draw pictures side by side in rows, captions beneath them."""
    starts = range(0, len(pictures), columns)
    rows = [Row("", pictures[i : i + columns], captions[i : i + columns], scale) for i in starts]
    return image_rows(rows, width=WIDTH, label_width=0.0)


def weight_images(
    weights: Float[Tensor, "units pixels"], image_shape: tuple[int, int, int]
) -> Float[Tensor, "units 1 h w"]:
    """Return the weights of dense units as pictures, in proportion to one another; channels are averaged."""
    return signed(weights.detach().view(-1, *image_shape).mean(1, keepdim=True))
