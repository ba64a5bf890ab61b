"""Reading a log of answers: what a test of drift needs of each answer, without the lines that cannot be used."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int64

from modiste.errors import DataError, StorageError, reason_of
from modiste.inference.onnx_model import OnnxModel
from modiste.monitoring.answer_log import day_files, identity

MOST_LINE = 2**20
"""Longest line that is read; a longer one is damaged."""
SUM_TOLERANCE = 0.01
"""Largest difference between 1 and the sum of probabilities, which are rounded."""


@dataclass(frozen=True)
class LoggedAnswers:
    """The answers of one model in a log.

    Attributes:
        classes: Number of the most probable class of each answer, from 0.
        confidence: Largest probability of each answer.
        novelty: Score of each answer; None if the model has no detector.
        days: First and last day with an answer (UTC), as ``2026-11-28``.
        others: Number of answers of other models.
        damaged: Number of lines that are no answers.
    """

    classes: Int64[np.ndarray, " n"]
    confidence: Float[np.ndarray, " n"]
    novelty: Float[np.ndarray, " n"] | None
    days: tuple[str, str]
    others: int = 0
    damaged: int = 0


def read_log(folder: Path, model: OnnxModel, since: date | None = None, until: date | None = None) -> LoggedAnswers:
    """Read the answers of a model from a log.

    Args:
        folder: Folder of ``modiste serve --log``.
        model: Whose answers are read; those of other models are only counted.
        since: First day (UTC) to read; None for the earliest.
        until: Last day; None for the latest.

    Raises:
        DataError: There is no log, or it holds no answer of this model in these days.
        StorageError: A file cannot be read.
    """
    try:
        files = day_files(folder)
    except OSError as error:
        raise DataError(
            f"{folder}: no log here ({reason_of(error)}); expected a folder that modiste serve --log wrote"
        ) from error
    low, high = (since or date.min).isoformat(), (until or date.max).isoformat()
    wanted, found = identity(model), _Found(len(model.class_names), "novelty" in model.outputs)
    for path in files:
        if low <= path.stem <= high:
            for line in _lines(path):
                found.add(line, wanted, path.stem)
    if not found.rows:
        between = f" from {since or 'the first day'} to {until or 'the last'}" if since or until else ""
        raise DataError(
            f"{folder}: no answers of this model{between}; found {found.others:,} of other models and "
            f"{found.damaged:,} damaged lines; serve the model with --log, or name the one that was served"
        )
    return found.answers()


class _Found:
    """What has been read so far."""

    def __init__(self, classes: int, has_novelty: bool) -> None:
        self.classes, self.has_novelty = classes, has_novelty
        self.rows, self.days = list[tuple[int, float, float]](), list[str]()
        self.others = self.damaged = 0

    def add(self, line: bytes, model: str, day: str) -> None:
        """Keep the answer of a line, or count it as another model's or damaged."""
        record = _parsed(line)
        if record is None:
            self.damaged += 1
        elif record.get("model") != model:
            self.others += 1
        elif (row := self._row(record)) is None:
            self.damaged += 1
        else:
            self.rows.append(row)
            if day not in self.days[-1:]:
                self.days.append(day)

    def _row(self, record: dict[str, Any]) -> tuple[int, float, float] | None:
        """Return class, confidence and novelty of an answer (0 without a detector); None if it is damaged."""
        shares, novelty = record.get("probabilities"), record.get("novelty") if self.has_novelty else 0.0
        if not isinstance(shares, list) or len(shares) != self.classes or not all(map(_is_amount, (*shares, novelty))):
            return None
        if abs(math.fsum(shares) - 1) > SUM_TOLERANCE:
            return None
        highest = max(shares)
        return shares.index(highest), float(highest), float(novelty or 0)

    def answers(self) -> LoggedAnswers:
        classes, confidence, novelty = zip(*self.rows, strict=True)
        return LoggedAnswers(
            np.array(classes, np.int64),
            np.array(confidence, np.float64),
            np.array(novelty, np.float64) if self.has_novelty else None,
            (self.days[0], self.days[-1]),
            self.others,
            self.damaged,
        )


def _lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file without their ends; what is longer than MOST_LINE comes in parts."""
    try:
        with path.open("rb") as file:
            while line := file.readline(MOST_LINE):
                if line.strip():
                    yield line
    except OSError as error:
        raise StorageError(f"{path}: cannot be read ({reason_of(error)}); check its permissions") from error


def _parsed(line: bytes) -> dict[str, Any] | None:
    """Return the JSON object in a line; None if it holds none."""
    try:
        record = json.loads(line.decode())
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _is_amount(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf
