"""Train every system with several seeds on a machine lent for minutes at a time.

    python benchmarks/gpu/zoo.py [RECIPE ...] [--seeds 3] [--budget-seconds 570] [--runs DIR] [--data-folder DIR]

Stops by itself when its time is up, everything saved; the same command goes on. Seed by seed, so that whatever time
there is gives every system a figure before any has two. Runs from a source checkout and needs torch, numpy, safetensors
and jaxtyping alone (and rich for its rows). Afterwards ``benchmarks/systems_record.py --runs DIR`` writes the record.
"""

import argparse
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "benchmarks")]

import modiste
from modiste.errors import StoppedError
from modiste.run_folder import open_run
from modiste.training.log import ConsoleLog
from record_page import measure_test

SYSTEMS = (
    "perceptron", "mlp", "paper", "paper-text", "inception", "dbn", "dbn-frozen", "dropconnect", "fashionnet",
    "patch-graph", "patch-graph-gpu", "superpixel-graph", "resnet", "capsnet", "capsnet-gpu", "capsnet-deep",
    "wide-resnet",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*", default=SYSTEMS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--budget-seconds", type=float, default=570.0)
    parser.add_argument("--runs", type=Path, default=Path("runs/systems"))
    parser.add_argument("--data-folder", type=Path)
    parser.add_argument("--source", help="another IDX set's folder, to try the script on")
    parser.add_argument("--epochs", type=int, help="fewer epochs, to try the script with")
    options = parser.parse_args()
    stop_after(options.budget_seconds)
    started = time.monotonic()
    try:
        for seed in range(options.seeds):
            for name in options.recipes:
                accuracy = train(name, seed, options)
                spent = time.monotonic() - started
                print(f"{name}, seed {seed}: {accuracy:.2%} on test, done after {spent:.0f} s", flush=True)
    except StoppedError as stop:
        print(f"time is up: {stop}")


def stop_after(seconds: float) -> None:
    """Ask this process to stop, as SIGTERM does, when its time is up."""

    def ask(_number: int, _frame: FrameType | None) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGALRM, ask)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("time is up between two runs"))
    signal.setitimer(signal.ITIMER_REAL, seconds)


def read(name: str, options: argparse.Namespace) -> modiste.Recipe:
    """Return a recipe, with what the options change of it to try a script with."""
    recipe = modiste.get_recipe(name)
    if options.source:
        recipe = replace(recipe, data=replace(recipe.data, source=options.source))
    return replace(recipe, epochs=options.epochs) if options.epochs else recipe


def train(name: str, seed: int, options: argparse.Namespace) -> float:
    """Train one system with one seed, or go on with it; open the test set once and return the accuracy on it."""
    recipe = replace(read(name, options), seed=seed)
    folder = options.runs / f"{name}-{seed}"
    modiste.train(recipe, folder, data_folder=options.data_folder, listeners=[ConsoleLog()])
    return measure_test(open_run(folder), data_folder=options.data_folder).accuracy


if __name__ == "__main__":
    main()
