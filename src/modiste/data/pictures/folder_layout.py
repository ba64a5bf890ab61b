"""How a folder of pictures is laid out: its class folders, and train, validation and test in their usual spellings."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path

from modiste.data.pictures.listing import SUFFIXES, listed
from modiste.errors import fault, reason_of, shown

WORDS = {
    "train": ("train", "training", "trn", "trainval"),
    "validation": ("validation", "valid", "val", "validate", "dev", "devel", "development", "eval", "evaluation"),
    "test": ("test", "testing", "tst", "holdout", "heldout"),
}
"""Words that name each part."""
FILLERS = (
    *("data", "dataset", "set", "split", "part", "subset", "folder", "dir", "seg", "full", "final"),
    *("image", "images", "img", "imgs", "photo", "photos", "picture", "pictures", "pic", "pics", "jpg", "jpeg", "png"),
)
"""Words that may stand beside such a word, or be written together with it."""
PART_OF_WORD = {
    spelling: part
    for part, words in WORDS.items()
    for word in words
    for spelling in (word, *(word + filler for filler in FILLERS), *(filler + word for filler in FILLERS))
}


def part_called(name: str, ignored: Collection[str] = ()) -> str:
    """Return the part of the data that a name stands for: train, validation or test; empty when it names none.

    Capitals, digits and punctuation do not count: Train, seg_train, train2017 and TrainImages are all train.

    Args:
        name: of a folder, or the cell of a table.
        ignored: words that may stand beside the part's.
    """
    words = [word for word in words_of(name) if word in PART_OF_WORD or word not in ignored]
    together = PART_OF_WORD.get("".join(words), "")
    parts = [PART_OF_WORD[word] for word in words if word in PART_OF_WORD]
    others = set(words) - set(PART_OF_WORD) - set(FILLERS)
    return together or (parts[0] if len(parts) == 1 and not others else "")


def parts_called(names: Sequence[str]) -> dict[str, str]:
    """Return the part that each of these neighbours stands for; a name that stands for none is left out.

    Words that all of them share do not count: letters_train beside letters_test are train and test.
    """
    shared = set.intersection(*(set(words_of(name)) for name in names)) if len(names) > 1 else set()
    called = {name: part_called(name, shared) for name in names}
    return {name: part for name, part in called.items() if part}


def parts_mentioned(names: Sequence[str]) -> set[str]:
    """Return the parts of the data that any word in these names stands for."""
    return {PART_OF_WORD[word] for name in names for word in words_of(name) if word in PART_OF_WORD}


def is_filler(name: str) -> bool:
    """Tell whether a name says no more than that pictures lie there, as images or dataset."""
    words = words_of(name)
    return bool(words) and set(words) <= set(FILLERS)


def words_of(name: str) -> list[str]:
    """Return a name's words in lower case: what capitals, digits and punctuation part."""
    parted = re.sub(r"(?<=[^\W\d_])(?<![A-Z])(?=[A-Z])", " ", unicodedata.normalize("NFKC", name))
    return re.findall(r"[^\W\d_]+", parted.casefold())


NOT_THEIRS = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found")
"""Folders that an archiver or a file server leaves among a person's own."""
COMMON = 2
"""Two class folders that hold this many folders of the same names may be parts, with the classes in them."""
DEEPEST = 8
"""Folders that wrap one another which are passed through at most."""
Layers = Mapping[str, set[str]]
"""Of each class folder the folders in it that hold pictures; "" stands for pictures of its own."""


def parts_of(root: Path) -> dict[str, Path]:
    """Return the folder of each part that lies in ``root``, or the one folder of all classes under the name "".

    Folders that merely wrap the others are passed through: an archive's own folder, or train/images.
    Raises DataError for a mixture of parts and classes.
    """
    top = unwrapped(root)
    names = [item.name for item in folders_in(top)]
    called = parts_called(names)
    if not called and not mentions_several_parts(names):
        return {"": top}
    if len(called) == 1 and are_alike(top, names):
        return {"": top}
    parts = {part: top / name for name, part in called.items()}
    if "train" not in parts or len(parts) < len(names):
        raise fault(
            top,
            "parts of the data beside something else",
            expected="train, with or without validation and test, and no other folder; or class folders alone",
            found=listed(f"{name} (as {called[name]})" if name in called else name for name in names),
            remedy="move classes into train and other folders away, or rename a class that is called like a part",
        )
    return {part: unwrapped(folder, part) for part, folder in parts.items()}


def mentions_several_parts(names: Sequence[str]) -> bool:
    """Tell whether most of these names speak of parts, and of more than one, as trainA beside testA does."""
    speaking = [name for name in names if parts_mentioned([name])]
    return len(parts_mentioned(speaking)) > 1 and 2 * len(speaking) >= len(names)


def are_alike(top: Path, names: Sequence[str]) -> bool:
    """Tell whether three folders or more hold no folders: then one that is called like a part is a class."""
    return len(names) > COMMON and not any(folders_in(top / name) for name in names)


def unwrapped(folder: Path, part: str = "") -> Path:
    """Return ``folder``, or the folder below it that holds its classes or parts, where others merely wrap that one.

    Args:
        folder: of a source, or of a part of it.
        part: which; a folder called alike in it wraps the classes, as seg_train/seg_train does.
    """
    for _ in range(DEEPEST):
        within = folders_in(folder)
        if len(within) != 1 or has_pictures(folder) or not wraps(Path(within[0].path), part):
            break
        folder = Path(within[0].path)
    return folder


def has_pictures(folder: Path) -> bool:
    """Tell whether pictures lie right in a folder, by their names."""
    return any(item.name.lower().endswith(SUFFIXES) for item in visible(folder))


def wraps(only: Path, part: str) -> bool:
    """Tell whether the only folder in another holds classes or parts, and is no class itself."""
    called_like_the_part = bool(part) and (only.name == only.parent.name or part_called(only.name) == part)
    named_so = called_like_the_part or is_filler(only.name)
    return bool(folders_in(only)) if named_so else holds_parts(only)


def holds_parts(folder: Path) -> bool:
    """Tell whether a folder called train lies in this one, or in the only one that this one holds."""
    for _ in range(DEEPEST):
        names = [item.name for item in folders_in(folder)]
        if len(names) != 1 or parts_called(names):
            return "train" in parts_called(names).values()
        folder = folder / names[0]
    return False


def check_layers(folder: Path, part: str, layers: Layers) -> None:
    """Raise DataError where folders that are taken for classes may be parts, or hold parts.

    Args:
        folder: that holds the class folders.
        part: of the data that it is; empty when nobody has divided them.
        layers: what lies in each class folder.
    """
    named = parts_called(sorted(layers)) if part else {}
    if len(set(named.values())) > 1:
        raise _ambiguous(folder, "parts of the data within a part", named)
    for name, within in layers.items():
        inner = parts_called(sorted(within - {""}))
        if len(set(inner.values())) > 1:
            raise _ambiguous(folder / name, "parts of the data in a class's folder", inner)
    if not any("" in within for within in layers.values()):
        check_common(folder, layers)


def check_common(folder: Path, layers: Layers) -> None:
    """Raise DataError where two class folders hold several folders of the same names, as parts do."""
    folded = {name: {inner.casefold() for inner in within} for name, within in layers.items()}
    count = Counter(inner for within in folded.values() for inner in within)
    shared = {name: {inner for inner in within if count[inner] > 1} for name, within in folded.items()}
    several = {name: within for name, within in shared.items() if len(within) >= COMMON}
    for (one, first), (other, second) in combinations(several.items(), 2):
        if len(first & second) >= COMMON:
            raise fault(
                folder,
                "classes that cannot be told from parts of the data",
                expected="pictures in the class folders, or folders that differ from class to class",
                found=f"{listed(sorted(first & second))} in {shown(one)} and in {shown(other)}",
                remedy="rename parts to train, validation and test; move pictures of classes up, or list them in a CSV",
            )


def folders_in(folder: Path) -> list["os.DirEntry[str]"]:
    """Return the folders in a folder, sorted; links to folders are none."""
    return [item for item in visible(folder) if item.is_dir(follow_symlinks=False)]


def visible(folder: Path) -> list["os.DirEntry[str]"]:
    """Return what a person has put into a folder, sorted; DataError when it cannot be read.

    Left out is what has a dot in front, and NOT_THEIRS.
    """
    try:
        with os.scandir(folder) as items:
            own = (item for item in items if not item.name.startswith(".") and item.name not in NOT_THEIRS)
            return sorted(own, key=lambda item: item.name)
    except (OSError, ValueError) as error:
        found = reason_of(error)
        raise fault(folder, "unreadable", expected="a folder", found=found, remedy="check its permissions") from None


def _ambiguous(folder: Path, problem: str, names: Iterable[str]) -> Exception:
    return fault(
        folder,
        problem,
        expected="class folders in each of train, validation and test",
        found=listed(names),
        remedy="put the parts outside and the classes inside, or list the pictures in a CSV file with a column split",
    )
