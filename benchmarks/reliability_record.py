"""Run the fault-injection tests; write ``records/reliability``: how many faults were injected and survived.

    python benchmarks/reliability_record.py [--minutes 10] [--again] [--out records/reliability] [-- PYTEST ARGUMENTS]

Runs the tests of ``make torture`` and keeps their counts. Each kind of fault takes at most ``--minutes``. Failed tests
and an aborted run are recorded, and the exit code is then 1. ``--again`` runs only the tests that failed in the record,
after a mend; the record and its page say which these were.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from xml.etree import ElementTree

import torch

from modiste import machine
from record import Record, describe_machine, parser, rows

ROWS = ("resume", "saving", "locks", "signals", "data", "picture", "photos", "no", "serving", "search", "supply")
"""First words of areas, in the order of the page; other areas come last."""
PYTEST = ("-m", "pytest", "-n", "2", "--dist", "worksteal", "-q")
LIMIT_MINUTES = 240
PACKAGES = ("safetensors", "pillow", "fastapi", "uvicorn", "optuna", "ray", "onnxruntime", "pytest", "hypothesis")
Content = dict[str, Any]


def main() -> None:
    made = parser(__doc__, "records/reliability")
    made.add_argument("--minutes", type=float, default=10)
    made.add_argument("--again", action="store_true", help="run only the tests that failed in the record")
    made.add_argument("arguments", nargs="*", help="arguments for pytest")
    options = made.parse_args()
    file = Record(options.out, "results.json")
    before = (file.read() or {}) if options.again else {}
    tests = [node_of(failure) for failure in before.get("failed", [])]
    if options.again and not tests:
        sys.exit(f"{options.out}: no test failed in this record; expected one; leave out --again")
    with TemporaryDirectory() as folder:
        record = torture(options.minutes, [*options.arguments, *tests], Path(folder))
    record = joined(before, record) if options.again else record
    file.save(record, as_markdown(record))
    print(f"{options.out}/README.md")
    sys.exit(0 if is_good(record) else 1)


def torture(minutes: float, arguments: Sequence[str], folder: Path) -> Content:
    """Run the tests that count faults and return their results, failures included."""
    counts, outcomes = folder / "counts.json", folder / "outcomes.xml"
    variables = {"OMP_NUM_THREADS": "1", "MODISTE_TORTURE": str(minutes), "MODISTE_TORTURE_RECORD": str(counts)}
    facts, started = machine.facts(torch.device("cpu")), time.monotonic()
    code = run([sys.executable, *PYTEST, f"--junitxml={outcomes}", *arguments], variables)
    failed, skipped = read_outcomes(outcomes)
    return {
        "command": f"make torture MINUTES={minutes:g}" + "".join(f" {argument}" for argument in arguments),
        "minutes_each": minutes,
        "seconds": round(time.monotonic() - started),
        "exit_code": code,
        "areas": json.loads(counts.read_text(encoding="utf-8")) if counts.exists() else {},
        "failed": failed,
        "skipped": skipped,
        "machine": facts,
        "versions": dict(installed()),
    }


def installed() -> Iterator[tuple[str, str]]:
    """Yield the name and version of each package that the tests depend on."""
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            yield name, version(name)


def run(command: Sequence[str], variables: dict[str, str]) -> int:
    """Run the tests in their own process group, which is killed if it takes too long; return the exit code."""
    with subprocess.Popen(command, env=os.environ | variables, start_new_session=True) as child:
        try:
            return child.wait(60 * LIMIT_MINUTES)
        except BaseException as error:
            os.killpg(child.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                return -signal.SIGKILL
            raise


def read_outcomes(path: Path) -> tuple[list[str], list[str]]:
    """Return the failed and the skipped tests, each with its reason in one line."""
    failed, skipped = [], []
    try:
        cases = list(ElementTree.parse(path).iter("testcase"))
    except (OSError, ElementTree.ParseError):
        return ["the run was aborted before it reported its results"], []
    for case in cases:
        for what in case:
            kept = {"failure": failed, "error": failed, "skipped": skipped}.get(what.tag)
            if kept is not None:
                reason = (what.get("message") or "").strip().splitlines() or [""]
                kept.append(f"{case.get('classname')}.{case.get('name')}: {reason[0][:200]}")
    return failed, skipped


def node_of(failure: str) -> str:
    """Return pytest's name of a test from its line in the record, such as ``tests/data/test_idx.py::test_it``."""
    module, _, test = failure.partition(": ")[0].rpartition(".")
    return f"{module.replace('.', '/')}.py::{test}"


def joined(before: Content, again: Content) -> Content:
    """Return a record with the results of the tests that ran again in place of those that had failed."""
    return before | {
        "areas": before["areas"] | again["areas"],
        "exit_code": again["exit_code"],
        "failed": again["failed"],
        "again": {"tests": before["failed"], "seconds": again["seconds"], "commit": again["machine"].get("commit")},
    }


def again_text(record: Content) -> str:
    """Return a paragraph on the tests that ran again; empty if none did."""
    if "again" not in record:
        return ""
    commit = f" (commit {record['again']['commit'][:12]})" if record["again"]["commit"] else ""
    return (
        "\nThese had failed first. They were mended, ran again alone, and stand in the table as they ran then"
        f"{commit}:\n\n{listed(record['again']['tests'])}\n"
    )


def is_good(record: Content) -> bool:
    """Return whether every injected fault was survived and the tests ran to their end."""
    areas = record["areas"].values()
    return bool(areas) and not record["exit_code"] and all(area["tried"] == area["survived"] for area in areas)


def as_markdown(record: Content) -> str:
    """Return the page."""
    areas = dict(sorted(record["areas"].items(), key=lambda item: place(item[0])))
    tried, survived = (sum(area[name] for area in areas.values()) for name in ("tried", "survived"))
    verdict = "Every test passed." if is_good(record) else "**Some tests failed**: they are listed below."
    return f"""# Injected faults, and how many were survived

{tried:,.0f} faults were injected and {survived:,.0f} survived in {record["seconds"] / 60:.0f} minutes. {verdict} The
faults are real: processes, signals, sockets and files. [docs/reliability.md](../../docs/reliability.md) describes each
row and what Modiste guarantees.

Made by `python benchmarks/reliability_record.py --minutes {record["minutes_each"]:g}`, which runs the
tests of `{record["command"]}`.

| fault | at every change | planned here | injected | survived | minutes |
|---|---|---|---|---|---|
{rows(line(name, area) for name, area in areas.items())}

Each test has at most {record["minutes_each"]:g} minutes: fewer faults than planned mean that this time was over.
{again_text(record)}
## Failed

{listed(record["failed"])}

## Skipped on this machine

{listed(record["skipped"])}

## Machine

{describe_machine(record["machine"])}
{", ".join(f"{name} {number}" for name, number in record["versions"].items())}.
"""


def place(area: str) -> tuple[int, str]:
    """Return the sort key of an area in the table."""
    row = area.split(":")[0].split()[0]
    return (ROWS.index(row) if row in ROWS else len(ROWS)), area


def line(name: str, area: dict[str, float]) -> tuple[object, ...]:
    """Return an area's row of the table."""
    counts = tuple(f"{area[key]:,.0f}" for key in ("few", "planned", "tried", "survived"))
    return (name, *counts, f"{area['seconds'] / 60:.1f}")


def listed(texts: Iterable[str]) -> str:
    """Return texts as a Markdown list; ``Nothing.`` if there are none."""
    return "\n".join(f"- `{text}`" for text in texts) or "Nothing."


if __name__ == "__main__":
    main()
