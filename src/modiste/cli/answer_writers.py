"""Print predictions as they are made: as lines for people, as CSV, or as JSON."""

import csv
import sys
import textwrap
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from modiste.cli.arguments import as_json
from modiste.cli.streams import say, warn
from modiste.errors import printable, shown

if TYPE_CHECKING:
    from modiste.inference.answers import FileAnswer
    from modiste.photo.garment import Prepared

COLUMNS = (
    *("file", "class", "probability", "runner_up", "runner_up_probability", "novelty", "fault"),
    *("answer", "separated", "refused", "advice", "possible"),
)
"""Of the CSV table. ``class`` is the nearest class, whatever the answer is; ``answer`` may be none."""
BETWEEN = " | "
"""Between the classes of a prediction set, in the column ``possible``."""
FORMULA = "=+-@"
"""A spreadsheet computes a cell that begins with one of these characters."""


class AnswerWriter(ABC):
    """Prints each answer on standard output at once, and each fault on standard error."""

    def write(self, answer: "FileAnswer") -> None:
        """Print an answer, or the reason why there is none."""
        if answer.fault:
            warn(f"{shown(answer.source)}: {answer.fault}")
        self._write(answer)

    @contextmanager
    def opened(self) -> Iterator["AnswerWriter"]:
        """Print what precedes the first answer and, even after an error, what follows the last."""
        yield self

    @abstractmethod
    def _write(self, answer: "FileAnswer") -> None: ...


class LineWriter(AnswerWriter):
    """Prints a line for each picture."""

    def _write(self, answer: "FileAnswer") -> None:
        if answer.prepared is None:
            return
        doubt = _doubt(answer.prepared)
        (_, probability), *others = answer.probabilities
        then = f", then {shown(others[0][0])} {others[0][1]:.1%}" if others else ""
        among = f"; among {', '.join(map(shown, answer.possible))}" if answer.possible else ""
        say(f"{shown(answer.source)}: {shown(answer.verdict)} {probability:.1%}{then}{among}{doubt}")


class TableWriter(AnswerWriter):
    """Prints comma-separated values that are safe to open: no cell is a formula or moves a terminal's cursor."""

    @contextmanager
    def opened(self) -> Iterator[AnswerWriter]:
        """Print the header first."""
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(newline="")  # rows end as RFC 4180 has it; Windows would add another carriage return
        self._write_row(COLUMNS)
        yield self

    def _write(self, answer: "FileAnswer") -> None:
        best = [cell for name, value in answer.probabilities[:2] for cell in (name, f"{value:.6f}")]
        novelty = "" if answer.novelty is None else f"{answer.novelty:.4f}"
        separated = "" if answer.prepared is None else _word(answer.prepared.separated)
        possible = BETWEEN.join(answer.possible)
        conclusion = (answer.answer, separated, _word(bool(answer.fault)), answer.advice, possible)
        self._write_row((answer.source, *(best + [""] * 4)[:4], novelty, answer.fault, *conclusion))

    def _write_row(self, cells: tuple[str, ...]) -> None:
        csv.writer(sys.stdout).writerow(map(safe_cell, cells))
        sys.stdout.flush()


class JsonWriter(AnswerWriter):
    """Prints one ASCII JSON array with an object for each picture."""

    def __init__(self) -> None:
        self._separator = "["

    @contextmanager
    def opened(self) -> Iterator[AnswerWriter]:
        """Close the array at the end."""
        try:
            yield self
        finally:
            print("[]" if self._separator == "[" else "\n]", flush=True)

    def _write(self, answer: "FileAnswer") -> None:
        item = textwrap.indent(as_json(as_plain(answer)), "  ")
        print(f"{self._separator}\n{item}", end="", flush=True)
        self._separator = ","


def safe_cell(text: str) -> str:
    """Return the text with an apostrophe in front if a spreadsheet would compute it and it is not a number."""
    safe = printable(text)
    first = unicodedata.normalize("NFKC", safe.lstrip()[:1])
    return f"'{safe}" if first and first in FORMULA and not _is_number(safe) else safe


def as_plain(answer: "FileAnswer") -> dict[str, object]:
    """Return an answer as plain data for JSON."""
    if answer.prepared is None:
        return {"file": answer.source, "refused": True, "fault": answer.fault, "advice": answer.advice}
    return {
        "file": answer.source,
        "answer": answer.answer,
        "class": answer.nearest,
        "probability": answer.probabilities[0][1],
        "probabilities": dict(answer.probabilities),
        "novelty": answer.novelty,
        "none_of_the_classes": answer.is_novel,
        "separated": answer.prepared.separated,
        "background": answer.prepared.background or None,
        "network": answer.prepared.network or None,
        "doubt": answer.prepared.doubt,
        "inverted": answer.prepared.inverted,
        "refused": False,
        "advice": answer.advice,
        **({"possible": list(answer.possible)} if answer.possible else {}),
    }


def _doubt(prepared: "Prepared") -> str:
    """Return what follows an answer if the garment could not be separated, or may be another."""
    reason = prepared.doubt
    if prepared.separated:
        return f"; {reason}" if reason else ""
    return "; the garment could not be separated from its background" + (f": {reason}" if reason else "")


def _word(value: bool) -> str:
    return "true" if value else "false"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
