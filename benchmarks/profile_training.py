"""Profile steps of training, by phase, operation and layer; write ``records/speed/profile``.

    python benchmarks/profile_training.py DATA_FOLDER [--steps 100] [--out records/speed]

What is profiled is ``modiste.train`` itself, in the middle of its first epoch, by torch's own profiler; that slows the
time between operations, not the operations.
"""

import argparse
import contextlib
import signal
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

import modiste
from modiste import runtime, storage
from modiste.errors import StoppedError
from modiste.training.log import Listener
from record_page import machine, rows

COMMAND = "python benchmarks/profile_training.py"
ARMS = (("paper", "float32"), ("paper", "bfloat16"), ("sprint", "bfloat16"), ("sprint-95", "bfloat16"))
LEAST_SHARE = 0.02
"""Of an operation that has a row of its own."""


class Profiled(Listener):
    """Profiles so many steps, after as many that are not counted; then stops the run."""

    def __init__(self, steps: int) -> None:
        self.steps, self.seconds = steps, 0.0
        self.profiler = profile(activities=[ProfilerActivity.CPU], record_shapes=True, acc_events=True)

    def step_done(self, step: int) -> None:
        """Begin, or end."""
        if step == self.steps:
            self.profiler.start()
            self.seconds = -time.perf_counter()
        elif step == 2 * self.steps:
            self.seconds += time.perf_counter()
            self.profiler.stop()
            signal.raise_signal(signal.SIGTERM)  # as anyone would stop it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--out", type=Path, default=Path("records/speed"))
    options = parser.parse_args()
    record: dict[str, Any] = {"command": COMMAND, "machine": runtime.facts(torch.device("cpu")), "arms": {}}
    for name, precision in ARMS:
        record["arms"][f"{name}, {precision}"] = profiled(name, precision, options)
    storage.write_json(options.out / "profile.json", record)
    storage.write_text(options.out / "profile.md", as_markdown(record))


def profiled(name: str, precision: str, options: argparse.Namespace) -> dict[str, Any]:
    """Train a recipe as far as needed; return the milliseconds of a step by phase and by operation."""
    recipe = replace(modiste.get_recipe(name), precision=precision)
    listener = Profiled(options.steps)
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(StoppedError):
        modiste.train(recipe, Path(folder) / "run", device="cpu", data_folder=options.data, listeners=[listener])
    phases: Counter[str] = Counter()
    operations: Counter[tuple[str, str, str]] = Counter()
    for event in listener.profiler.events() or ():
        phase = phase_of(event)
        milliseconds = event.self_cpu_time_total / 1e3 / options.steps
        phases[phase] += milliseconds
        operations[phase, event.name, shapes(event)] += milliseconds
    step = 1e3 * listener.seconds / options.steps
    phases["between operations"] = step - sum(phases.values())
    kept = [
        {"phase": phase, "operation": operation, "on": on, "milliseconds": spent}
        for (phase, operation, on), spent in operations.most_common()
        if spent >= LEAST_SHARE * step
    ]
    return {"batch_size": recipe.batch_size, "milliseconds": step, "phases": dict(phases), "operations": kept}


def phase_of(event: Any) -> str:
    """Return what part of a step an operation belongs to, by what called it."""
    while event.cpu_parent is not None:
        event = event.cpu_parent
    if event.name.startswith("autograd::engine"):
        return "backward"
    return "optimizer" if event.name.startswith("Optimizer.") else "batch, forward, loss"


def shapes(event: Any) -> str:
    """Write the shapes of the first tensors that an operation took."""
    sizes = [size for size in event.input_shapes if size]
    return ", ".join("×".join(map(str, size)) for size in sizes[:3])


def as_markdown(record: dict[str, Any]) -> str:
    """Write the page."""
    parts = "\n\n".join(part(name, arm) for name, arm in record["arms"].items())
    return f"""# Where a step's time goes

Milliseconds of a step, by torch's profiler in the middle of an epoch of `modiste train`: by phase, and the operations
that take at least {LEAST_SHARE:.0%} of it, with what they take in (images first, as N×C×H×W). The profiler itself is in
what lies between operations. Made by `{record["command"]}`.

{parts}

{machine(record["machine"])}
"""


def part(name: str, arm: dict[str, Any]) -> str:
    """Write the part of the page that one recipe has."""
    step = arm["milliseconds"]
    phases = rows((phase, *figures(spent, step)) for phase, spent in arm["phases"].items())
    operations = rows(
        (row["phase"], f"`{row['operation'].split('::')[-1]}`", row["on"], *figures(row["milliseconds"], step))
        for row in arm["operations"]
    )
    return f"""## {name}, {arm["batch_size"]} images: {step:.1f} ms

| phase | ms | share |
|---|---|---|
{phases}

| phase | operation | on | ms | share |
|---|---|---|---|---|
{operations}"""


def figures(spent: float, step: float) -> tuple[str, str]:
    """Write milliseconds, and their share of a step."""
    return f"{spent:.2f}", f"{spent / step:.0%}"


if __name__ == "__main__":
    main()
