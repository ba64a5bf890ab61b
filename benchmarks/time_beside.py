"""Time one epoch of ``sprint`` alone and beside a process that keeps one core busy; write ``records/speed/beside``.

python benchmarks/time_beside.py DATA_FOLDER [--rounds 5] [--out records/speed]
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from clock import MODISTE, spread, time_process
from modiste.runs.run_folder import open_run
from modiste.system.processes import available_cores
from record import Record, describe_machine, parser, provenance, rows, with_range

BUSY = (sys.executable, "-c", "while True: pass")


def main() -> None:
    arguments = parser(__doc__, "records/speed", rounds=5)
    arguments.add_argument("data", type=Path)
    options = arguments.parse_args()
    found: dict[str, list[dict[str, float]]] = {"alone": [], "beside a busy process": []}
    for number in range(options.rounds):
        found["alone"].append(train(options.data))
        with subprocess.Popen(BUSY) as busy:
            try:
                found["beside a busy process"].append(train(options.data))
            finally:
                busy.kill()
        print(f"round {number + 1}: {[done[-1] for done in found.values()]}", flush=True)
    record = summary(found)
    Record(options.out, "beside.json", "beside.md").save(record, as_markdown(record))


def train(data: Path) -> dict[str, float]:
    """Train ``sprint`` in its own process; return its seconds of training and its number of threads."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        time_process((*MODISTE, "train", "sprint", "--quiet", "--device", "cpu", "--data-folder", data, "--out", run))
        done = open_run(run)
        return {"train_seconds": done.timing()[0]["train_seconds"], "threads": done.facts()[0]["threads"]}


def summary(found: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Return the seconds, the slowdown, and the slowdown that the lost core alone would cause."""
    cores = len(available_cores())
    arms = {
        name: spread([row["train_seconds"] for row in done]) | {"threads": median(row["threads"] for row in done)}
        for name, done in found.items()
    }
    alone, beside = (arm["median"] for arm in arms.values())
    return provenance() | {
        "arms": arms,
        "slower": beside / alone,
        "in_proportion": cores / max(cores - 1, 1),
    }


def as_markdown(record: dict[str, Any]) -> str:
    """Return the page."""
    return f"""# Beside other work

One epoch of `sprint` alone, and while another process keeps one core busy: the median of the seconds of training, and
the range. It is {record["slower"]:.2f} times slower. In proportion to the remaining cores it would be
{record["in_proportion"]:.2f} times slower. Made by `{record["command"]}`.

| | n | seconds | threads |
|---|---|---|---|
{rows(line(name, arm) for name, arm in record["arms"].items())}

{describe_machine(record["machine"])}
"""


def line(name: str, arm: dict[str, Any]) -> tuple[object, ...]:
    """Return an arm's row of the table."""
    return name, arm["n"], with_range(arm, ".2f"), f"{arm['threads']:.0f}"


if __name__ == "__main__":
    main()
