"""Answers for people's picture files: which class, how sure, what else it might be, or why there is no answer."""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from modiste.data.idx.reader import read_idx
from modiste.data.pictures.folder_layout import visible
from modiste.data.pictures.listing import SUFFIXES, UNREAD_SUFFIXES, reason_against, reason_against_name
from modiste.errors import DataError, PhotoError, shown
from modiste.inference.classifier import Classifier, Scores
from modiste.photo.garment import Prepared
from modiste.photo.preparation import PictureInput, Preparation
from modiste.processes import available_cores

BATCH = 64
IDX_SUFFIXES = ("idx3-ubyte", ".idx")


@dataclass(frozen=True)
class FileAnswer:
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


def answers(
    classifier: Classifier, pictures: Iterable[tuple[str, PictureInput | PhotoError]], *, keep_steps: bool = True
) -> Iterator[FileAnswer]:
    """Yield an answer for each picture, in order; what cannot be read is an answer with its fault.

    Args:
        classifier: of square images.
        pictures: the name of each, and what it is, or why it cannot be read.
        keep_steps: whether the answers keep the steps of the preparation, some megabytes for each picture.

    Raises RecipeError when the network takes other images.
    """
    preparation = classifier.preparation
    with ThreadPoolExecutor(len(available_cores())) as pool:
        waiting = iter(pictures)
        while some := list(islice(waiting, BATCH)):
            read = list(pool.map(lambda one: prepared(one[1], preparation, keep_steps=keep_steps), some))
            images = batch_of(read)
            scores = None if images is None else classifier.classify(images)
            yield from answered(classifier.class_names, [name for name, _ in some], read, scores)


def check_places(places: Iterable[Path]) -> None:
    """Raise PhotoError for a place that is not there or cannot be looked at."""
    for place in places:
        try:
            place.stat()
        except (FileNotFoundError, NotADirectoryError):
            raise PhotoError(f"{shown(place)}: no such file or folder") from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise PhotoError(f"{shown(place)}: cannot be read ({reason})") from None


def find_pictures(place: Path) -> Iterator[tuple[str, PictureInput | PhotoError]]:
    """Yield a file, every picture by its suffix under a folder, sorted by path, or every image of an IDX file.

    Pictures of formats that are not read, links that lead out of the folder and folders that cannot be opened are
    yielded with the reason. What is hidden is left out, as are files that are no pictures.

    Raises PhotoError for a name that is neither, or a folder without pictures; DataError for a damaged IDX file.
    """
    check_places([place])
    if place.is_dir():
        found = _in_folder(place)
        first = next(found, None)
        if first is None:
            expected = f"expected files ending in {', '.join(SUFFIXES)}"
            raise PhotoError(f"{shown(place)}: no pictures in this folder; {expected}")
        yield first
        yield from found
    elif place.name.removesuffix(".gz").endswith(IDX_SUFFIXES):
        images = read_idx(place, dimensions=3, what="images").array
        yield from ((f"{place}[{number}]", image) for number, image in enumerate(images))
    else:
        yield str(place), place


def _in_folder(root: Path) -> Iterator[tuple[str, Path | PhotoError]]:
    inside, waiting = os.path.realpath(root), visible(root)[::-1]
    while waiting:
        item = waiting.pop()
        suffix = Path(item.name).suffix.lower()
        if item.is_dir(follow_symlinks=False):
            try:
                waiting += visible(Path(item.path))[::-1]
            except DataError:
                yield item.path, PhotoError("a folder that cannot be opened; check its permissions")
        elif suffix in SUFFIXES + UNREAD_SUFFIXES:
            reason = reason_against(Path(item.path), inside) or reason_against_name(item.name)
            yield item.path, PhotoError(reason) if reason else Path(item.path)


def prepared(
    picture: PictureInput | PhotoError, preparation: Preparation, *, keep_steps: bool = True
) -> Prepared | str:
    """Return a picture as the network sees it, or why it cannot be read."""
    if isinstance(picture, PhotoError):
        return str(picture)
    try:
        done = preparation(picture)
    except PhotoError as error:
        return str(error)
    return done if keep_steps else replace(done, steps={})


def batch_of(read: Iterable[Prepared | str]) -> UInt8[np.ndarray, "n c side side"] | None:
    """Return the images of those that could be read; None where there are none."""
    images = [one.planes for one in read if isinstance(one, Prepared)]
    return np.stack(images) if images else None


def answered(
    class_names: tuple[str, ...], names: list[str], read: list[Prepared | str], scores: Scores | None
) -> Iterator[FileAnswer]:
    """Yield the answer for each picture; ``scores`` are those of ``batch_of`` the pictures."""
    rows = iter(range(len(read)))
    for name, one in zip(names, read, strict=True):
        if isinstance(one, str):
            yield FileAnswer(name, fault=one)
        else:
            assert scores is not None
            row = next(rows)
            values = zip(class_names, scores.probabilities[row].tolist(), strict=True)
            novelty = None if scores.novelty is None else float(scores.novelty[row])
            yield FileAnswer(name, tuple(sorted(values, key=lambda item: -item[1])), novelty, one)
