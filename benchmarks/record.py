"""What the scripts that write ``records`` share: options, the recorded command, the files, the text of a page."""

import argparse
import os
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

from modiste import machine
from modiste.evaluation.assessment import Assessment, Weights, assess_stored, evaluate
from modiste.runs import run_folder, storage
from modiste.runs.run_folder import Run, open_run

ROOT = Path(__file__).parents[1]


def parser(description: str | None, out: str, *, rounds: int | None = None) -> argparse.ArgumentParser:
    """Return a parser with the options that most scripts have.

    Args:
        description: Docstring of the script; its first line is shown.
        out: Default of ``--out``, the folder of the record.
        rounds: Default of ``--rounds``, how often everything is measured; None for a script without rounds.
    """
    made = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    if rounds is not None:
        made.add_argument("--rounds", type=int, default=rounds)
    made.add_argument("--out", type=Path, default=Path(out))
    return made


@dataclass(frozen=True)
class Record:
    """The files of a record: its numbers as JSON, and a page about them.

    Attributes:
        folder: Folder of both files.
        json: Name of the JSON file.
        page: Name of the page.
    """

    folder: Path
    json: str = "record.json"
    page: str = "README.md"

    def read(self) -> dict[str, Any] | None:
        """Return the numbers of an earlier call; None if there are none."""
        path = self.folder / self.json
        return storage.read_json(path) if path.exists() else None

    def save(self, content: Mapping[str, Any], page: str) -> None:
        """Write both files; print nothing."""
        storage.write_json(self.folder / self.json, content)
        storage.write_text(self.folder / self.page, page)


def provenance(device: torch.device | str = "cpu") -> dict[str, Any]:
    """Return the first fields of a record: the command that makes it, and the machine."""
    return {"command": this_command(), "machine": machine.facts(torch.device(device))}


def this_command() -> str:
    """Return the command line of this process for the root of the checkout.

    A folder or file outside the checkout, which lies elsewhere on other machines, is named by its kind.
    """
    return shlex.join(["python", os.path.relpath(sys.argv[0], ROOT), *map(_as_recorded, sys.argv[1:])])


def _as_recorded(argument: str) -> str:
    place = Path(argument)
    if not place.exists() or place.resolve().is_relative_to(ROOT):
        return argument
    if (place / run_folder.RECIPE).exists():
        return "RUN"
    if any(place.glob("*-ubyte*")):
        return "DATA_FOLDER"
    return "FOLDER" if place.is_dir() else "FILE"


def measure_test(run: Run, weights: Weights = "picked", data_folder: Path | None = None) -> Assessment:
    """Return a run's results on test; opens the test set only for weights without stored logits."""
    if not run_folder.is_listed(run, run_folder.logits_name("test", weights)):
        evaluate(run.folder, split="test", weights=weights, data_folder=data_folder)
    return assess_stored(open_run(run.folder), split="test", weights=weights)


def seconds(run: Run) -> float:
    """Return the seconds of training of a run, over all its starts."""
    return sum(row["train_seconds"] for row in run.timing())


def summary(recipe: str, claim: str, accuracies: Sequence[float], training: str) -> dict[str, Any]:
    """Return one result as the README's table needs it.

    Args:
        recipe: Name of the recipe.
        claim: The accuracy to compare with, as text.
        accuracies: Accuracy on test of every seed.
        training: Time of one run and its machine, as text.
    """
    accuracy = {"values": list(accuracies), "mean": mean(accuracies), "sd": deviation(accuracies)}
    return {"recipe": recipe, "claim": claim, "n": len(accuracies), "test_accuracy": accuracy, "training": training}


def deviation(values: Sequence[float]) -> float:
    """Return the standard deviation over seeds, 0 for a single one."""
    return stdev(values) if len(values) > 1 else 0.0


def training(seconds: float, facts: Mapping[str, Any]) -> str:
    """Return the time of a training and its machine as text."""
    return f"{duration(seconds)}, {place(facts)}"


def duration(seconds: float) -> str:
    """Return a time as ``4.2 s``, ``42 s`` or ``17 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def place(facts: Mapping[str, Any]) -> str:
    """Return what a run was trained on: the name of the GPU, or the number of cores."""
    return f"{facts['cores']} cores" if facts["device"] == "cpu" else str(facts["device"])


def with_range(found: Mapping[str, float], form: str, scale: float = 1) -> str:
    """Return median and range of ``clock.spread``, times ``scale``, as text: ``4.1 (3.9 to 4.4)``."""
    median, lowest, highest = (f"{scale * found[name]:{form}}" for name in ("median", "lowest", "highest"))
    return f"{median} ({lowest} to {highest})"


def rows(lines: Iterable[Sequence[object]]) -> str:
    """Return the rows of a Markdown table."""
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def describe_machine(facts: Mapping[str, Any]) -> str:
    """Return a description of the machine that the numbers of a page belong to."""
    return (
        f"{facts['processor']}, {facts['cores']} cores, {facts['threads']} threads,\n"
        f"{facts['memory_bytes'] / 2**30:.0f} GiB; {facts['system']}, Python {facts['python']}, "
        f"torch {facts['torch']};\ncommit {facts['commit']}."
    )
