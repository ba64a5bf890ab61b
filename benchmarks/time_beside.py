"""Time one epoch of ``sprint`` alone and beside a process that keeps one core busy; write ``records/speed/beside``.

python benchmarks/time_beside.py DATA_FOLDER [--rounds 5] [--out records/speed]
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import torch

from clock import MODISTE, spread, time_process
from modiste import machine
from modiste.processes import available_cores
from modiste.runs import storage
from modiste.runs.run_folder import open_run
from record_page import describe_machine, rows, this_command

BUSY = (sys.executable, "-c", "while True: pass")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("records/speed"))
    options = parser.parse_args()
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
    storage.write_json(options.out / "beside.json", record)
    storage.write_text(options.out / "beside.md", as_markdown(record))


def train(data: Path) -> dict[str, float]:
    """Train ``sprint`` in a process of its own; return its seconds of training and its threads."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        time_process((*MODISTE, "train", "sprint", "--quiet", "--device", "cpu", "--data-folder", data, "--out", run))
        done = open_run(run)
        return {"train_seconds": done.timing()[0]["train_seconds"], "threads": done.facts()[0]["threads"]}


def summary(found: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Gather the seconds, how much slower the second is, and how many cores are left of all."""
    cores = len(available_cores())
    arms = {
        name: spread([row["train_seconds"] for row in done]) | {"threads": median(row["threads"] for row in done)}
        for name, done in found.items()
    }
    alone, beside = (arm["median"] for arm in arms.values())
    return {
        "command": this_command(),
        "machine": machine.facts(torch.device("cpu")),
        "arms": arms,
        "slower": beside / alone,
        "in_proportion": cores / max(cores - 1, 1),
    }


def as_markdown(record: dict[str, Any]) -> str:
    """Write the page."""
    return f"""# Beside other work

One epoch of `sprint` alone, and while another process keeps one core busy: the median of the seconds of training, and
the range. It is {record["slower"]:.2f} times slower; in proportion to the cores that are left it would be
{record["in_proportion"]:.2f} times. Made by `{record["command"]}`.

| | n | seconds | threads |
|---|---|---|---|
{rows(line(name, arm) for name, arm in record["arms"].items())}

{describe_machine(record["machine"])}
"""


def line(name: str, arm: dict[str, Any]) -> tuple[object, ...]:
    """Return an arm's row of the table."""
    seconds = f"{arm['median']:.2f} ({arm['lowest']:.2f} to {arm['highest']:.2f})"
    return name, arm["n"], seconds, f"{arm['threads']:.0f}"


if __name__ == "__main__":
    main()
