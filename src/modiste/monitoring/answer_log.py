"""The log of a server's answers: probabilities and novelty as lines of JSON, a file a day; never pictures or names.

A thread of its own writes the log. Where it cannot keep up, or the disk refuses, answers are missing from the log, and
are counted; they are never late. Each line stands alone, so that several servers may share a folder, and a line that a
crash cut short costs only itself.
"""

import contextlib
import hashlib
import json
import os
import queue
import re
import stat
import threading
import time
from collections.abc import Callable, Iterable
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from modiste.errors import ReadOnlyError, StorageError, printable, reason_of
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

    Ensembles of the same recipes are told apart by the shares that their networks have.
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
            for old in day_files(self.folder)[: -self.most_days]:
                old.unlink(missing_ok=True)
        return file

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
