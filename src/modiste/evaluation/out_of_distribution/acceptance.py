"""The choice of the false-alarm rate: the share of images of the classes that is wrongly answered as none of them.

A detector keeps a table of rates, each with the limit that the score exceeds at that rate. Another rate than the usual
one so needs no images. This module needs no torch, because exported files carry the table too.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from numbers import Real
from typing import Any

from modiste.errors import RecipeError
from modiste.recipes.plain import demand

USUAL_RATE = 0.04
"""The share of validation images that the usual threshold calls none of the classes."""
RATES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, USUAL_RATE, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
MOST_ROWS, LEAST_LIMIT, MOST_LIMIT = 1000, 1e-9, 1e9
"""Bounds of a table that is read: number of rows, limits."""


@dataclass(frozen=True)
class Acceptance:
    """The limits of the score by false-alarm rate. An image whose score is above the limit is none of the classes.

    Attributes:
        rates: Shares of the validation images that chose the limits, ascending.
        limits: Scores above 0, descending. At the usual rate the limit is 1.
        measured: Share of other validation images above each limit.
    """

    rates: tuple[float, ...]
    limits: tuple[float, ...]
    measured: tuple[float, ...]

    def at(self, rate: float) -> tuple[float, float]:
        """Return the limit for a rate, and the measured share above it; between two rates both are interpolated.

        Raises:
            RecipeError: The rate is outside the table, or no number.
        """
        demand(isinstance(rate, Real), "--accept", "a number", rate)
        if not self.rates[0] <= rate <= self.rates[-1]:
            raise RecipeError(f"--accept {rate:g}: expected a share from {self.rates[0]:g} to {self.rates[-1]:g}")
        above = bisect_left(self.rates, rate)
        if self.rates[above] == rate:
            return self.limits[above], self.measured[above]
        below = above - 1
        share = (rate - self.rates[below]) / (self.rates[above] - self.rates[below])
        limit, measured = (row[below] + share * (row[above] - row[below]) for row in (self.limits, self.measured))
        return limit, measured

    def relative_to(self, limit: float) -> "Acceptance":
        """Return the table of scores that are divided by ``limit``."""
        return replace(self, limits=tuple(one / limit for one in self.limits))

    def plain(self) -> list[list[float]]:
        """Return the table as plain data: a row of rate, limit and measured share for each rate."""
        return [list(row) for row in zip(self.rates, self.limits, self.measured, strict=True)]


def from_plain(rows: Any) -> Acceptance:
    """Return the table that ``Acceptance.plain`` wrote.

    Raises:
        ValueError: It is no such table.
    """
    if not (isinstance(rows, list) and 0 < len(rows) <= MOST_ROWS and all(map(_is_row, rows))):
        raise ValueError("acceptance: expected rows of rate, limit and measured share")
    found = Acceptance(*map(tuple, zip(*rows, strict=True)))
    if not (_ascend(found.rates) and found.rates[0] > 0 and found.rates[-1] < 1):
        raise ValueError("acceptance: expected ascending rates between 0 and 1")
    if not (_descend(found.limits) and found.limits[-1] >= LEAST_LIMIT and found.limits[0] <= MOST_LIMIT):
        raise ValueError(f"acceptance: expected descending limits from {LEAST_LIMIT:g} to {MOST_LIMIT:g}")
    if not all(0 <= share <= 1 for share in found.measured):
        raise ValueError("acceptance: expected shares from 0 to 1")
    return found


def _is_row(row: object) -> bool:
    return isinstance(row, list) and len(row) == 3 and all(type(one) is float for one in row)


def _ascend(values: Sequence[float]) -> bool:
    return all(low < high for low, high in pairwise(values))


def _descend(values: Sequence[float]) -> bool:
    return all(high >= low for high, low in pairwise(values))
