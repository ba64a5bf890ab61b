"""Run the torture room and write ``records/reliability``: of each fault, how many were tried and how many survived.

    python benchmarks/reliability_record.py [--minutes 10] [--out records/reliability] [-- PYTEST WORDS]

What ``make torture`` runs, with its figures kept. Each kind of fault takes ``--minutes`` at most. A test that fails, or
a run that breaks off, is written down as that; the exit code is 1 then.
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
"""The first words of areas, in the order in which they are told; one that is not named here comes after these."""
PYTEST = ("-m", "pytest", "-n", "2", "--dist", "worksteal", "-q")
LIMIT_MINUTES = 240
PACKAGES = ("safetensors", "pillow", "fastapi", "uvicorn", "optuna", "ray", "onnxruntime", "pytest", "hypothesis")
Content = dict[str, Any]


def main() -> None:
    arguments = parser(__doc__, "records/reliability")
    arguments.add_argument("--minutes", type=float, default=10)
    arguments.add_argument("words", nargs="*", help="arguments for pytest")
    options = arguments.parse_args()
    with TemporaryDirectory() as folder:
        record = torture(options.minutes, options.words, Path(folder))
    Record(options.out, "results.json").save(record, as_markdown(record))
    print(f"{options.out}/README.md")
    sys.exit(0 if is_good(record) else 1)


def torture(minutes: float, words: Sequence[str], folder: Path) -> Content:
    """Run the tests that count faults; return what came of them, whatever it was."""
    counts, outcomes = folder / "counts.json", folder / "outcomes.xml"
    variables = {"OMP_NUM_THREADS": "1", "MODISTE_TORTURE": str(minutes), "MODISTE_TORTURE_RECORD": str(counts)}
    facts, started = machine.facts(torch.device("cpu")), time.monotonic()
    code = run([sys.executable, *PYTEST, f"--junitxml={outcomes}", *words], variables)
    failed, skipped = read_outcomes(outcomes)
    return {
        "command": f"make torture MINUTES={minutes:g}" + "".join(f" {word}" for word in words),
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
    """Name the versions of the packages that stand between a fault and Modiste."""
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            yield name, version(name)


def run(command: Sequence[str], variables: dict[str, str]) -> int:
    """Run the tests in a group of their own, which ends as a whole when it takes too long."""
    with subprocess.Popen(command, env=os.environ | variables, start_new_session=True) as child:
        try:
            return child.wait(60 * LIMIT_MINUTES)
        except BaseException as error:
            os.killpg(child.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                return -signal.SIGKILL
            raise


def read_outcomes(path: Path) -> tuple[list[str], list[str]]:
    """Name the tests that failed and those that were left out, each with the reason in a line."""
    failed, skipped = [], []
    try:
        cases = list(ElementTree.parse(path).iter("testcase"))
    except (OSError, ElementTree.ParseError):
        return ["the run broke off before it could say what had failed"], []
    for case in cases:
        for what in case:
            kept = {"failure": failed, "error": failed, "skipped": skipped}.get(what.tag)
            if kept is not None:
                reason = (what.get("message") or "").strip().splitlines() or [""]
                kept.append(f"{case.get('classname')}.{case.get('name')}: {reason[0][:200]}")
    return failed, skipped


def is_good(record: Content) -> bool:
    """Tell whether every fault that was tried was survived, and the tests ran to their end."""
    areas = record["areas"].values()
    return bool(areas) and not record["exit_code"] and all(area["tried"] == area["survived"] for area in areas)


def as_markdown(record: Content) -> str:
    """Write the page for people."""
    areas = dict(sorted(record["areas"].items(), key=lambda item: place(item[0])))
    tried, survived = (sum(area[name] for area in areas.values()) for name in ("tried", "survived"))
    verdict = "Every test passed." if is_good(record) else "**Not all was well**: see what failed, below."
    return f"""# What was done to it, and what it survived

{tried:,.0f} faults were tried and {survived:,.0f} survived in {record["seconds"] / 60:.0f} minutes. {verdict} By real
processes, signals, sockets and files; [docs/reliability.md](../../docs/reliability.md) says what each row does and what
is promised.

Made by `python benchmarks/reliability_record.py --minutes {record["minutes_each"]:g}`, which runs what
`{record["command"]}` runs.

| fault | at every change | planned here | tried | survived | minutes |
|---|---|---|---|---|---|
{rows(line(name, area) for name, area in areas.items())}

Where fewer were tried than planned, the time was over: {record["minutes_each"]:g} minutes for each test.

## Failed

{listed(record["failed"])}

## Left out on this machine

{listed(record["skipped"])}

## Machine

{describe_machine(record["machine"])}
{", ".join(f"{name} {number}" for name, number in record["versions"].items())}.
"""


def place(area: str) -> tuple[int, str]:
    """Return where an area stands in the table."""
    row = area.split(":")[0].split()[0]
    return (ROWS.index(row) if row in ROWS else len(ROWS)), area


def line(name: str, area: dict[str, float]) -> tuple[object, ...]:
    """Return an area's row of the table."""
    counts = tuple(f"{area[key]:,.0f}" for key in ("few", "planned", "tried", "survived"))
    return (name, *counts, f"{area['seconds'] / 60:.1f}")


def listed(texts: Iterable[str]) -> str:
    """Write lines as a list, or that there is nothing."""
    return "\n".join(f"- `{text}`" for text in texts) or "Nothing."


if __name__ == "__main__":
    main()
