"""What was measured of each named recipe: parameters, accuracy and time, from the records of the repository.

``measured.json`` beside this file is written by ``benchmarks/readme_results.py``, so that an installed Modiste knows it
too.
"""

import functools
import json
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_name("measured.json")


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The figures of a recipe; those of training are None where the records have none.

    Attributes:
        parameters: Trainable numbers of the network for ten classes, before any are frozen.
        accuracy: Mean accuracy on Fashion-MNIST's test set, from 0 to 1.
        seeds: Number of runs in the mean.
        time: How long training took, such as ``3.4 s``.
        machine: What it took that time on, such as ``2 cores``.
        record: Name of the record.
    """

    parameters: int
    accuracy: float | None = None
    seeds: int | None = None
    time: str | None = None
    machine: str | None = None
    record: str | None = None


@functools.cache
def figures() -> dict[str, Figures]:
    """Return the figures of every named recipe, by its name.

    Example:
        >>> figures()["paper"].parameters
        896906
    """
    return {name: Figures(**plain) for name, plain in json.loads(FILE.read_text(encoding="utf-8")).items()}
