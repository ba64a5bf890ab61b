"""Classification of picture files: the answer for each file, or the reason why there is none."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from modiste.data.idx.reader import read_idx
from modiste.data.pictures.folder_layout import visible
from modiste.data.pictures.listing import SUFFIXES, UNREAD_SUFFIXES, reason_against, reason_against_name
from modiste.data.tables import pixel_csv
from modiste.errors import DataError, PhotoError, shown
from modiste.inference.classifier import Classifier, Scores
from modiste.photo.garment import Prepared
from modiste.photo.preparation import PictureInput, Preparation
from modiste.system.processes import available_cores

BATCH = 16
"""Pictures that the network answers at once. The answers of a batch appear together, and its members are fixed by their
place in the list, so that the last digit of an answer does not depend on the speed of the machine."""
AHEAD = 2 * BATCH
"""Pictures that are prepared, or waiting for it, while the network answers."""
NOT_FINITE = "the network gives no finite numbers for this picture; expected a file that modiste export wrote"
NONE = "none"
"""The answer for a picture that shows none of the classes, unless a class has this name."""
IDX_SUFFIXES = ("idx3-ubyte", ".idx")


@dataclass(frozen=True)
class FileAnswer:
    """The classification of a picture file.

    Attributes:
        source: Name of the file.
        probabilities: Class names with calibrated probabilities, most probable first.
        novelty: How unlike the training images it is; above 1 it is out of distribution. None if the classifier has no
            detector.
        prepared: The picture with the steps of its preparation.
        fault: Why there is no answer; empty if there is one.
        possible: The prediction set: classes that hold the label with a stated coverage, most probable first. Empty if
            none was stated, or for a novel picture.
    """

    source: str
    probabilities: tuple[tuple[str, float], ...] = ()
    novelty: float | None = None
    prepared: Prepared | None = None
    fault: str = ""
    possible: tuple[str, ...] = ()

    def with_set(self, least: float) -> "FileAnswer":
        """Return the answer with its prediction set: the nearest class, and all of at least this probability.

        Args:
            least: See ``evaluation.conformal.least_probability``.

        Example:
            >>> answer = FileAnswer("a.jpg", (("Shirt", 0.6), ("Coat", 0.3), ("Bag", 0.1)))
            >>> answer.with_set(0.2).possible
            ('Shirt', 'Coat')
        """
        if self.is_novel:
            return self
        names = [name for place, (name, share) in enumerate(self.probabilities) if place == 0 or share >= least]
        return replace(self, possible=tuple(names))

    @property
    def is_novel(self) -> bool:
        """Whether the picture is out of distribution: none of the classes."""
        return self.novelty is not None and self.novelty > 1

    @property
    def nearest(self) -> str:
        """The most probable class, even of a novel picture; empty if the picture was refused."""
        return self.probabilities[0][0] if self.probabilities else ""

    @property
    def answer(self) -> str:
        """The most probable class; empty if the picture was refused.

        Of a novel picture it is NONE, or ``none of the 3 classes`` if a class has that name.
        """
        if not self.is_novel:
            return self.nearest
        return self._none if NONE in dict(self.probabilities) else NONE

    @property
    def advice(self) -> str:
        """What a person should do about the picture; empty if the answer can be taken as it is."""
        if self.prepared is None:
            return "replace the file; its fault says what is wrong"
        doubt = self.prepared.doubt
        check = f"check the answer by eye: {doubt}" if doubt else "check the answer by eye"
        if not self.prepared.separated:
            return f"photograph the garment on a plain background, or {check}"
        if doubt:
            return check
        return "look at the picture: it resembles none of the classes" if self.is_novel else ""

    @property
    def verdict(self) -> str:
        """The most probable class of a picture that could be read; the nearest class, named as such, of a novel one."""
        name, _ = self.probabilities[0]
        return f"{self._none}; nearest {name}" if self.is_novel else name

    @property
    def _none(self) -> str:
        return f"none of the {len(self.probabilities)} classes"


def answers(
    classifier: Classifier,
    pictures: Iterable[tuple[str, PictureInput | PhotoError]],
    *,
    background: str | None = None,
    keep_steps: bool = True,
    threads: int | None = None,
) -> Iterator[FileAnswer]:
    """Classify pictures: yield one answer for each, in order. A picture that cannot be read has an answer with a fault.

    Args:
        classifier: One that takes square images.
        pictures: The name of each picture, with the picture or the reason why it cannot be read.
        background: How garments are found, a key of ``photo.separation.BACKGROUNDS``; None as for its training.
        keep_steps: Whether the answers keep the steps of the preparation, some megabytes for each picture.
        threads: Number of threads that prepare pictures; None for one on each core.

    Raises:
        RecipeError: The classifier does not take square images of 1 or 3 channels, or no garments but whole pictures.
        MissingExtraError, DataError: The segmentation network is not installed, or its file is another one.
    """
    preparation = classifier.preparation_with(background)
    prepare = partial(prepared, preparation=preparation, keep_steps=keep_steps)
    pool = ThreadPoolExecutor(threads or len(available_cores()))
    try:
        waiting = _prepared_ahead(pool, prepare, pictures)
        while some := list(islice(waiting, BATCH)):
            read = [one for _, one in some]
            images = batch_of(read)
            scores = None if images is None else classifier.classify(images)
            yield from answered(classifier.class_names, [name for name, _ in some], read, scores)
    finally:
        pool.shutdown(cancel_futures=True)


def _prepared_ahead(
    pool: ThreadPoolExecutor,
    prepare: Callable[[PictureInput | PhotoError], Prepared | str],
    pictures: Iterable[tuple[str, PictureInput | PhotoError]],
) -> Iterator[tuple[str, Prepared | str]]:
    """Yield names and prepared pictures in order, while the pool prepares up to AHEAD of the next ones."""
    begun: deque[tuple[str, Future[Prepared | str]]] = deque()
    for name, picture in pictures:
        begun.append((name, pool.submit(prepare, picture)))
        if len(begun) > AHEAD:
            yield _ended(*begun.popleft())
    while begun:
        yield _ended(*begun.popleft())


def _ended(name: str, work: Future[Prepared | str]) -> tuple[str, Prepared | str]:
    return name, work.result()


def check_paths(paths: Iterable[Path]) -> None:
    """Raise PhotoError for a path that does not exist or cannot be accessed."""
    for path in paths:
        try:
            path.stat()
        except (FileNotFoundError, NotADirectoryError):
            raise PhotoError(f"{shown(path)}: no such file or folder") from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise PhotoError(f"{shown(path)}: cannot be read ({reason})") from None


def find_pictures(path: Path, *, transpose: bool = False) -> Iterator[tuple[str, PictureInput | PhotoError]]:
    """Yield names and pictures: a single file, the pictures in a folder sorted by path, or the images of a table.

    A table is an IDX file or a CSV file of pixels, with or without labels.

    Pictures in a folder are recognised by their suffix. Pictures of unsupported formats, links out of the folder and
    folders that cannot be opened are yielded with the reason. Hidden files and other files are skipped.

    Args:
        path: Path of the file or folder.
        transpose: Whether rows and columns of a table's images are exchanged, as for training.

    Raises:
        PhotoError: There is no such file or folder, or a folder has no pictures.
        DataError: A table is damaged.
    """
    check_paths([path])
    if path.is_dir():
        found = _in_folder(path)
        first = next(found, None)
        if first is None:
            expected = f"expected files ending in {', '.join(SUFFIXES)}"
            raise PhotoError(f"{shown(path)}: no pictures in this folder; {expected}")
        yield first
        yield from found
    elif (images := _in_table(path)) is not None:
        images = images.swapaxes(1, 2) if transpose else images
        yield from ((f"{path}[{number}]", image) for number, image in enumerate(images))
    else:
        yield str(path), path


def _in_table(path: Path) -> UInt8[np.ndarray, "n h w"] | None:
    """Return the images of an IDX file or a CSV file of pixels; None for another file."""
    if path.name.removesuffix(".gz").endswith(IDX_SUFFIXES):
        return read_idx(path, dimensions=3, what="images").array
    return pixel_csv.read_images(path) if pixel_csv.detect(path) else None


def _in_folder(root: Path) -> Iterator[tuple[str, Path | PhotoError]]:
    """Yield the pictures under a folder, sorted by path, each with its name or the reason against it."""
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
    """Return a picture as the network sees it, or the reason why it cannot be read."""
    if isinstance(picture, PhotoError):
        return str(picture)
    try:
        done = preparation(picture)
    except PhotoError as error:
        return str(error)
    return done if keep_steps else replace(done, steps={})


def batch_of(read: Iterable[Prepared | str]) -> UInt8[np.ndarray, "n c side side"] | None:
    """Return the images of the pictures that could be read, as one array; None if there are none."""
    images = [one.planes for one in read if isinstance(one, Prepared)]
    return np.stack(images) if images else None


def answered(
    class_names: tuple[str, ...], names: list[str], read: list[Prepared | str], scores: Scores | None
) -> Iterator[FileAnswer]:
    """Yield the answer for each picture.

    Args:
        class_names: Class names of the classifier.
        names: Names of the pictures.
        read: The prepared pictures, or the reasons why they cannot be read.
        scores: Scores of ``batch_of(read)``; None if no picture could be read.
    """
    rows = iter(range(len(read)))
    for name, one in zip(names, read, strict=True):
        if isinstance(one, str):
            yield FileAnswer(name, fault=one)
        else:
            assert scores is not None
            row = next(rows)
            values = zip(class_names, scores.probabilities[row].tolist(), strict=True)
            novelty = None if scores.novelty is None else float(scores.novelty[row])
            if not np.isfinite(scores.probabilities[row]).all() or not np.isfinite(novelty or 0.0):
                yield FileAnswer(name, fault=NOT_FINITE)
            else:
                yield FileAnswer(name, tuple(sorted(values, key=lambda item: -item[1])), novelty, one)
