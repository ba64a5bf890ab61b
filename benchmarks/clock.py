"""Timing of processes, and the speed of the machine itself."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

import torch

ROOT = Path(__file__).parents[1]
PEERS = ROOT / "benchmarks" / "peers"
MODISTE = (sys.executable, "-m", "modiste")


@dataclass(frozen=True)
class Timed:
    """The measurements of a process.

    Attributes:
        seconds: Time from before its start until its end.
        peak_memory_bytes: Largest resident memory.
        output: Its standard output.
    """

    seconds: float
    peak_memory_bytes: int
    output: str

    def last_line(self) -> dict[str, Any]:
        """Return the JSON object on the last line of the output."""
        found: dict[str, Any] = json.loads(self.output.strip().splitlines()[-1])
        return found


def time_process(command: Sequence[object], environment: Mapping[str, str] | None = None) -> Timed:
    """Run a command to its end and return its measurements; raises SystemExit if it fails."""
    arguments = [str(argument) for argument in command]
    start = time.perf_counter()
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})})
    assert process.stdout is not None
    with process.stdout as pipe:
        output = pipe.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(arguments)}: failed with status {process.returncode}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Timed(seconds, usage.ru_maxrss * unit, output)


def peer(environment: str, script: str, *arguments: object) -> tuple[object, ...]:
    """Return the command of a peer in its own environment; raises SystemExit if that is missing."""
    python = PEERS / ".venvs" / environment / "bin" / "python"
    if not python.exists():
        raise SystemExit(f"{python.parent.parent}: missing; make it with: make peers")
    return (python, PEERS / script, *arguments)


def trimmed_mean(values: Sequence[float]) -> float:
    """Return the mean, of five values or more without the smallest and the largest one, as MLPerf does."""
    return mean(sorted(values)[1:-1] if len(values) >= 5 else values)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return the number of values, their median and their range."""
    return {"n": len(values), "median": median(values), "lowest": min(values), "highest": max(values)}


def matrix_multiply_rate(dtype: torch.dtype, side: int = 4096, repetitions: int = 5) -> float:
    """Return the FLOP/s of torch in the product of two square matrices: the best of several repetitions."""
    left, right = (torch.randn(side, side).to(dtype) for _ in range(2))
    torch.mm(left, right)
    times = []
    for _ in range(repetitions):
        start = time.perf_counter()
        torch.mm(left, right)
        times.append(time.perf_counter() - start)
    return 2 * side**3 / min(times)
