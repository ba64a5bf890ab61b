"""Answers for people's picture files: which class, how sure, what else it might be, or why there is no answer."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from modiste.classifier import Classifier, Scores
from modiste.cores import available_cores
from modiste.data.idx import read_idx
from modiste.data.picture_list import SUFFIXES
from modiste.errors import PhotoError
from modiste.photo import Prepared
from modiste.photo.preparation import Picture, Preparation

BATCH = 64
IDX_SUFFIXES = ("idx3-ubyte", ".idx")


@dataclass(frozen=True)
class Answer:
    """What a picture is taken for.

    Attributes:
        source: name of the file.
        probabilities: of each class, likeliest first, tempered by what validation showed.
        novelty: how unlike anything in training it is; above 1 it is none of the classes; None where nobody knows.
        prepared: the picture on its way to the network.
        fault: why there is no answer; empty if there is.
    """

    source: str
    probabilities: tuple[tuple[str, float], ...] = ()
    novelty: float | None = None
    prepared: Prepared | None = None
    fault: str = ""

    @property
    def is_novel(self) -> bool:
        """Whether the picture is taken for none of the classes."""
        return self.novelty is not None and self.novelty > 1

    @property
    def verdict(self) -> str:
        """The likeliest class of a picture that could be read; of a novel one, that it is merely the nearest."""
        name, _ = self.probabilities[0]
        return f"none of the {len(self.probabilities)} classes; nearest {name}" if self.is_novel else name


def answers(classifier: Classifier, pictures: Iterable[tuple[str, Picture]]) -> Iterator[Answer]:
    """Yield an answer for each picture, in order; what cannot be read is an answer with its fault.

    Args:
        classifier: of square images.
        pictures: the name of each, and what it is.

    Raises RecipeError when the network takes other images.
    """
    preparation = classifier.preparation
    with ThreadPoolExecutor(len(available_cores())) as pool:
        waiting = iter(pictures)
        while some := list(islice(waiting, BATCH)):
            read = list(pool.map(lambda picture: prepared(picture[1], preparation), some))
            images = batch_of(read)
            scores = None if images is None else classifier.classify(images)
            yield from answered(classifier.class_names, [name for name, _ in some], read, scores)


def find_pictures(place: Path) -> Iterator[tuple[str, Picture]]:
    """Yield a file, every picture by its suffix under a folder, sorted by path, or every image of an IDX file.

    Raises PhotoError for a name that is neither, or a folder without pictures; DataError for a damaged IDX file.
    """
    if place.is_dir():
        inside = sorted(path for path in place.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
        if not inside:
            raise PhotoError(f"{place}: no pictures in this folder; expected files ending in {', '.join(SUFFIXES)}")
        yield from ((str(path), path) for path in inside)
    elif not place.exists():
        raise PhotoError(f"{place}: no such file or folder")
    elif place.name.removesuffix(".gz").endswith(IDX_SUFFIXES):
        images = read_idx(place, dimensions=3, what="images").array
        yield from ((f"{place}[{number}]", image) for number, image in enumerate(images))
    else:
        yield str(place), place


def prepared(picture: Picture, preparation: Preparation) -> Prepared | str:
    """Return a picture as the network sees it, or why it cannot be read."""
    try:
        return preparation(picture)
    except PhotoError as error:
        return str(error)


def batch_of(read: Iterable[Prepared | str]) -> UInt8[np.ndarray, "n c side side"] | None:
    """Return the images of those that could be read; None where there are none."""
    images = [one.planes for one in read if isinstance(one, Prepared)]
    return np.stack(images) if images else None


def answered(
    class_names: tuple[str, ...], names: list[str], read: list[Prepared | str], scores: Scores | None
) -> Iterator[Answer]:
    """Yield the answer for each picture; ``scores`` are those of ``batch_of`` the pictures."""
    rows = iter(range(len(read)))
    for name, one in zip(names, read, strict=True):
        if isinstance(one, str):
            yield Answer(name, fault=one)
        else:
            assert scores is not None
            row = next(rows)
            values = zip(class_names, scores.probabilities[row].tolist(), strict=True)
            novelty = None if scores.novelty is None else float(scores.novelty[row])
            yield Answer(name, tuple(sorted(values, key=lambda item: -item[1])), novelty, one)
