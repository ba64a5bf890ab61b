"""Reports of a run for people: pages and figures.

Importing any module of this package needs matplotlib and Jinja (``pip install 'modiste[report]'``), and raises
MissingExtraError without them.
"""

import os
import sys
from contextlib import suppress

from modiste.errors import MissingExtraError


def _import_packages() -> None:
    """Import matplotlib, Pillow and Jinja; raises MissingExtraError if one is not installed."""
    try:
        import jinja2  # noqa: F401

        _import_matplotlib()
    except ImportError as error:
        raise MissingExtraError(
            f"reports and figures need packages that are not installed ({error.name}): pip install 'modiste[report]'"
        ) from error


def _import_matplotlib() -> None:
    """Import matplotlib even if MPLBACKEND names a backend that is not installed.

    Jupyter sets MPLBACKEND for its child processes too. Matplotlib refuses to be imported in a child whose environment
    lacks that backend. Modiste needs no backend: it chooses a canvas by the file's format. A backend that is installed
    stays the process's own.
    """
    wanted = None if "matplotlib" in sys.modules else os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib.figure
        import matplotlib.image  # noqa: F401 - imports Pillow, which writes PNG files
    finally:
        if wanted is not None:
            os.environ["MPLBACKEND"] = wanted
    if wanted:
        with suppress(ValueError):
            matplotlib.rcParams["backend"] = wanted


_import_packages()
