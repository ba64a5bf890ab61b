"""Folders on this machine: where Fashion-MNIST may already be, and where downloads and decoded pictures are kept."""

import errno
import os
import stat
from pathlib import Path
from typing import Literal

from modiste.errors import fault, reason_of

FOLDER_VARIABLE = "MODISTE_DATA"


def cache_folder() -> Path:
    """Return the folder for downloads."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("modiste", appauthor=False)) / "fashion-mnist"


def backbone_folder() -> Path:
    """Return the folder for published weights in safetensors form; it may be deleted at any time."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("modiste", appauthor=False)) / "backbones"


def feature_cache_folder() -> Path:
    """Return the folder for features of pictures; it may be deleted at any time."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("modiste", appauthor=False)) / "features"


def clothing_folder() -> Path:
    """Return the folder for the fetched photographs of clothing; it may be deleted at any time."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("modiste", appauthor=False)) / "clothing"


def picture_cache_folder() -> Path:
    """Return the folder for decoded pictures; it may be deleted at any time."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("modiste", appauthor=False)) / "pictures"


def kind_at(path: Path) -> Literal["folder", "file", "device", ""]:
    """Return what is at a path, following links; empty if nothing is, or if the name is impossible.

    Raises DataError if the system refuses to answer: no permission, or links that form a circle.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return ""
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return ""
        remedy = "check the path, and the permissions of the folders on it"
        raise fault(
            path, "cannot be accessed", expected="a folder or a file", found=reason_of(error), remedy=remedy
        ) from None
    if stat.S_ISDIR(mode):
        return "folder"
    return "file" if stat.S_ISREG(mode) else "device"


def expand_home(path: Path) -> Path:
    """Return a path with ~ replaced by the home folder; unchanged if there is no such home."""
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def named_folder(folder: Path | None) -> Path | None:
    """Return ``folder``, or else the folder in MODISTE_DATA, or else None."""
    variable = os.environ.get(FOLDER_VARIABLE, "")
    chosen = folder if folder is not None else Path(variable) if variable else None
    return expand_home(chosen) if chosen else None


def usual_folders() -> tuple[Path, ...]:
    """Return the folders to search: our own, then those of torchvision, Keras, Debian and Zalando's repository."""
    try:
        home = Path.home()
    except RuntimeError:
        home = Path()
    torchvision = (root / "FashionMNIST" / "raw" for root in (Path("data"), Path("../data"), home / "data"))
    keras = Path(os.environ.get("KERAS_HOME") or home / ".keras") / "datasets" / "fashion-mnist"
    debian = Path("/usr/share/datasets/fashion-mnist")
    zalando = (root / "data" / "fashion" for root in (Path(), Path("fashion-mnist"), home / "fashion-mnist"))
    folders = (cache_folder(), *torchvision, keras, debian, *zalando)
    return tuple(dict.fromkeys(Path(os.path.realpath(folder)) for folder in folders))
