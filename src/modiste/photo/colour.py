"""Converts a photo's colours to sRGB, by the colour profile in its file.

Colours are converted by the tables of the profile (ICC.1:2022), relative to white and with black compensated for. A
profile that cannot be used leaves the colours as they are stored, as browsers do.
"""

import io
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_PROFILE_BYTES = 4 * 2**20
"""Largest profile that is used. Those of cameras and screens have kilobytes, those of printers up to 3 MB."""
LONG_CALCULATION = b"mpet"
"""Type of the tables that may hold a chain of calculations of any length; profiles of photos have none."""
MODES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}
"""Pillow's mode for pixels in the colour space of a profile."""
LEAST_CHANGE = 2
"""Grey levels. A profile that changes no colour by more is one of sRGB itself."""
PROBE_LEVELS = 9


def to_srgb(photo: "Image", profile: bytes | None) -> "Image":
    """Return a photo in red, green and blue of sRGB.

    Args:
        photo: Photo of mode RGB or CMYK.
        profile: The file's; None if it has none. Without one, RGB is taken for sRGB.
    """
    from PIL import ImageCms

    if not profile or len(profile) > MOST_PROFILE_BYTES or LONG_CALCULATION in profile:
        return photo.convert("RGB")
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = MODES.get(source.profile.xcolor_space, "")
        if not mode or (mode == "CMYK") != (photo.mode == "CMYK"):
            return photo.convert("RGB")
        transform = _transform(source, mode)
        if mode == "RGB" and not _changes(transform):
            return photo
        if mode == "L" and not _is_grey(photo):
            return photo
        pixels = photo.getchannel(0) if mode == "L" else photo
        return ImageCms.applyTransform(pixels, transform) or photo
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return photo.convert("RGB")


def from_lab(photo: "Image") -> "Image":
    """Return a photo of mode LAB in red, green and blue of sRGB."""
    from PIL import ImageCms

    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(photo, lab, srgb, ImageCms.Intent.RELATIVE_COLORIMETRIC, outputMode="RGB")
    assert converted is not None
    return converted


def _transform(source: Any, mode: str) -> Any:
    from PIL import ImageCms

    return ImageCms.buildTransform(
        source,
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )


def _changes(transform: Any) -> bool:
    """Return whether a transform from RGB changes any of a grid of colours visibly."""
    from PIL import Image, ImageCms

    probe = _probe()
    changed = np.asarray(ImageCms.applyTransform(Image.fromarray(probe), transform), dtype=np.int16)
    return bool(np.abs(changed - probe).max() > LEAST_CHANGE)


@cache
def _probe() -> UInt8[np.ndarray, "a b 3"]:
    levels = np.linspace(0, 255, PROBE_LEVELS).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1)
    return grid.reshape(PROBE_LEVELS, -1, 3)


def _is_grey(photo: "Image") -> bool:
    pixels = np.asarray(photo)
    return bool((pixels == pixels[..., :1]).all())
