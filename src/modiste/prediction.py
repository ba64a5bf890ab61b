"""Answers for people's picture files: which class, how sure, what else it might be, or why there is no answer."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from modiste.cores import available_cores
from modiste.errors import PhotoError, RecipeError
from modiste.evaluation.novelty import Novelty
from modiste.photo import Prepared, prepare
from modiste.predictor import Predictor

BATCH = 64
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif")


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


def answers(
    predictor: Predictor, pictures: Iterable[tuple[str, bytes | Path]], novelty: Novelty | None = None
) -> Iterator[Answer]:
    """Yield an answer for each picture, in order; what cannot be read is an answer with its fault.

    Args:
        predictor: of square grey images.
        pictures: the name of each, and its bytes or its file.
        novelty: what tells pictures of none of the classes.

    Raises RecipeError when the network takes other images.
    """
    channels, height, width = predictor.info.task.image_shape
    if channels != 1 or height != width:
        raise RecipeError(
            f"photos become square grey images; this network takes {channels} x {height} x {width}; "
            "choose a run with images of one channel and equal sides"
        )
    with ThreadPoolExecutor(len(available_cores())) as pool:
        waiting = iter(pictures)
        while some := list(islice(waiting, BATCH)):
            read = list(pool.map(lambda picture: _prepared(picture[1], height), some))
            yield from _answered(predictor, novelty, [name for name, _ in some], read)


def find_pictures(places: Iterable[Path]) -> list[Path]:
    """Return the files named, and every picture by its suffix under the folders named, sorted by path.

    Raises PhotoError for a name that is neither, or a folder without pictures.
    """
    found: list[Path] = []
    for place in places:
        if place.is_dir():
            inside = sorted(path for path in place.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
            if not inside:
                raise PhotoError(f"{place}: no pictures in this folder; expected files ending in {', '.join(SUFFIXES)}")
            found += inside
        elif place.exists():
            found.append(place)
        else:
            raise PhotoError(f"{place}: no such file or folder")
    return found


def _prepared(content: bytes | Path, side: int) -> Prepared | str:
    try:
        return prepare(content, side=side)
    except PhotoError as error:
        return str(error)


def _answered(
    predictor: Predictor, novelty: Novelty | None, names: list[str], read: list[Prepared | str]
) -> Iterator[Answer]:
    images = [one.image for one in read if isinstance(one, Prepared)]
    batch = np.stack(images) if images else None
    rows = iter([] if batch is None else predictor.probabilities(batch).tolist())
    scores = iter([] if batch is None else _novelties(predictor, novelty, batch))
    for name, one in zip(names, read, strict=True):
        if isinstance(one, str):
            yield Answer(name, fault=one)
        else:
            classes = zip(predictor.class_names, next(rows), strict=True)
            yield Answer(name, tuple(sorted(classes, key=lambda item: -item[1])), next(scores), one)


def _novelties(predictor: Predictor, novelty: Novelty | None, batch: UInt8[np.ndarray, "n h w"]) -> list[float | None]:
    if novelty is None:
        return [None] * len(batch)
    return [float(score) for score in novelty.scores(predictor.model, torch.from_numpy(batch)[:, None])]
