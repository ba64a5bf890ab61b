"""How many faults the tests tried and how many were survived: few at every change, many in ``make torture``.

A test takes the fixture ``faults`` and runs through what it is given, one turn a fault (or ``each`` of them):

    for number in faults("saving: a flipped bit", few=500, many=10_000):
        ...

A turn that comes to its end is a fault survived. ``MODISTE_TORTURE`` holds the minutes that each such test may take
for its many; when they are over, it stops early and the table says how many it came to.
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
Faults = Callable[..., Iterator[int]]


@pytest.fixture
def faults(request: pytest.FixtureRequest) -> Faults:
    """Numbers from 0 to ``few`` or, in the torture room, ``many``, counted as they are used."""

    def plan(area: str, few: int = 1, many: int = 1, each: int = 1) -> Iterator[int]:
        minutes = float(os.environ.get(MINUTES, 0))
        planned = many if minutes else few
        count = {"area": area, "few": few, "planned": planned, "tried": 0, "survived": 0, "seconds": 0.0}
        request.node.user_properties.append(("faults", count))
        begun = time.monotonic()
        for number in range(-(-planned // each)):
            if minutes and time.monotonic() - begun > 60 * minutes:
                break
            count["tried"] += each
            yield number
            count["survived"] += each
            count["seconds"] = time.monotonic() - begun

    return plan


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In the torture room, keep the tests that count faults, and let them take their time."""
    if not os.environ.get(MINUTES):
        return
    kept = [item for item in items if "faults" in getattr(item, "fixturenames", ())]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept
    for item in kept:
        item.add_marker(pytest.mark.timeout(60 * (2 * float(os.environ[MINUTES]) + 5)))


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
        Path(os.environ[RECORD]).write_text(json.dumps(dict(sorted(areas.items())), indent=2) + "\n")
