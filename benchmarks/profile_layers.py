"""Profile steps of training and passes of prediction, by operation and layer; write ``records/speed/profile``.

    python benchmarks/profile_layers.py DATA_FOLDER [--steps 20] [--out records/speed]

Torch's profiler measures ``modiste.train`` itself, in the middle of its first epoch, and the prediction of all
validation images with an untrained network. It slows the time between operations, not the operations.
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
from modiste.data.dataset import load_development
from modiste.errors import StoppedError
from modiste.evaluation.inference import ask, ready
from modiste.models.registry import build_model
from modiste.training import setup
from modiste.training.tracking import Listener
from record import Record, describe_machine, parser, provenance, rows

TRAINED = (("paper", "float32"), ("paper", "bfloat16"), ("sprint", "bfloat16"), ("sprint-95", "bfloat16"))
ASKED = (("paper", "float32"), ("paper", "bfloat16"), ("sprint", "bfloat16"))
LEAST_SHARE = 0.02
"""Smallest share of the whole time for which an operation has a row."""
TOUCHED_BYTES = 2_000_000_000
"""Slightly less than the size from which memory is returned to the system; see ``machine.keep_memory``."""


class Profiled(Listener):
    """Profiles ``steps`` steps after the same number of other steps, then stops the run.

    The profiler's own data lie between the feature maps that a step frees, so that the next step needs other memory.
    Touching enough memory first and freeing it avoids page faults there, which would slow the profiled steps.
    """

    def __init__(self, steps: int) -> None:
        self.steps, self.seconds = steps, 0.0
        self.profiler = of_processor()

    def step_done(self, step: int) -> None:
        """Start or stop the profiler."""
        if step == self.steps:
            torch.ones(TOUCHED_BYTES, dtype=torch.uint8)
            self.profiler.start()
            self.seconds = -time.perf_counter()
        elif step == 2 * self.steps:
            self.seconds += time.perf_counter()
            self.profiler.stop()
            signal.raise_signal(signal.SIGTERM)  # stops the run in the usual way


def of_processor() -> profile:
    """Return a profiler of the CPU."""
    return profile(activities=[ProfilerActivity.CPU], record_shapes=True, acc_events=True)


def main() -> None:
    arguments = parser(__doc__, "records/speed")
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--steps", type=int, default=20)
    options = arguments.parse_args()
    record = provenance()
    record["steps"] = {", ".join(arm): of_training(*arm, options) for arm in TRAINED}
    record["predictions"] = {", ".join(arm): of_prediction(*arm, options) for arm in ASKED}
    Record(options.out, "profile.json", "profile.md").save(record, as_markdown(record))


def of_training(name: str, precision: str, options: argparse.Namespace) -> dict[str, Any]:
    """Profile steps of a recipe's training; return the milliseconds of a step by phase and by operation."""
    recipe = replace(modiste.get_recipe(name), precision=precision)
    listener = Profiled(options.steps)
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(StoppedError):
        modiste.train(recipe, Path(folder) / "run", device="cpu", data_folder=options.data, listeners=[listener])
    return {"images": recipe.batch_size} | shared_out(
        listener.profiler, listener.seconds, options.steps, "batch, forward, loss"
    )


def of_prediction(name: str, precision: str, options: argparse.Namespace) -> dict[str, Any]:
    """Profile a prediction with a recipe's network; return the milliseconds by phase and by operation."""
    recipe = replace(modiste.get_recipe(name), precision=precision)
    development = load_development(recipe.data, options.data)
    model = build_model(recipe.model, setup.describe_task(development, recipe), seed=0)
    images = development.validation.images
    model = ready(model, recipe, images[:1])
    ask(model, images, recipe)  # a first pass chooses kernels
    with of_processor() as profiler:
        seconds = -time.perf_counter()
        ask(model, images, recipe)
        seconds += time.perf_counter()
    return {"images": len(images)} | shared_out(profiler, seconds, 1, "batch, forward")


def shared_out(profiler: profile, seconds: float, times: int, forward: str) -> dict[str, Any]:
    """Return the milliseconds of one repetition by phase and by operation.

    Args:
        profiler: The finished profiler.
        seconds: Time of all repetitions.
        times: Number of repetitions.
        forward: Name of the phase before the backward pass.
    """
    phases: Counter[str] = Counter()
    operations: Counter[tuple[str, str, str]] = Counter()
    for event in profiler.events() or ():
        phase = phase_of(event) or forward
        milliseconds = event.self_cpu_time_total / 1e3 / times
        phases[phase] += milliseconds
        operations[phase, event.name, shapes(event)] += milliseconds
    whole = 1e3 * seconds / times
    phases["between operations"] = whole - sum(phases.values())
    kept = [
        {"phase": phase, "operation": operation, "on": on, "milliseconds": spent}
        for (phase, operation, on), spent in operations.most_common()
        if spent >= LEAST_SHARE * whole
    ]
    return {"milliseconds": whole, "phases": dict(phases), "operations": kept}


def phase_of(event: Any) -> str | None:
    """Return ``backward`` or ``optimizer`` for operations called from there; None for others."""
    while event.cpu_parent is not None:
        event = event.cpu_parent
    if event.name.startswith("autograd::engine"):
        return "backward"
    return "optimizer" if event.name.startswith("Optimizer.") else None


def shapes(event: Any) -> str:
    """Return the shapes of an operation's first three tensors as text."""
    sizes = [size for size in event.input_shapes if size]
    return ", ".join("×".join(map(str, size)) for size in sizes[:3])


def as_markdown(record: dict[str, Any]) -> str:
    """Return the page."""
    return f"""# Where the time goes

Milliseconds of a step, by torch's profiler in the middle of an epoch of `modiste train`: by phase, and for operations
that take at least {LEAST_SHARE:.0%} of the step, with the shapes of their inputs (images first, as N×C×H×W). Then the
same for the prediction of all validation images. The profiler's own time counts as time between operations. Made by
`{record["command"]}`.

{parts("A step of", record["steps"])}

{parts("Prediction by", record["predictions"])}

{describe_machine(record["machine"])}
"""


def parts(what: str, arms: dict[str, dict[str, Any]]) -> str:
    """Return the sections of these recipes."""
    return "\n\n".join(part(f"{what} {name}", arm) for name, arm in arms.items())


def part(title: str, arm: dict[str, Any]) -> str:
    """Return the section of one recipe."""
    whole = arm["milliseconds"]
    phases = rows((phase, *figures(spent, whole)) for phase, spent in arm["phases"].items())
    operations = rows(
        (row["phase"], f"`{row['operation'].split('::')[-1]}`", row["on"], *figures(row["milliseconds"], whole))
        for row in arm["operations"]
    )
    return f"""## {title}, {arm["images"]:,} images: {whole:.1f} ms

| phase | ms | share |
|---|---|---|
{phases}

| phase | operation | on | ms | share |
|---|---|---|---|---|
{operations}"""


def figures(spent: float, whole: float) -> tuple[str, str]:
    """Return milliseconds and their share of the whole as text."""
    return f"{spent:.2f}", f"{spent / whole:.0%}"


if __name__ == "__main__":
    main()
