"""The progress of a search for people: a row for every trial that ends."""

from collections.abc import Callable, Mapping

from modiste.searches.outcomes import best
from modiste.searches.plan import Plan
from modiste.searches.trial import TrialOutcome

WIDTH = 10
"""Least width of a column of values."""


class ProgressTable:
    """Prints a row for every trial that ends; the widths of the columns are fixed at the start.

    Args:
        plan: Plan of the search.
        write: Prints a line.
    """

    def __init__(self, plan: Plan, write: Callable[[str], None]) -> None:
        self._plan, self._write = plan, write
        self._fields = [dimension.field for dimension in plan.dimensions()]
        names = [field.rpartition(".")[2] for field in self._fields]
        self._widths = [max(WIDTH, len(name)) for name in names]
        self._digits = 2 * len(str(plan.trials)) + 4
        write(self._row("done", "trial", "validation", "best so far", names, ""))

    def add(self, new: TrialOutcome, known: Mapping[int, TrialOutcome]) -> None:
        """Print the row of a new trial; ``known`` are all outcomes so far, the new one included."""
        leader = best(known.values())
        done = f"{len(known)} of {self._plan.trials}"
        accuracy = new.state if new.accuracy is None or new.state == "pruned" else f"{new.accuracy:.2%}"
        ahead = f"{leader.accuracy:.2%}" if leader else ""
        values = [as_text(new.values[field]) for field in self._fields]
        self._write(self._row(done, str(new.number), accuracy, ahead, values, new.reason))

    def _row(self, done: str, trial: str, accuracy: str, ahead: str, values: list[str], reason: str) -> str:
        chosen = "".join(f"  {value:>{width}}" for value, width in zip(values, self._widths, strict=True))
        return f"{done:>{self._digits}}  {trial:>5}  {accuracy:>10}  {ahead:>11}{chosen}  {reason}".rstrip()


def as_text(value: object) -> str:
    """Return the value of a searched field as people read it."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
