"""The choice of the coverage: the probability with which a prediction set shall hold the right class.

An exported file keeps a table of coverages, each with the least probability of a class that belongs to the set. Other
programs so make the same sets without the validation images. This module needs no torch.
"""

from bisect import bisect_left
from dataclasses import dataclass
from itertools import pairwise
from numbers import Real
from typing import Any

from modiste.errors import RecipeError
from modiste.recipes.plain import demand

COVERAGES = (*(number / 200 for number in range(100, 200)), 0.998, 0.999)
"""From 0.5 to 0.995 in steps of 0.005, and two more."""
MOST_ROWS = 1000
"""Largest number of rows of a table that is read."""


def check_coverage(coverage: float) -> None:
    """Raise RecipeError unless the coverage is a number between 0 and 1."""
    is_share = isinstance(coverage, Real) and 0 < coverage < 1
    demand(is_share, "coverage", "a number between 0 and 1, such as 0.95", coverage)


@dataclass(frozen=True)
class CoverageTable:
    """The least probability of a class that belongs to a prediction set, by coverage.

    Attributes:
        coverages: Ascending, between 0 and 1.
        least: Calibrated probabilities, descending, 0 to 1. At 0 every class belongs to the set.
    """

    coverages: tuple[float, ...]
    least: tuple[float, ...]

    def at(self, coverage: float) -> float:
        """Return the least probability for a coverage, or for the next larger one in the table.

        The promise is kept in between: a larger coverage makes larger sets.

        Raises:
            RecipeError: The coverage is not between 0 and 1, or larger than all in the table.

        Example:
            >>> CoverageTable((0.9, 0.95), (0.3, 0.1)).at(0.92)
            0.1
        """
        check_coverage(coverage)
        place = bisect_left(self.coverages, coverage)
        if place == len(self.coverages):
            raise RecipeError(f"coverage: expected at most {self.coverages[-1]:g} for this file, found {coverage:g}")
        return self.least[place]

    def plain(self) -> list[list[float]]:
        """Return the table as plain data: a row of coverage and probability for each coverage."""
        return [list(row) for row in zip(self.coverages, self.least, strict=True)]


def from_plain(rows: Any) -> CoverageTable:
    """Return the table that ``CoverageTable.plain`` wrote; ValueError if it is no such table."""
    if not (isinstance(rows, list) and 0 < len(rows) <= MOST_ROWS and all(map(_is_row, rows))):
        raise ValueError("coverage: expected rows of coverage and probability")
    found = CoverageTable(*map(tuple, zip(*rows, strict=True)))
    ascends = all(low < high for low, high in pairwise(found.coverages))
    if not (ascends and found.coverages[0] > 0 and found.coverages[-1] < 1):
        raise ValueError("coverage: expected ascending coverages between 0 and 1")
    if not all(high >= low for high, low in pairwise((1.0, *found.least, 0.0))):
        raise ValueError("coverage: expected descending probabilities from 0 to 1")
    return found


def _is_row(row: object) -> bool:
    return isinstance(row, list) and len(row) == 2 and all(type(one) is float for one in row)
