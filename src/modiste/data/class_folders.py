"""A folder of class folders with pictures in them, or of train, validation and test with class folders in each."""

import os
from collections.abc import Iterator
from pathlib import Path

from modiste.data.faults import fault
from modiste.data.picture_list import SUFFIXES, Entry, PictureList, listed, make_list, reason_against, unread

PART_FOLDERS = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
}
"""What a folder is called that holds a part of the data, and that part."""
HIDDEN = (".", "__MACOSX")
"""Beginnings of names that nobody gave: hidden files, and what macOS puts into archives beside the files."""
Passed = tuple[str, str]


def read_class_folders(root: Path) -> PictureList:
    """List the pictures in ``root``: a class for each folder in it, or in each of train, validation and test.

    Pictures lie in a class's folder or anywhere below. What has a dot in front of its name is left out. Links are
    followed where they lead to a file in ``root``; anything else that is no picture is passed over with its reason.

    Raises DataError when that cannot be: no classes, a class without pictures, parts beside classes.
    """
    entries: list[Entry] = []
    passed: list[Passed] = []
    for part, folder in parts_of(root).items():
        for item in visible(folder):
            if not item.is_dir(follow_symlinks=False):
                passed.append((below(root, item.path), why_not(item, root) or "in no class's folder"))
                continue
            found = [Entry(name, item.name, part) for name in pictures_in(Path(item.path), root, passed)]
            if not found:
                raise fault(
                    Path(item.path),
                    "a class without pictures",
                    expected=f"files that end in {', '.join(SUFFIXES)}",
                    found="none",
                    remedy="put pictures into it, or remove it",
                )
            entries += found
    return make_list(root, root, entries, passed)


def parts_of(root: Path) -> dict[str, Path]:
    """Return the folder of each part, or ``root`` alone where it holds the classes; DataError for a mixture."""
    names = [item.name for item in visible(root) if item.is_dir(follow_symlinks=False)]
    parts = {PART_FOLDERS[name]: root / name for name in names if name in PART_FOLDERS}
    others = [name for name in names if name not in PART_FOLDERS]
    if not parts:
        return {"": root}
    if others or "train" not in parts or len(parts) < len(names):
        raise fault(
            root,
            "parts of the data beside something else",
            expected="train, with or without validation and test, and no other folder; or class folders alone",
            found=listed(names),
            remedy="move the classes into train, or rename a class that is called like a part",
        )
    return parts


def pictures_in(folder: Path, root: Path, passed: list[Passed]) -> Iterator[str]:
    """Yield the names of the pictures in a folder and below it; add to ``passed`` what else there is."""
    waiting = [folder]
    while waiting:
        for item in visible(waiting.pop()):
            if item.is_dir(follow_symlinks=False):
                waiting.append(Path(item.path))
            elif reason := why_not(item, root):
                passed.append((below(root, item.path), reason))
            else:
                yield below(root, item.path)


def why_not(item: "os.DirEntry[str]", root: Path) -> str:
    """Return why something in a folder is no picture; empty when it is one by its name."""
    if item.is_symlink() or not item.is_file():
        reason = reason_against(Path(item.path), os.path.realpath(root))
        if reason:
            return reason
    suffix = Path(item.name).suffix
    return "" if suffix.lower() in SUFFIXES else unread(suffix) or "no picture by the end of its name"


def visible(folder: Path) -> list["os.DirEntry[str]"]:
    """Return what lies in a folder, sorted, without what is hidden; DataError when it cannot be read."""
    try:
        with os.scandir(folder) as items:
            seen = (item for item in items if not item.name.startswith(HIDDEN))
            return sorted(seen, key=lambda item: item.name)
    except OSError as error:
        found = error.strerror or str(error)
        raise fault(folder, "unreadable", expected="a folder", found=found, remedy="check its permissions") from None


def below(root: Path, path: str) -> str:
    """Return a path as seen from ``root``."""
    return os.path.relpath(path, root)
