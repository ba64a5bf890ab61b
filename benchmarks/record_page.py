"""What the pages of ``records`` share: rows of Markdown, means over seeds, the machine that a figure belongs to."""

import os
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from modiste.evaluation.assessment import Assessment, Weights, assess_stored, evaluate
from modiste.runs import run_folder
from modiste.runs.run_folder import Run, open_run

ROOT = Path(__file__).parents[1]


def this_command() -> str:
    """Return the command that runs this script, as it is given in the root of the checkout."""
    return shlex.join(["python", os.path.relpath(sys.argv[0], ROOT), *sys.argv[1:]])


def measure_test(run: Run, weights: Weights = "picked", data_folder: Path | None = None) -> Assessment:
    """Open the test set once for these weights; made again, a record rests on the stored logits."""
    if not run_folder.is_listed(run, run_folder.logits_name("test", weights)):
        evaluate(run.folder, split="test", weights=weights, data_folder=data_folder)
    return assess_stored(open_run(run.folder), split="test", weights=weights)


def summary(recipe: str, claim: str, accuracies: Sequence[float], training: str) -> dict[str, Any]:
    """Return one result as the README's table wants it; ``training`` is how long one run took, and on what."""
    accuracy = {"values": list(accuracies), "mean": mean(accuracies), "sd": spread(accuracies)}
    return {"recipe": recipe, "claim": claim, "n": len(accuracies), "test_accuracy": accuracy, "training": training}


def training(seconds: float, facts: Mapping[str, Any]) -> str:
    """Say how long a run trained, and on what."""
    return f"{duration(seconds)}, {place(facts)}"


def duration(seconds: float) -> str:
    """Write a time as briefly as it deserves."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def place(facts: Mapping[str, Any]) -> str:
    """Name what trained a run: the GPU, or how many cores."""
    return f"{facts['cores']} cores" if facts["device"] == "cpu" else str(facts["device"])


def rows(lines: Iterable[Sequence[object]]) -> str:
    """Write the rows of a Markdown table."""
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def describe_machine(facts: Mapping[str, Any]) -> str:
    """Describe the machine that a page's figures belong to."""
    return (
        f"{facts['processor']}, {facts['cores']} cores, {facts['threads']} threads,\n"
        f"{facts['memory_bytes'] / 2**30:.0f} GiB; {facts['system']}, Python {facts['python']}, "
        f"torch {facts['torch']};\ncommit {facts['commit']}."
    )


def seconds(run: Run) -> float:
    """Return the seconds that a run trained for, over all its starts."""
    return sum(row["train_seconds"] for row in run.timing())


def spread(values: Sequence[float]) -> float:
    """Return the standard deviation over seeds, 0 for a single one."""
    return stdev(values) if len(values) > 1 else 0.0
