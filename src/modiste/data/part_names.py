"""What people call the parts of a data set: train, validation and test in their usual spellings."""

import re
import unicodedata
from collections.abc import Collection, Sequence

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
