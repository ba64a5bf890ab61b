"""A folder of class folders with pictures in them, or of train, validation and test with class folders in each."""

import os
from collections.abc import Iterator
from pathlib import Path

from modiste.data.pictures.folder_layout import check_layers, folders_in, parts_of, unwrapped, visible
from modiste.data.pictures.listing import (
    SUFFIXES,
    Entry,
    PictureList,
    counted,
    listed,
    make_list,
    reason_against,
    reason_against_name,
    what_to_do,
)
from modiste.errors import fault, shown

Passed = tuple[str, str]


def read_class_folders(root: Path) -> PictureList:
    """List the pictures in ``root``: a class for each folder in it, or in each of train, validation and test.

    Pictures lie in a class's folder or anywhere below. What has a dot in front of its name is left out. Links are
    followed where they lead to a file in ``root``; anything else that is no picture is passed over with its reason.

    Raises DataError when that cannot be: no classes, a class without pictures, parts that cannot be told from classes.
    """
    entries: list[Entry] = []
    passed: list[Passed] = []
    parts = parts_of(root)
    for part, folder in parts.items():
        entries += pictures_of_part(folder, part, root, passed)
    check_classes(root, parts, entries)
    return make_list(root, root, entries, passed)


def pictures_of_part(folder: Path, part: str, root: Path, passed: list[Passed]) -> list[Entry]:
    """Return the pictures in the class folders of ``folder``; add to ``passed`` what else there is."""
    entries: list[Entry] = []
    layers: dict[str, set[str]] = {}
    for item in visible(folder):
        if not item.is_dir(follow_symlinks=False):
            passed.append((below(root, item.path), why_not(item, root) or "in no class's folder"))
            continue
        names = pictures_of_class(Path(item.path), root, passed)
        entries += [Entry(name, item.name, part) for name in names]
        start = len(below(root, item.path)) + 1
        layers[item.name] = {name[start:].rpartition(os.sep)[0].partition(os.sep)[0] for name in names}
    check_layers(folder, part, layers)
    return entries


def pictures_of_class(folder: Path, root: Path, passed: list[Passed]) -> list[str]:
    """Return the names of the pictures in a class's folder and below it; DataError when there are none."""
    before = len(passed)
    names = list(pictures_in(folder, root, passed))
    if not names:
        others = [name for name, _ in passed[before:]]
        raise fault(
            folder,
            "a class without pictures",
            expected=f"files that end in {', '.join(SUFFIXES)}",
            found=counted(others),
            remedy=what_to_do(others),
        )
    return names


def check_classes(root: Path, parts: dict[str, Path], entries: list[Entry]) -> None:
    """Raise DataError where parts hold no class folders, or where the only class folder holds several folders."""
    if not entries and "" not in parts:
        found = f"none in {listed(below(root, str(folder)) for folder in parts.values())}"
        remedy = "put the pictures of each class into a folder of its own"
        raise fault(root, "parts without class folders", expected="a folder for each class", found=found, remedy=remedy)
    classes = {entry.class_name for entry in entries}
    if len(classes) != 1 or "" not in parts:
        return
    only = unwrapped(parts[""] / classes.pop())
    if len(inner := [item.name for item in folders_in(only)]) > 1:
        raise fault(
            root,
            "a single folder that holds others",
            expected="2 class folders or more",
            found=f"{shown(below(root, str(only)))}, and in it {listed(inner)}",
            remedy=f"name {shown(only)}, if these are the classes",
        )


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
    return reason_against_name(item.name)


def below(root: Path, path: str) -> str:
    """Return a path as seen from ``root``."""
    return os.path.relpath(path, root)
