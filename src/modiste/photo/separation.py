"""The ways to separate a garment from its background: by a plain background, by a network, or by whichever holds."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, UInt8

from modiste.errors import PhotoError
from modiste.photo.background import (
    LUMINANCE,
    Garment,
    doubt_of,
    edge_share,
    find_on_plain,
    is_darker,
    largest_parts,
    overlap,
    unseparated,
)
from modiste.photo.regions import bounding_box, label
from modiste.photo.segmentation import load_network, segment

LEAST_AGREEMENT = 0.5
"""Least overlap of two masks of the same garment: their intersection over their union."""
LEAST_OTHER = 0.25
"""A part of the mask is another garment if it has at least this share of the largest part's area."""
LEAST_CUT = 0.08
"""A garment counts as cut off if it covers at least this share of the photo's edge."""
SEVERAL = "several garments stand out; the largest is taken"
CUT_OFF = "the garment is cut off by the edge of the photo"
Photo = UInt8[np.ndarray, "h w 3"]


def separate(photo: UInt8[np.ndarray, "h w 3"], background: str = "plain") -> Garment:
    """Separate the garment on a photo from its background.

    Args:
        photo: Red, green and blue.
        background: A key of BACKGROUNDS. "plain" trusts a plain background; "network" the segmentation network, which
            also finds garments on a restless one; "auto" takes whichever passes its checks.

    Raises:
        PhotoError: The photo shows nothing.
        MissingExtraError, DataError: The network is not installed, or its file is another one.
    """
    return with_notes(BACKGROUNDS[background](photo))


def with_notes(garment: Garment) -> Garment:
    """Take the largest of several garments; say so, and say where a garment is cut off by the photo's edge."""
    if not garment.separated:
        return garment
    largest = without_others(garment.mask)
    notes = [garment.doubt] if garment.doubt else []
    darker = garment.darker
    if largest is not garment.mask:
        darker = is_darker(garment.grey, garment.behind, largest)
        notes.append(SEVERAL)
    if edge_share(largest) >= LEAST_CUT:
        notes.append(CUT_OFF)
    return replace(garment, mask=largest, darker=darker, doubt="; ".join(notes))


def without_others(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Return the mask's largest part with the small parts near it; the mask itself if no other part is large.

    Small parts belong to the large one in whose bounding box they lie.
    """
    labels, count = label(mask)
    areas = np.bincount(labels.ravel(), minlength=2)[1:]
    if count < 2 or np.sort(areas)[-2] < LEAST_OTHER * areas.max():
        return mask
    rows, columns = bounding_box(labels == 1 + int(areas.argmax()))
    kept = np.zeros_like(mask)
    near = np.zeros(count + 1, bool)
    near[1:] = areas < LEAST_OTHER * areas.max()
    near[1 + int(areas.argmax())] = True
    kept[rows, columns] = near[labels[rows, columns]]
    return kept


def find_by_network(photo: UInt8[np.ndarray, "h w 3"]) -> Garment:
    """Separate what stands in front from any background, by the segmentation network, at the photo's full size.

    The whole photo counts as garment if the mask fails ``doubt_of``. A plain background is looked for as well:
    where it shows another garment, the result says so.
    """
    network, plain = _both(photo)
    return _compared(network, plain) if network.separated else network


def find_by_either(photo: UInt8[np.ndarray, "h w 3"]) -> Garment:
    """Separate the garment by whichever way passes its checks; where both do, by the network.

    Where both pass and disagree, or only the plain background does, the result says so.
    """
    network, plain = _both(photo)
    if network.separated:
        return _compared(network, plain)
    return replace(plain, doubt=f"the network does not confirm it: {network.doubt}") if plain.separated else network


def _both(photo: UInt8[np.ndarray, "h w 3"]) -> tuple[Garment, Garment]:
    """Return the garments that the network and a plain background show; PhotoError if neither shows anything."""
    network = _by_network(photo)
    try:
        return network, find_on_plain(photo)
    except PhotoError:
        if not network.separated:
            raise
        return network, replace(network, background="")


def _by_network(photo: UInt8[np.ndarray, "h w 3"]) -> Garment:
    mask = largest_parts(segment(photo) > 0.5)
    grey = photo @ LUMINANCE
    doubt = doubt_of(mask)
    if doubt:
        return unseparated(grey, light_behind=bool(grey.mean() > 127), doubt=doubt)
    behind = float(grey[~mask].mean())
    name = load_network().network.name
    return Garment(grey, mask, is_darker(grey, behind, mask), "network", network=name, behind=behind)


def _compared(network: Garment, plain: Garment) -> Garment:
    """Return the network's garment, with a doubt if a plain background shows another one."""
    if not plain.separated or overlap(reduced(network.mask, plain.mask.shape), plain.mask) >= LEAST_AGREEMENT:
        return network
    return replace(network, doubt="a plain background would give another garment than the network")


def reduced(mask: Bool[np.ndarray, "h w"], shape: tuple[int, ...]) -> Bool[np.ndarray, "a b"]:
    """Return a mask of a photo in another size, (height, width)."""
    from PIL import Image

    height, width = shape
    return np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))


BACKGROUNDS: dict[str, Callable[[Photo], Garment]] = {
    "plain": find_on_plain,
    "network": find_by_network,
    "auto": find_by_either,
}
