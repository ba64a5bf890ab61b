"""The result of a benchmark: figures of each run, tables for people, and what others have published."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from modiste.display import Displayed, Table, times


@dataclass(frozen=True)
class Figure:
    """A measured figure.

    Attributes:
        value: The figure.
        interval: Its 95 % interval; None if none is known.
        is_share: Whether it is a share, shown in percent.
    """

    value: float
    interval: tuple[float, float] | None = None
    is_share: bool = True

    def __str__(self) -> str:
        if self.interval is None:
            return self.shown(self.value)
        low, high = map(self.shown, self.interval)
        return f"{self.shown(self.value)} ({low} to {high})"

    def shown(self, number: float) -> str:
        """Return a number as this figure is written."""
        return f"{number:.2%}" if self.is_share else f"{number:.3f}"


@dataclass(frozen=True)
class Published:
    """A figure that others have published.

    Attributes:
        what: What was measured.
        figure: As it was published.
        source: Authors, year and title.
    """

    what: str
    figure: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What one benchmark finds out about the runs.

    Attributes:
        figures: The main figures of each run, by name, in the order of the runs.
        details: Everything that was measured of each run, as plain data.
        tables: What people look at.
        settings: What the figures depend on, as plain data.
        measured: Number of images of the split that were measured; None if all of them were.
    """

    figures: tuple[dict[str, Figure], ...]
    details: tuple[dict[str, Any], ...]
    tables: tuple[Table, ...] = ()
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    measured: int | None = None


@dataclass(frozen=True, kw_only=True)
class RunFigures:
    """The figures of one run.

    Attributes:
        folder: Folder of the run.
        recipe: Name of its recipe.
        seed: Seed of the run.
        test_openings: Number of times the run has been evaluated on test, including this one.
        figures: By name.
        details: See ``Findings``.
    """

    folder: str
    recipe: str
    seed: int
    test_openings: int
    figures: dict[str, Figure]
    details: dict[str, Any]


@dataclass(frozen=True, kw_only=True, repr=False)
class Benchmark(Displayed):
    """The result of a benchmark.

    Attributes:
        name: Name of the benchmark, a key of ``benchmarks.run.BENCHMARKS``.
        title: Heading of its page.
        about: What it measures, a sentence.
        split: ``validation`` or ``test``.
        images: Number of images of the split.
        runs: Figures of each run.
        groups: Positions of the runs of each recipe, by its name; runs that differ only in the seed form one group.
        tables: What people look at.
        published: What others have published.
        settings: What the figures depend on.
        measured: Number of images of the split that were measured; None if all of them were, and in the files of
            earlier versions.
    """

    name: str
    title: str
    about: str
    split: str
    images: int
    runs: tuple[RunFigures, ...]
    groups: dict[str, tuple[int, ...]]
    tables: tuple[Table, ...]
    published: tuple[Published, ...]
    settings: dict[str, Any]
    measured: int | None = None

    @property
    def extent(self) -> str:
        """How many images of the split were measured: ``10,000 images``, or ``1,000 of 10,000 images``."""
        part = "" if self.measured in (None, self.images) else f"{self.measured:,} of "
        return f"{part}{self.images:,} image{'' if self.images == 1 else 's'}"

    def table(self) -> Table:
        """Return the main figures of each recipe: with an interval, or over seeds with mean and standard deviation."""
        names = list(self.runs[0].figures)
        rows = [
            [name, *(over_seeds([self.runs[position].figures[figure] for position in group]) for figure in names)]
            for name, group in self.groups.items()
        ]
        openings = {run.test_openings for run in self.runs}
        often = f"{'up to ' if len(openings) > 1 else ''}{times(max(openings))}"
        notes = [f"each run was evaluated on test {often}, which its folder counts"] if self.split == "test" else []
        return Table(f"{self.name}, {self.split}, {self.extent}", rows, ("recipe", *names), notes)

    def as_plain(self) -> dict[str, Any]:
        """Return the same, without the tables, as dictionaries, lists, numbers and strings."""
        plain = dataclasses.asdict(self)
        del plain["tables"]
        return plain


def from_plain(plain: Mapping[str, Any]) -> Benchmark:
    """Return the benchmark that ``as_plain`` described, without its tables.

    Args:
        plain: From ``as_plain``, or the same from JSON.
    """
    runs = tuple(RunFigures(**{**one, "figures": _figures(one["figures"])}) for one in plain["runs"])
    groups = {recipe: tuple(positions) for recipe, positions in plain["groups"].items()}
    published = tuple(Published(**one) for one in plain["published"])
    return Benchmark(**{**plain, "runs": runs, "groups": groups, "published": published, "tables": ()})


def _figures(plain: Mapping[str, Any]) -> dict[str, Figure]:
    return {
        name: Figure(one["value"], tuple(one["interval"]) if one["interval"] else None, one["is_share"])
        for name, one in plain.items()
    }


def over_seeds(figures: Sequence[Figure]) -> str:
    """Return a single figure with its interval; several as their mean and standard deviation.

    Example:
        >>> over_seeds([Figure(0.5), Figure(0.6)])
        '55.00% ± 7.07%'
    """
    first, values = figures[0], [one.value for one in figures]
    if len(values) == 1:
        return str(first)
    return f"{first.shown(mean(values))} ± {first.shown(stdev(values))}"
