"""Time the sprint recipes and the paper's on a machine lent for minutes: one seed alone, then many at once.

    python benchmarks/gpu/sprint.py [RECIPE ...] [--seeds 10] [--budget-seconds 570] [--runs DIR] [--out FILE]

Writes one JSON file, anew after every recipe, and passes over those that are in it: the same command goes on. Runs from
a source checkout and needs torch, numpy, safetensors and jaxtyping alone. Test accuracy is measured once for every
seed, after its training.
"""

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "benchmarks"), str(Path(__file__).parent)]

import torch
from zoo import stop_after

import modiste
from modiste import runtime, storage
from modiste.errors import StoppedError
from modiste.run_folder import open_run
from record_page import measure_test, summary

RECIPES = ("sprint", "sprint-93", "sprint-94", "sprint-95", "paper")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*", default=RECIPES)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--budget-seconds", type=float, default=570.0)
    parser.add_argument("--runs", type=Path, default=Path("runs/gpu-sprint"))
    parser.add_argument("--out", type=Path, default=Path("gpu-sprint.json"))
    parser.add_argument("--data-folder", type=Path)
    parser.add_argument("--source", help="another IDX set's folder, to try the script on")
    parser.add_argument("--epochs", type=int, help="fewer epochs, to try the script with")
    options = parser.parse_args()
    stop_after(options.budget_seconds)
    record: dict[str, Any] = storage.read_json(options.out) if options.out.exists() else {"results": []}
    record["machine"] = runtime.facts(runtime.choose_device())
    try:
        for name in options.recipes:
            if name not in [result["recipe"] for result in record["results"]]:
                record["results"].append(measure(name, options))
                storage.write_json(options.out, record)
                print(record["results"][-1], flush=True)
    except StoppedError as stop:
        print(f"time is up: {stop}")


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Train one seed alone, twice, for the first run of a network pays for choosing kernels; then all seeds at once."""
    recipe = modiste.get_recipe(name)
    if options.epochs:
        recipe = replace(recipe, epochs=options.epochs)
    if options.source:
        recipe = replace(recipe, data=replace(recipe.data, source=options.source))
    alone = [train_alone(recipe, options.runs / f"{name}-alone-{number}", options) for number in range(2)]
    started = time.perf_counter()
    folders = modiste.train_seeds(recipe, range(options.seeds), options.runs, data_folder=options.data_folder)
    synchronize()
    together = time.perf_counter() - started
    tests = [measure_test(open_run(folder), data_folder=options.data_folder).accuracy for folder in folders]
    return summary(name, "", tests) | {
        "alone": alone,
        "together_seconds": together,
        "together_train_seconds": train_seconds(folders[0]),
    }


def train_alone(recipe: modiste.Recipe, folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Train one seed; return the seconds of the whole and of training alone."""
    started = time.perf_counter()
    modiste.train(recipe, folder, data_folder=options.data_folder)
    synchronize()
    return {"seconds": time.perf_counter() - started, "train_seconds": train_seconds(folder)}


def train_seconds(folder: Path) -> float:
    """Return the seconds of training alone, as the run noted them."""
    return float(sum(row["train_seconds"] for row in open_run(folder).timing()))


def synchronize() -> None:
    """Wait until the GPU has done what it was told."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
