"""Separates a garment from a plain background, which is modelled from the edge of the photo."""

from dataclasses import dataclass
from functools import lru_cache, reduce

import numpy as np
from jaxtyping import Bool, Float, Int64, UInt8

from modiste.errors import PhotoError
from modiste.photo.regions import gaussian_blur, label

WORKING_SIDE = 160
"""Longer side, in pixels, of the reduced photo in which the background is found."""
RING = 0.03
"""Width of the photo's edge, as a share of the shorter side."""
LEAST_CONTRAST = 0.05 * 255
"""Least distance of a garment's pixel from the background: five percent of full brightness, as for the data set."""
NOISE_FACTOR = 4.0
"""For a noisy background the least distance is this many times its own scatter, if that is more."""
LEAST_AREA = 0.01
"""Least share of the photo that a garment covers."""
MOST_AREA, MOST_EDGE = 0.9, 0.5
"""Largest share of the photo, and of its edge, that a garment covers."""
MOST_SCATTER = 25.0
"""Largest scatter of a plain background, in grey levels."""
LOWERED, LEAST_STEADINESS, THRESHOLDS = 0.65, 0.75, 3
"""A garment that stands out keeps its outline when the threshold is LOWERED: the two masks overlap by at least so much.
A threshold that cuts through the garment, or through a fold of the background, gives another mask at once. So many
thresholds are tried, each LOWERED from the one before."""
CLOSED = 2
"""Gaps and holes up to twice as many pixels of the reduced photo are closed."""
UNCLEAR = "the background is uneven, or the garment's outline unclear"
FITS = 4
"""Number of fits, each without the outliers of the one before."""
FIRST_FIT = 0.6
"""Least share of the edge that the first fit uses."""
LUMINANCE = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue (ITU-R BT.601), as Pillow converts colours to grey."""


@dataclass(frozen=True)
class Garment:
    """A garment found on a photo.

    Attributes:
        grey: Luminance of the photo, 0 to 255.
        mask: Pixels of the garment; all pixels if it could not be separated from the background.
        darker: Whether the garment is darker than the background.
        background: How it was separated, a key of ``separation.BACKGROUNDS``; empty if it could not be.
        doubt: Why the garment could not be separated, or may be another; empty if nothing speaks against it.
        network: Name of the segmentation network that found it; empty if none did.
        behind: Luminance of the background: at each pixel of a plain one, else its mean; 0 if it is not known.
    """

    grey: Float[np.ndarray, "h w"]
    mask: Bool[np.ndarray, "h w"]
    darker: bool
    background: str
    doubt: str = ""
    network: str = ""
    behind: Float[np.ndarray, "h w"] | float = 0.0

    @property
    def separated(self) -> bool:
        """Whether the garment could be separated from its background."""
        return bool(self.background)


def find_on_plain(photo: UInt8[np.ndarray, "h w 3"]) -> Garment:
    """Separate the garment from a background that is plain, or shaded evenly from one side to the other.

    A plane is fitted to each colour of the photo's edge, without outliers. Pixels far from that plane belong to the
    garment. If the edge is too uneven for a plane, or no threshold gives a steady outline, the whole photo counts as
    garment.

    Raises:
        PhotoError: The photo shows nothing but a plain background.
    """
    small = _reduced(photo)
    ground, scatter = _fit_background(small)
    distance = _root_mean_square(small - ground)
    if np.mean(distance > LEAST_CONTRAST) < LEAST_AREA:
        raise PhotoError("nothing stands out from the background; expected a garment on a plain one")
    threshold = max(LEAST_CONTRAST, NOISE_FACTOR * scatter)
    smooth = gaussian_blur(distance, 0.7, radius=3, edge="symmetric") if scatter > 1 else distance
    mask = _steady_mask(smooth, threshold) if scatter <= MOST_SCATTER else None
    grey, behind = small @ LUMINANCE, ground @ LUMINANCE
    if mask is None:
        return unseparated(grey, light_behind=bool(behind.mean() > 127), doubt=UNCLEAR)
    return Garment(grey, mask, is_darker(grey, behind, mask), "plain", behind=behind)


def unseparated(grey: Float[np.ndarray, "h w"], *, light_behind: bool, doubt: str) -> Garment:
    """Return the whole photo as a garment that could not be separated from its background."""
    return Garment(grey, np.ones(grey.shape, bool), light_behind, "", doubt)


def is_darker(
    grey: Float[np.ndarray, "h w"], behind: Float[np.ndarray, "h w"] | float, mask: Bool[np.ndarray, "h w"]
) -> bool:
    """Return whether the pixels of a mask are darker on average than the background behind them."""
    return bool((grey - behind)[mask].mean() < 0)


def overlap(one: Bool[np.ndarray, "h w"], other: Bool[np.ndarray, "h w"]) -> float:
    """Return the intersection of two masks over their union, 0 to 1; 1 if both are empty."""
    union = int((one | other).sum())
    return int((one & other).sum()) / union if union else 1.0


def doubt_of(mask: Bool[np.ndarray, "h w"]) -> str:
    """Return why a mask is not that of a garment on a background; empty if nothing speaks against it."""
    if mask.mean() < LEAST_AREA:
        return "nothing stands out clearly from the background"
    if mask.mean() > MOST_AREA or edge_share(mask) > MOST_EDGE:
        return "what stands out fills the photo"
    return ""


def edge_share(mask: Bool[np.ndarray, "h w"]) -> float:
    """Return the share of the photo's edge that a mask covers."""
    ring = _ring(*mask.shape)
    inside = mask[ring:-ring, ring:-ring]
    return float((int(mask.sum()) - int(inside.sum())) / (mask.size - inside.size))


def _ring(height: int, width: int) -> int:
    """Return the width of a photo's edge, in pixels."""
    return max(1, round(RING * min(height, width)))


def _reduced(photo: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "a b 3"]:
    """Shrink the photo by averaging, so that its longer side is at most WORKING_SIDE."""
    from PIL import Image

    image = Image.fromarray(photo)
    scale = WORKING_SIDE / max(image.size)
    if scale < 1:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.BOX)
    return np.asarray(image, dtype=np.float64)


def _fit_background(image: Float[np.ndarray, "h w 3"]) -> tuple[Float[np.ndarray, "h w 3"], float]:
    """Fit a plane to each colour of the image's edge; return the planes and the edge's scatter about them.

    The fit is by least squares, repeated without pixels beyond three robust deviations: a garment may reach the edge.
    """
    design, edge = _plane_and_edge(*image.shape[:2])
    pixels = image.reshape(-1, 3)
    terms, colours = design.take(edge, axis=0), pixels.take(edge, axis=0)
    away = reduce(np.maximum, np.abs(colours - _median(colours)).T)
    kept = away <= max(_quantile(away, FIRST_FIT), LEAST_CONTRAST)
    for _ in range(FITS):
        some = terms.compress(kept, axis=0)
        moments = some.T @ colours.compress(kept, axis=0)
        plane = np.linalg.solve(some.T @ some, moments)  # for three terms faster than lstsq
        error = _root_mean_square(colours - terms @ plane)
        scatter = 1.4826 * float(_median(error))
        kept = error <= max(3 * scatter, LEAST_CONTRAST / 2)
    return (design @ plane).reshape(image.shape), scatter


@lru_cache(maxsize=64)  # most photos of a folder share a handful of shapes
def _plane_and_edge(height: int, width: int) -> tuple[Float[np.ndarray, "pixels 3"], Int64[np.ndarray, " edge"]]:
    """Return the terms of a plane at each pixel (1, row and column in [-1, 1]), and the indices of edge pixels."""
    ring = _ring(height, width)
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    edge = np.ones((height, width), bool)
    edge[ring:-ring, ring:-ring] = False
    design = np.stack([np.ones(height * width), rows.ravel(), columns.ravel()], axis=1)
    return design, np.flatnonzero(edge)


def _root_mean_square(colours: Float[np.ndarray, "*shape 3"]) -> Float[np.ndarray, "*shape"]:
    """Return the root mean square of red, green and blue; NumPy's own mean is slow along such a short axis."""
    squares = colours * colours
    total: Float[np.ndarray, "*shape"] = squares[..., 0] + squares[..., 1] + squares[..., 2]
    return np.sqrt(total / 3)


def _median(values: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Return the median along the first axis, as NumPy's own function does, in a third of its time."""
    half = len(values) // 2
    places = (half,) if len(values) % 2 else (half - 1, half)
    parted = np.partition(values, places, axis=0)
    return np.asarray((parted[places[0]] + parted[places[-1]]) / 2)


def _quantile(values: Float[np.ndarray, " n"], share: float) -> float:
    """Return a quantile of two numbers or more, interpolated as by NumPy's own function, in a third of its time."""
    at = (len(values) - 1) * share
    low = int(at)
    first, last = np.partition(values, (low, low + 1))[low : low + 2].tolist()
    rest = at - low
    return float(last - (last - first) * (1 - rest) if rest >= 0.5 else first + (last - first) * rest)


def _steady_mask(distance: Float[np.ndarray, "h w"], threshold: float) -> Bool[np.ndarray, "h w"] | None:
    """Return the mask above the first threshold with a steady outline that passes ``doubt_of``; None without one."""
    mask = _cleaned(distance > threshold)
    for _ in range(THRESHOLDS):
        lower = max(LEAST_CONTRAST, LOWERED * threshold)
        wider = mask if lower == threshold else _cleaned(distance > lower)
        if overlap(mask, wider) >= LEAST_STEADINESS and not doubt_of(mask):
            return mask
        if lower == LEAST_CONTRAST:
            return None
        mask, threshold = wider, lower
    return None


def _cleaned(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Close narrow gaps and small holes, and remove specks; larger holes are openings of a garment and stay."""
    height, width = mask.shape
    framed = np.zeros((height + 2 * CLOSED, width + 2 * CLOSED), bool)
    framed[CLOSED:-CLOSED, CLOSED:-CLOSED] = mask
    gaps = ~_widened(framed)
    closed = ~_widened(gaps)[CLOSED:-CLOSED, CLOSED:-CLOSED]
    return largest_parts(closed | mask)


def _widened(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Return the mask with its neighbours above, below, left and right, CLOSED times."""
    for _ in range(CLOSED):
        wider = mask.copy()
        wider[1:] |= mask[:-1]
        wider[:-1] |= mask[1:]
        wider[:, 1:] |= mask[:, :-1]
        wider[:, :-1] |= mask[:, 1:]
        mask = wider
    return mask


def largest_parts(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Return the mask without its specks: parts of less than a twentieth of the largest."""
    labels, count = label(mask)
    if count == 0:
        return mask
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    kept: Bool[np.ndarray, "h w"] = (areas >= max(0.05 * areas.max(), 4))[labels]
    return kept
