"""The layout of a folder of pictures: where its class folders are, and which folders are train, validation and test.

The names of splits are recognised in their usual spellings.
"""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path

from modiste.data.pictures.listing import SUFFIXES, join_names
from modiste.errors import fault, reason_of, shown

SPLIT_WORDS = {
    "train": ("train", "training", "trn", "trainval"),
    "validation": ("validation", "valid", "val", "validate", "dev", "devel", "development", "eval", "evaluation"),
    "test": ("test", "testing", "tst", "holdout", "heldout"),
}
"""Words that name each split."""
FILLERS = (
    *("data", "dataset", "set", "split", "part", "subset", "folder", "dir", "seg", "full", "final"),
    *("image", "images", "img", "imgs", "photo", "photos", "picture", "pictures", "pic", "pics", "jpg", "jpeg", "png"),
)
"""Words without meaning that may stand beside a split's word, or be joined to it."""
SPLIT_OF_WORD = {
    spelling: split
    for split, words in SPLIT_WORDS.items()
    for word in words
    for spelling in (word, *(word + filler for filler in FILLERS), *(filler + word for filler in FILLERS))
}
SYSTEM_FOLDERS = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found")
"""Folders that archivers and file servers add to the user's own."""
COMMON = 2
"""Two class folders that share this many names of subfolders may be splits that contain the classes."""
DEEPEST = 8
"""Most nested wrapper folders that are passed through."""
Subfolders = Mapping[str, set[str]]
"""For each class folder, its subfolders that hold pictures; "" stands for pictures in the class folder itself."""


def split_folders(root: Path, *, for_training: bool = True) -> dict[str, Path]:
    """Return the folder of each split in ``root``; without splits, the folder of all classes under the key "".

    Wrapper folders that merely contain the others are passed through: an archive's own folder, or train/images.
    Raises DataError for a mixture of splits and classes, or where data to train on have no such part.
    """
    top = unwrap(root)
    names = [item.name for item in folders_in(top)]
    named = splits_named(names)
    if not named and not _mentions_several_splits(names):
        return {"": top}
    if len(named) == 1 and _hold_no_folders(top, names):
        return {"": top}
    folders = {split: top / name for name, split in named.items()}
    if (for_training and "train" not in folders) or len(folders) < len(names):
        raise fault(
            top,
            "other folders beside splits",
            expected="train, with or without validation and test, and no other folder; or class folders alone",
            found=join_names(f"{name} (as {named[name]})" if name in named else name for name in names),
            remedy="move classes into train and other folders away, or rename a class that is called like a split",
        )
    return {split: unwrap(folder, split) for split, folder in folders.items()}


def split_named(name: str, ignored: Collection[str] = ()) -> str:
    """Return the split that a name stands for: train, validation or test; empty if none.

    Capitals, digits and punctuation are ignored: Train, seg_train, train2017 and TrainImages all stand for train.

    Args:
        name: Name of a folder, or the cell of a table.
        ignored: Words that may stand beside the split's.
    """
    words = [word for word in _words(name) if word in SPLIT_OF_WORD or word not in ignored]
    joined = SPLIT_OF_WORD.get("".join(words), "")
    splits = [SPLIT_OF_WORD[word] for word in words if word in SPLIT_OF_WORD]
    others = set(words) - set(SPLIT_OF_WORD) - set(FILLERS)
    return joined or (splits[0] if len(splits) == 1 and not others else "")


def splits_in(name: str) -> set[str]:
    """Return every split that a word in a name stands for: test for shop-test-001, train and test for train_test."""
    words = re.findall(r"[^\W\d_]+", name)
    return set().union(*({split_named(word)} - {""} or _splits_mentioned([word]) for word in words))


def splits_named(names: Sequence[str]) -> dict[str, str]:
    """Return the split that each name in a folder stands for, without names that stand for none.

    Words that all names share are ignored: letters_train and letters_test stand for train and test.
    """
    shared = set.intersection(*(set(_words(name)) for name in names)) if len(names) > 1 else set()
    named = {name: split_named(name, shared) for name in names}
    return {name: split for name, split in named.items() if split}


def check_subfolders(folder: Path, split: str, subfolders: Subfolders) -> None:
    """Raise DataError if the class folders may be splits, or hold splits.

    Args:
        folder: That holds the class folders.
        split: That the folder belongs to; empty if the source has no splits.
        subfolders: Subfolders of each class folder.
    """
    named = splits_named(sorted(subfolders)) if split else {}
    if len(set(named.values())) > 1:
        raise _ambiguous(folder, "splits within a split", named)
    for name, within in subfolders.items():
        inner = splits_named(sorted(within - {""}))
        if len(set(inner.values())) > 1:
            raise _ambiguous(folder / name, "splits within a class folder", inner)
    if not any("" in within for within in subfolders.values()):
        _check_common_names(folder, subfolders)


def unwrap(folder: Path, split: str = "") -> Path:
    """Return the folder that holds the classes or splits: ``folder``, or one inside that it merely wraps.

    Args:
        folder: Folder of a source, or of one of its splits.
        split: Which; a folder in it that is named alike wraps the classes, as in seg_train/seg_train.
    """
    for _ in range(DEEPEST):
        within = folders_in(folder)
        if len(within) != 1 or _has_pictures(folder) or not _is_content(Path(within[0].path), split):
            break
        folder = Path(within[0].path)
    return folder


def folders_in(folder: Path) -> list["os.DirEntry[str]"]:
    """Return the folders in a folder, sorted, without links to folders."""
    return [item for item in visible(folder) if item.is_dir(follow_symlinks=False)]


def visible(folder: Path) -> list["os.DirEntry[str]"]:
    """Return the entries of a folder, sorted, without hidden ones and SYSTEM_FOLDERS; DataError if unreadable."""
    try:
        with os.scandir(folder) as items:
            own = (item for item in items if not item.name.startswith(".") and item.name not in SYSTEM_FOLDERS)
            return sorted(own, key=lambda item: item.name)
    except (OSError, ValueError) as error:
        found = reason_of(error)
        raise fault(folder, "unreadable", expected="a folder", found=found, remedy="check its permissions") from None


def _mentions_several_splits(names: Sequence[str]) -> bool:
    """Return whether most of these names mention splits, and more than one, as trainA and testA do."""
    mentioning = [name for name in names if _splits_mentioned([name])]
    return len(_splits_mentioned(mentioning)) > 1 and 2 * len(mentioning) >= len(names)


def _splits_mentioned(names: Sequence[str]) -> set[str]:
    """Return the splits that any word in these names stands for."""
    return {SPLIT_OF_WORD[word] for name in names for word in _words(name) if word in SPLIT_OF_WORD}


def _hold_no_folders(top: Path, names: Sequence[str]) -> bool:
    """Return whether these are three folders or more without subfolders: then one named like a split is a class."""
    return len(names) > COMMON and not any(folders_in(top / name) for name in names)


def _has_pictures(folder: Path) -> bool:
    """Return whether a folder itself holds pictures, judging by their names."""
    return any(item.name.lower().endswith(SUFFIXES) for item in visible(folder))


def _is_content(only: Path, split: str) -> bool:
    """Return whether the only folder inside another holds classes or splits, and is no class itself."""
    named_like_split = bool(split) and (only.name == only.parent.name or split_named(only.name) == split)
    return bool(folders_in(only)) if named_like_split or _is_filler(only.name) else _holds_splits(only)


def _is_filler(name: str) -> bool:
    """Return whether a name consists of FILLERS, as images or dataset does."""
    words = _words(name)
    return bool(words) and set(words) <= set(FILLERS)


def _holds_splits(folder: Path) -> bool:
    """Return whether a folder holds one named train, directly or within a chain of only folders."""
    for _ in range(DEEPEST):
        names = [item.name for item in folders_in(folder)]
        if len(names) != 1 or splits_named(names):
            return "train" in splits_named(names).values()
        folder = folder / names[0]
    return False


def _check_common_names(folder: Path, subfolders: Subfolders) -> None:
    """Raise DataError if two class folders share several names of subfolders, as splits do."""
    folded = {name: {inner.casefold() for inner in within} for name, within in subfolders.items()}
    count = Counter(inner for within in folded.values() for inner in within)
    shared = {name: {inner for inner in within if count[inner] > 1} for name, within in folded.items()}
    several = {name: within for name, within in shared.items() if len(within) >= COMMON}
    for (one, first), (other, second) in combinations(several.items(), 2):
        if len(first & second) >= COMMON:
            raise fault(
                folder,
                "folders that may be classes or splits",
                expected="pictures in the class folders, or subfolders that differ from class to class",
                found=f"{join_names(sorted(first & second))} in {shown(one)} and in {shown(other)}",
                remedy="rename splits to train, validation and test; move class pictures up, or list them in a CSV",
            )


def _words(name: str) -> list[str]:
    """Return a name's words in lower case; capitals, digits and punctuation separate words."""
    spaced = re.sub(r"(?<=[^\W\d_])(?<![A-Z])(?=[A-Z])", " ", unicodedata.normalize("NFKC", name))
    return re.findall(r"[^\W\d_]+", spaced.casefold())


def _ambiguous(folder: Path, problem: str, names: Iterable[str]) -> Exception:
    return fault(
        folder,
        problem,
        expected="class folders in each of train, validation and test",
        found=join_names(names),
        remedy="put the splits outside and the classes inside, or list the pictures in a CSV file with a column split",
    )
