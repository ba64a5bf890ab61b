"""Telling a garment from a plain background: what the edge of the photo looks like is the background."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, Int64, UInt8

from modiste.errors import PhotoError, extra_for
from modiste.photo.opening import EXTRA

WORKING_SIDE = 160
"""The photo is brought down to this before the background is looked for."""
RING = 0.03
"""Width of the edge that is taken for background, as a share of the shorter side."""
LEAST_CONTRAST = 0.05 * 255
"""How far from the background a pixel must be; the data set's own five percent."""
NOISE_FACTOR = 4.0
"""Or so many times as far as the background's own pixels are, where those scatter."""
LEAST_AREA = 0.01
"""Share of the photo that a garment covers at least."""
MOST_SCATTER = 40.0
"""Above this deviation the edge is no plain background."""
FITS = 4
FIRST_FIT = 0.6
"""Share of the edge that the first fit takes in, at least."""
LUMINANCE = np.array([0.299, 0.587, 0.114])
"""Of red, green and blue (ITU-R BT.601), as Pillow turns colours to grey."""


@dataclass(frozen=True)
class Garment:
    """A garment found on a photo.

    Attributes:
        grey: luminance of the photo, 0 to 255.
        mask: where the garment is; everywhere if it could not be told from the background.
        background: luminance behind it.
        separated: whether it could.
        darker: whether it is darker than the background.
    """

    grey: Float[np.ndarray, "h w"]
    mask: Bool[np.ndarray, "h w"]
    background: Float[np.ndarray, "h w"]
    separated: bool
    darker: bool


def find_garment(photo: UInt8[np.ndarray, "h w 3"]) -> Garment:
    """Part the garment from a background that is plain, or shaded evenly from one side to the other.

    A plane is fitted to each colour of the photo's edge, without the pixels that do not follow it; what lies far from
    that plane is garment. Where the edge is too restless for that, all of the photo is taken for garment.

    Raises:
        PhotoError: nothing stands out from the background.
        MissingExtraError: SciPy is not installed.
    """
    with extra_for(*EXTRA):
        from scipy import ndimage

    small = reduced(photo)
    ground, scatter = background_of(small)
    distance = root_mean_square(small - ground)
    threshold = max(LEAST_CONTRAST, NOISE_FACTOR * scatter)
    smooth = ndimage.gaussian_filter(distance, 0.7) if scatter > 1 else distance
    mask = cleaned(smooth > threshold)
    if scatter > MOST_SCATTER or mask.all():
        mask, separated = np.ones(mask.shape, bool), False
    elif mask.mean() < LEAST_AREA:
        raise PhotoError("nothing stands out from the background; expected a garment on a plain one")
    else:
        separated = True
    grey, behind = small @ LUMINANCE, ground @ LUMINANCE
    darker = bool((grey - behind)[mask].mean() < 0) if separated else bool(behind.mean() > 127)
    return Garment(grey, mask, behind, separated, darker)


def reduced(photo: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "a b 3"]:
    """Average the photo down such that its longer side is at most WORKING_SIDE."""
    from PIL import Image

    image = Image.fromarray(photo)
    scale = WORKING_SIDE / max(image.size)
    if scale < 1:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.BOX)
    return np.asarray(image, dtype=np.float64)


def background_of(image: Float[np.ndarray, "h w 3"]) -> tuple[Float[np.ndarray, "h w 3"], float]:
    """Return the plane through the image's edge for each colour, and how far the edge scatters about it.

    Fitted by least squares, again and again without the pixels beyond three robust deviations, for a garment may reach
    the edge.
    """
    design, edge = plane_and_edge(*image.shape[:2])
    pixels = image.reshape(-1, 3)
    terms, colours = design[edge], pixels[edge]
    away = np.abs(colours - np.median(colours, axis=0)).max(axis=1)
    kept = away <= max(np.quantile(away, FIRST_FIT), LEAST_CONTRAST)
    for _ in range(FITS):
        some = terms[kept]
        plane = np.linalg.solve(some.T @ some, some.T @ colours[kept])  # three terms: quicker than lstsq, as exact
        error = root_mean_square(colours - terms @ plane)
        scatter = 1.4826 * np.median(error)
        kept = error <= max(3 * scatter, LEAST_CONTRAST / 2)
    return (design @ plane).reshape(image.shape), float(scatter)


@lru_cache(maxsize=64)  # most photos of a folder share a handful of shapes
def plane_and_edge(height: int, width: int) -> tuple[Float[np.ndarray, "pixels 3"], Int64[np.ndarray, " edge"]]:
    """Return each pixel's terms of a plane, 1, row and column from -1 to 1, and which pixels are the image's edge."""
    ring = max(1, round(RING * min(height, width)))
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    edge = np.ones((height, width), bool)
    edge[ring:-ring, ring:-ring] = False
    design = np.stack([np.ones(height * width), rows.ravel(), columns.ravel()], axis=1)
    return design, np.flatnonzero(edge)


def root_mean_square(colours: Float[np.ndarray, "*shape 3"]) -> Float[np.ndarray, "*shape"]:
    """Return the root mean square of red, green and blue; NumPy's own mean is slow along so short an axis."""
    squares: Float[np.ndarray, "*shape"] = np.einsum("...c,...c->...", colours, colours)
    return np.sqrt(squares / 3)


def cleaned(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Drop specks, close gaps, fill holes that are no openings of a garment."""
    from scipy import ndimage

    closed = ndimage.binary_closing(np.pad(mask, 2), iterations=2)[2:-2, 2:-2]
    labels, count = ndimage.label(closed | mask, np.ones((3, 3)))
    if count == 0:
        return mask
    areas = np.bincount(labels.ravel())[1:]
    large = 1 + np.flatnonzero(areas >= max(0.05 * areas.max(), 4))
    kept: Bool[np.ndarray, "h w"] = np.isin(labels, large)
    return kept
