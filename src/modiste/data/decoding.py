"""From picture files to the network's images, every file read once; what cannot be read keeps its reason."""

import hashlib
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from modiste.cores import available_cores
from modiste.errors import PhotoError
from modiste.photo.opening import read
from modiste.photo.preparation import Preparation

LOG = logging.getLogger(__name__)
Passing = Callable[[Iterable[Any]], Iterable[Any]]
SHOWN_FROM = 200
"""Pictures from which on progress is shown at a terminal."""


@dataclass(frozen=True, eq=False)
class Decoded:
    """What became of picture files, in the order in which they were named.

    Attributes:
        names: of the files.
        images: of those without a fault, in their order.
        digests: SHA-256 of each file's content; empty where it could not be read at all.
        faults: why a file gave no image; empty if it did.
    """

    names: tuple[str, ...]
    images: UInt8[np.ndarray, "n c side side"]
    digests: tuple[str, ...]
    faults: tuple[str, ...]

    def chosen(self, names: Sequence[str]) -> "Decoded":
        """Return the same of these names alone, in their order."""
        places = {name: place for place, name in enumerate(self.names)}
        order = [places[name] for name in names]
        rows = np.cumsum([not fault for fault in self.faults]) - 1
        images = self.images[[rows[place] for place in order if not self.faults[place]]]
        return Decoded(
            tuple(names), images, tuple(self.digests[place] for place in order), tuple(self.faults[p] for p in order)
        )


def decode(place: Path, names: Sequence[str], preparation: Preparation) -> Decoded:
    """Read and prepare the files of these names below ``place``, on all cores."""
    with ThreadPoolExecutor(len(available_cores())) as pool, _shown(len(names)) as advance:
        results = pool.map(lambda name: decode_one(place / name, preparation), names)
        done = list(advance(results))
    side, channels = preparation.side, preparation.channels
    images = np.empty((sum(not fault for *_, fault in done), channels, side, side), np.uint8)
    for row, image in enumerate(image for _, image, fault in done if not fault):
        images[row] = image
    return Decoded(tuple(names), images, tuple(one[0] for one in done), tuple(one[2] for one in done))


def decode_one(path: Path, preparation: Preparation) -> tuple[str, UInt8[np.ndarray, "c side side"] | None, str]:
    """Return the hash of a file's content, its image, and what was wrong with it."""
    digest = ""
    try:
        content = read(path)
        digest = hashlib.sha256(content).hexdigest()
        return digest, preparation(content).planes, ""
    except PhotoError as error:
        return digest, None, str(error)


@contextmanager
def _shown(total: int) -> Iterator[Passing]:
    """Yield what passes results on, with a bar at a terminal when there are many and warnings are shown too."""
    if total < SHOWN_FROM or not (sys.stderr and sys.stderr.isatty()) or not LOG.isEnabledFor(logging.WARNING):
        yield iter
        return
    from rich.console import Console
    from rich.progress import track

    def advance(results: Iterable[Any]) -> Iterable[Any]:
        return track(results, "reading pictures", total, console=Console(stderr=True), transient=True)

    yield advance
