"""Counts the faults that tests inject: a sample in ``make test``, few in ``make test-all``, many in ``make torture``.

A test takes the fixture ``faults`` and loops over it, one turn a fault (or ``each`` faults a turn):

    for number in faults("saving: a flipped bit", few=500, many=10_000):
        ...

A turn that comes to its end is a fault survived. ``pytest`` alone, which is ``make test``, injects one in eleven of
``few``, spread over their numbers, and leaves out the tests that are marked ``slow``. ``pytest --in-full`` runs what
that leaves out: the tests that inject faults, with all of their few, and the slow tests. ``MODISTE_TORTURE``
holds the minutes that each test may take for its many; a test stops early when they are over, and the table says how
many it injected.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

MINUTES = "MODISTE_TORTURE"
RECORD = "MODISTE_TORTURE_RECORD"
SAMPLE = 11
"""One turn in so many is taken in ``make test``. It is odd: many tests choose the kind of fault by ``number % 2``."""
Faults = Callable[..., Iterator[int]]


def slow_case(*values: object, **options: Any) -> Any:
    """Return a case of a parametrised test that takes many seconds: ``make test`` runs only the other cases."""
    return pytest.param(*values, **options, marks=pytest.mark.slow)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--in-full", action="store_true", help="run what make test leaves out: all faults, slow tests")


@pytest.fixture
def faults(request: pytest.FixtureRequest) -> Faults:
    """Numbers below ``few``, or below ``many`` in ``make torture``, counted as they are used."""

    def plan(area: str, few: int = 1, many: int = 1, each: int = 1) -> Iterator[int]:
        minutes = float(os.environ.get(MINUTES, 0))
        step = 1 if minutes or request.config.getoption("--in-full") else SAMPLE
        turns = range(0, -(-(many if minutes else few) // each), step)
        planned = len(turns) * each
        count = {"area": area, "few": few, "planned": planned, "tried": 0, "survived": 0, "seconds": 0.0}
        request.node.user_properties.append(("faults", count))
        begun = time.monotonic()
        for number in turns:
            if minutes and time.monotonic() - begun > 60 * minutes:
                break
            count["tried"] += each
            yield number
            count["survived"] += each
            count["seconds"] = time.monotonic() - begun

    return plan


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests that inject faults for ``make torture``, these and the slow ones in full, or all but the slow."""
    torture = os.environ.get(MINUTES)
    kept, left = [], []
    for item in items:
        injects, is_slow = "faults" in getattr(item, "fixturenames", ()), bool(item.get_closest_marker("slow"))
        if torture:
            is_kept = injects
        elif config.getoption("--in-full"):
            is_kept = injects or is_slow
        else:
            is_kept = not is_slow
        (kept if is_kept else left).append(item)
    config.hook.pytest_deselected(items=left)
    items[:] = kept
    if torture:
        limit = pytest.mark.timeout(60 * (2 * float(torture) + 5))
        for item in kept:
            item.add_marker(limit)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the table of areas, and write it where ``MODISTE_TORTURE_RECORD`` says."""
    reports = [report for name in ("passed", "failed") for report in terminalreporter.stats.get(name, [])]
    counts = [value for report in reports for name, value in report.user_properties if name == "faults"]
    if not counts:
        return
    areas: dict[str, dict[str, float]] = {}
    for count in counts:
        area = areas.setdefault(count["area"], dict.fromkeys(("few", "planned", "tried", "survived", "seconds"), 0))
        for name in area:
            area[name] += count[name]
    terminalreporter.section("faults tried and survived")
    for name, area in sorted(areas.items()):
        terminalreporter.write_line(f"{area['survived']:>9,} of {area['tried']:>9,}  {name}")
    if os.environ.get(RECORD):
        Path(os.environ[RECORD]).write_text(json.dumps(dict(sorted(areas.items())), indent=2) + "\n", encoding="utf-8")
