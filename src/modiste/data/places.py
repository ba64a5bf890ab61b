"""Where on this machine Fashion-MNIST may lie already, and where decoded pictures are kept."""

import os
from pathlib import Path

FOLDER_VARIABLE = "MODISTE_DATA"


def cache_folder() -> Path:
    """Return the folder that downloads go to."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("modiste", appauthor=False)) / "fashion-mnist"


def picture_cache_folder() -> Path:
    """Return the folder that decoded pictures are kept in; it may be deleted at any time."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("modiste", appauthor=False)) / "pictures"


def named_folder(folder: Path | None) -> Path | None:
    """Return the folder that the person named, as an argument or in MODISTE_DATA, or None."""
    variable = os.environ.get(FOLDER_VARIABLE, "")
    chosen = folder if folder is not None else Path(variable) if variable else None
    try:
        return chosen.expanduser() if chosen else None
    except RuntimeError:  # no home folder
        return chosen


def usual_folders() -> tuple[Path, ...]:
    """Return the folders to search: ours, then those of torchvision, Keras, Debian, Zalando's repository."""
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
