"""Where a data set lies: the folder or file that a recipe names, or the one that replaces it."""

import difflib
import os
from pathlib import Path

from modiste.data.paths import expand_home, kind_at
from modiste.data.pictures.folder_layout import visible
from modiste.data.pictures.listing import describe_contents, describe_file
from modiste.errors import DataError, fault, shown

FASHION_MNIST = "fashion-mnist"
SOURCES = f'"{FASHION_MNIST}", a folder of class folders or of IDX files, or a .npz, .parquet or .csv file'


def source_folder(source: str, folder: Path | None = None) -> Path:
    """Return ``folder``, or else the folder that ``source`` names; DataError if it does not exist."""
    location = sought(source, folder)
    kind = kind_at(location) if source or folder else ""
    if kind == "folder":
        return location
    if kind and folder is None:
        found, remedy = describe_file(location)
        raise fault(location, "not a readable data set", expected=SOURCES, found=found, remedy=remedy)
    near = difflib.get_close_matches(source.lower(), [FASHION_MNIST], cutoff=0.5)
    raise fault(
        location,
        "no such data set or folder",
        expected=SOURCES,
        found=f'"{shown(source)}"' if folder is None else describe_file(location)[0] if kind else "no folder",
        remedy=f'did you mean "{near[0]}"?' if near else "check the path",
    )


def sought(source: str, folder: Path | None = None) -> Path:
    """Return ``folder``, or else the path that ``source`` names; nothing need be there."""
    return expand_home(folder if folder is not None else Path(source))


def refuse(source: str, folder: Path | None = None) -> DataError:
    """Return the error for data that no source reads: nothing is there, or a file or folder of another kind."""
    path = source_folder(source, folder)
    names = [item.name for item in visible(path)]
    found, remedy = describe_contents(names)
    return fault(
        path, "no data set in it", expected="class folders, IDX files, or files of arrays", found=found, remedy=remedy
    )


def check_single_location(source: str, folder: Path | None) -> None:
    """Raise DataError if ``source`` names existing data and ``folder`` names other data."""
    if folder is None or source == FASHION_MNIST:
        return
    own, other = expand_home(Path(source)), expand_home(folder)
    if source and kind_at(own) and os.path.realpath(own) != os.path.realpath(other):
        raise _two_locations(own, folder, "exists")


def check_not_fashion_mnist(source: str, folder: Path | None, name: str) -> None:
    """Raise DataError if ``source`` names another data set, but ``folder`` holds one of this name, Fashion-MNIST."""
    if folder is not None and FASHION_MNIST == name != source:
        raise _two_locations(Path(source), folder, "does not exist")


def _two_locations(own: Path, folder: Path, found: str) -> DataError:
    return fault(
        own,
        "two locations for the data",
        expected="data.source alone, or --data-folder for Fashion-MNIST and for data that have moved",
        found=f"the source, which {found}, and the folder {shown(folder)}",
        remedy="omit --data-folder, or name the folder as the source",
    )


def set_name(folder: Path) -> str:
    """Return the name of the set in a folder: the folder's own name."""
    return shown(folder.resolve().name) or "images"
