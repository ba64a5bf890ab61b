"""Lists the pictures in a folder of class folders, or of train, validation and test with class folders in each."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from modiste.data.pictures.folder_layout import check_subfolders, folders_in, split_folders, unwrap, visible
from modiste.data.pictures.listing import (
    SUFFIXES,
    Entry,
    PictureList,
    count_extensions,
    join_names,
    make_list,
    reason_against,
    reason_against_name,
    remedy_for,
)
from modiste.errors import fault, shown

Skipped = list[tuple[str, str]]
"""Name of each file that is not used, with the reason; the functions below add to it."""


LABELLED = re.compile(r"(?P<label>[^.]+)\.\d+\.\w+")
"""A picture whose name begins with its class: cat.12.jpg."""


def are_labelled(folder: Path) -> bool:
    """Return whether a folder holds no folders, and every picture in it is called like LABELLED."""
    items = visible(folder)
    pictures = [item.name for item in items if not reason_against_name(item.name)]
    flat = not any(item.is_dir(follow_symlinks=False) for item in items)
    return flat and bool(pictures) and all(map(LABELLED.fullmatch, pictures))


def read_labelled_names(root: Path, *, for_training: bool = True) -> PictureList:
    """List the pictures in a folder whose names say the class: cat.12.jpg. Raises DataError as ``make_list``."""
    entries: list[Entry] = []
    skipped: Skipped = []
    for item in visible(root):
        match = LABELLED.fullmatch(item.name)
        reason = _reason_against(item, root)
        if reason or not match:
            skipped.append((item.name, reason or "no class in its name"))
        else:
            entries.append(Entry(item.name, match.group("label")))
    return make_list(root, root, entries, skipped, for_training=for_training)


def read_class_folders(root: Path, *, for_training: bool = True) -> PictureList:
    """List the pictures in ``root``: one class for each folder in it, or in each of train, validation and test.

    Pictures may be anywhere below a class's folder. Hidden files are ignored. A link is followed if it leads to a file
    in ``root``. Anything else that is no picture is skipped with a reason.

    Raises:
        DataError: There are too few classes, a class has no pictures, or splits cannot be distinguished from classes.
    """
    entries: list[Entry] = []
    skipped: Skipped = []
    folders = split_folders(root, for_training=for_training)
    for split, folder in folders.items():
        entries += _list_split(folder, split, root, skipped)
    _check_classes(root, folders, entries)
    return make_list(root, root, entries, skipped, for_training=for_training)


def _list_split(folder: Path, split: str, root: Path, skipped: Skipped) -> list[Entry]:
    """Return the pictures in the class folders of ``folder``."""
    entries: list[Entry] = []
    subfolders: dict[str, set[str]] = {}
    for item in visible(folder):
        if not item.is_dir(follow_symlinks=False):
            skipped.append((_relative(root, item.path), _reason_against(item, root) or "in no class's folder"))
            continue
        names = _list_class(Path(item.path), root, skipped)
        entries += [Entry(name, item.name, split) for name in names]
        start = len(_relative(root, item.path)) + 1
        subfolders[item.name] = {name[start:].rpartition("/")[0].partition("/")[0] for name in names}
    check_subfolders(folder, split, subfolders)
    return entries


def _list_class(folder: Path, root: Path, skipped: Skipped) -> list[str]:
    """Return the names of the pictures in and below a class's folder; DataError when there are none."""
    before = len(skipped)
    names = list(_pictures_below(folder, root, skipped))
    if not names:
        others = [name for name, _ in skipped[before:]]
        raise fault(
            folder,
            "a class without pictures",
            expected=f"files that end in {', '.join(SUFFIXES)}",
            found=count_extensions(others),
            remedy=remedy_for(others),
        )
    return names


def _pictures_below(folder: Path, root: Path, skipped: Skipped) -> Iterator[str]:
    """Yield the names of the pictures in and below a folder."""
    waiting = [folder]
    while waiting:
        for item in visible(waiting.pop()):
            if item.is_dir(follow_symlinks=False):
                waiting.append(Path(item.path))
            elif reason := _reason_against(item, root):
                skipped.append((_relative(root, item.path), reason))
            else:
                yield _relative(root, item.path)


def _reason_against(item: "os.DirEntry[str]", root: Path) -> str:
    """Return why an entry of a folder is not read as a picture; empty if it is."""
    if item.is_symlink() or not item.is_file():
        reason = reason_against(Path(item.path), os.path.realpath(root))
        if reason:
            return reason
    return reason_against_name(item.name)


def _relative(root: Path, path: str) -> str:
    """Return a path relative to the root, with slashes on every system: the random draw depends on it."""
    return os.path.relpath(path, root).replace(os.sep, "/")


def _check_classes(root: Path, folders: dict[str, Path], entries: list[Entry]) -> None:
    """Raise DataError if splits hold no class folders, or if the only class folder contains several folders."""
    if not entries and "" not in folders:
        found = f"none in {join_names(_relative(root, str(folder)) for folder in folders.values())}"
        remedy = "put the pictures of each class into a folder of its own"
        raise fault(
            root, "splits without class folders", expected="a folder for each class", found=found, remedy=remedy
        )
    classes = {entry.class_name for entry in entries}
    if len(classes) != 1 or "" not in folders:
        return
    only = unwrap(folders[""] / classes.pop())
    if len(inner := [item.name for item in folders_in(only)]) > 1:
        raise fault(
            root,
            "a single folder that contains others",
            expected="2 class folders or more",
            found=f"{shown(_relative(root, str(only)))}, and in it {join_names(inner)}",
            remedy=f"name {shown(only)}, if these are the classes",
        )
