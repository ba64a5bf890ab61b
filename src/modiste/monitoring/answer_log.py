"""The log of a server's answers: probabilities and novelty as lines of JSON, a file a day; never pictures or names.

A thread of its own writes the log. Where it cannot keep up, or the disk refuses, answers are missing from the log, and
are counted; they are never late. Each line stands alone, so that several servers may share a folder, and a line that a
crash cut short costs only itself. ``read_log`` reads what a test of drift needs of each answer, and counts the lines
that cannot be used.
"""

import contextlib
import hashlib
import json
import math
import os
import queue
import re
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int64

from modiste.errors import DataError, ReadOnlyError, StorageError, printable, reason_of
from modiste.inference.onnx_model import OnnxModel
from modiste.system.posix import NONBLOCKING, NOT_FOLLOWED, PLAIN

DAY_FILE = re.compile(r"\d{4}-\d{2}-\d{2}\.jsonl")
MOST_DAY_BYTES, MOST_DAYS = 32 * 2**20, 30
"""Largest size of a day's file, about 180,000 answers of ten classes; and number of days that are kept."""
MOST_WAITING = 50_000
"""Answers that may wait for the disk; further ones are left out."""
CLOSING_SECONDS = 2.0
DIGITS = 6
"""Digits after the point of a probability."""
OPENED = os.O_RDWR | os.O_CREAT | os.O_APPEND | NOT_FOLLOWED | NONBLOCKING | PLAIN
Count = Callable[[str, int], object]
MOST_LINE = 2**20
"""Longest line that is read; a longer one is damaged."""
LARGEST = sys.float_info.max
"""Largest number of an answer; a whole number above it is no float."""
SUM_TOLERANCE = 0.01
"""Largest difference between 1 and the sum of probabilities, which are rounded."""


class _Some(NamedTuple):
    """Answers of one moment: seconds since 1970, probabilities, novelty."""

    time: float
    probabilities: Float[np.ndarray, "n classes"]
    novelty: Float[np.ndarray, " n"] | None

    @property
    def day(self) -> str:
        return time.strftime("%Y-%m-%d", time.gmtime(self.time))


def identity(model: OnnxModel) -> str:
    """Return 16 hexadecimal digits that tell a model's answers from those of others; exports of one run share them.

    Ensembles of the same recipes differ by the shares that their networks have.
    """
    known = [model.metadata.get(key, "") for key in ("recipe", "epoch", "fingerprint", "temperature")]
    if "weights" in model.metadata:
        known.append(model.metadata["weights"])
    return hashlib.sha256(json.dumps([known, model.class_names]).encode()).hexdigest()[:16]


class AnswerLog:
    """Writes answers into a folder, a file for each day (UTC).

    Args:
        folder: Made if missing.
        model: Whose answers they are.
        warn: Called with one line, once, when the log cannot be written.
        count: Called with ``written`` or ``dropped`` and a number of answers, from two threads.
        most_day_bytes: Size that a day's file may reach; further answers of that day are dropped.
        most_days: Number of files; older ones are deleted.

    Raises:
        StorageError: The folder cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        model: OnnxModel,
        *,
        warn: Callable[[str], object] = print,
        count: Count = lambda outcome, number: None,
        most_day_bytes: int = MOST_DAY_BYTES,
        most_days: int = MOST_DAYS,
    ) -> None:
        self.folder, self.warn, self.count = folder, warn, count
        self.most_day_bytes, self.most_days = most_day_bytes, most_days
        self._model = identity(model)
        self._lock, self._waiting, self._warned = threading.Lock(), 0, False
        self._queue: queue.SimpleQueue[_Some | None] = queue.SimpleQueue()
        self._check()
        self._thread = threading.Thread(target=self._write_all, name="answer log", daemon=True)
        self._thread.start()

    def add(self, probabilities: Float[np.ndarray, "n classes"], novelty: Float[np.ndarray, " n"] | None) -> None:
        """Log answers; return at once, whatever the disk does.

        Args:
            probabilities: Probabilities of each class, in the model's order.
            novelty: Scores; None if the model has no detector.
        """
        number = len(probabilities)
        with self._lock:
            fits = self._waiting + number <= MOST_WAITING
            self._waiting += number if fits else 0
        if fits:
            self._queue.put(_Some(time.time(), probabilities, novelty))
        else:
            self.count("dropped", number)

    def close(self) -> None:
        """Write what waits, for CLOSING_SECONDS at most."""
        self._queue.put(None)
        self._thread.join(CLOSING_SECONDS)

    def _check(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            os.close(self._open(_Some(time.time(), np.empty((0, 0)), None).day))
        except OSError as error:
            kind = ReadOnlyError if isinstance(error, PermissionError) else StorageError
            raise kind(
                f"{self.folder}: the log of answers cannot be written ({error.strerror or error}); "
                "check its permissions and the disk, or choose another folder"
            ) from error

    def _write_all(self) -> None:
        """Write what arrives, until ``close``; what arrives while the disk is busy is written together."""
        while True:
            waiting = [self._queue.get()]
            while not self._queue.empty():
                waiting.append(self._queue.get())
            some = [one for one in waiting if one is not None]
            for day, of_day in groupby(some, key=lambda one: one.day):
                self._write(day, list(of_day))
            if len(some) < len(waiting):
                return

    def _write(self, day: str, some: list[_Some]) -> None:
        """Append the lines of a day; a failure is reported once, and counted."""
        number, written = sum(len(one.probabilities) for one in some), 0
        try:
            written = self._append(day, [line for one in some for line in self._lines(one)])
        except Exception as error:  # whatever it is: the thread must live, or nothing would be logged or counted again
            self._warn_once(error)
        with self._lock:
            self._waiting -= number
        self.count("written", written)
        self.count("dropped", number - written)

    def _warn_once(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            with contextlib.suppress(Exception):  # nobody may read the warning any more
                self.warn(
                    f"{self.folder}: answers are given, but not logged ({printable(reason_of(error))}); "
                    "free space on that disk, or check its permissions"
                )

    def _append(self, day: str, lines: list[bytes]) -> int:
        """Append whole lines as far as the day's limit allows; return their number, OSError if the disk refuses.

        The file is opened each time, so that it may be moved away; a line that was cut short before is ended first.
        """
        file = self._open(day)
        try:
            size = os.fstat(file).st_size
            start = b"" if size == 0 or _last_byte(file) == b"\n" else b"\n"
            room, number = self.most_day_bytes - size - len(start), 0
            for line in lines:
                room -= len(line)
                if room < 0:
                    break
                number += 1
            content = memoryview(start + b"".join(lines[:number])) if number else memoryview(b"")
            while content:
                content = content[os.write(file, content) :]
            return number
        finally:
            os.close(file)

    def _open(self, day: str) -> int:
        """Return the descriptor of a day's file; if it is new, the oldest ones are deleted."""
        path = self.folder / f"{day}.jsonl"
        is_new = not path.exists()
        file = os.open(path, OPENED, 0o666)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise OSError(f"{path.name} is no file")
        if is_new:
            self._delete_oldest()
        return file

    def _delete_oldest(self) -> None:
        """Delete the files of the oldest days; one that cannot be deleted stays, for it stops no answer."""
        with contextlib.suppress(OSError):
            for old in day_files(self.folder)[: -self.most_days]:
                with contextlib.suppress(OSError):
                    old.unlink(missing_ok=True)

    def _lines(self, some: _Some) -> Iterable[bytes]:
        """Yield a line for each answer."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(some.time))
        rounded = some.probabilities.astype(np.float64).round(DIGITS).tolist()
        scores = [None] * len(rounded) if some.novelty is None else [float(f"{one:.6g}") for one in some.novelty]
        for probabilities, novelty in zip(rounded, scores, strict=True):
            record = {"time": moment, "model": self._model, "probabilities": probabilities, "novelty": novelty}
            yield json.dumps(record, separators=(",", ":")).encode() + b"\n"


def _last_byte(file: int) -> bytes:
    os.lseek(file, -1, os.SEEK_END)
    return os.read(file, 1)


def day_files(folder: Path) -> list[Path]:
    """Return the files of a log, the earliest day first; OSError if the folder cannot be read."""
    return sorted(path for path in folder.iterdir() if DAY_FILE.fullmatch(path.name) and path.is_file())


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
        highest = max(shares)
        if highest > 1 + SUM_TOLERANCE or abs(math.fsum(shares) - 1) > SUM_TOLERANCE:  # the sum of any could overflow
            return None
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
    """Yield the lines of a file that are not blank; a line longer than MOST_LINE comes in parts."""
    try:
        with path.open("rb") as file:
            yield from filter(bytes.strip, iter(partial(file.readline, MOST_LINE), b""))
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
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LARGEST
