"""Decodes HEIC and HEIF photos with pillow-heif, the only file that imports it."""

from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING

from modiste.errors import PhotoError

if TYPE_CHECKING:
    from PIL.Image import Image

MISSING = "a HEIC photo, which needs pillow-heif: pip install 'modiste[heif]', or save it as JPEG"


@cache
def version() -> str:
    """Return the version of pillow-heif; empty if it is not installed."""
    try:
        return metadata.version("pillow-heif")
    except metadata.PackageNotFoundError:
        return ""


def decode_heic(data: bytes) -> "Image":
    """Return the main image of a HEIC file, upright; its colour profile is in ``info``.

    Raises:
        PhotoError: The file is damaged, or pillow-heif is not installed. The other photos of a folder are still read.
    """
    try:
        import pillow_heif
    except ImportError:
        raise PhotoError(MISSING) from None
    try:
        return pillow_heif.open_heif(data).to_pillow()
    except (RuntimeError, OSError, ValueError, EOFError, SyntaxError, LookupError) as error:
        raise PhotoError(f"the image is damaged ({error})") from error
