"""Train every system with several seeds on a machine with limited time.

    python benchmarks/gpu/zoo.py [RECIPE ...] [--seeds 3] [--budget-seconds 570] [--runs DIR] [--data-folder DIR]

The script stops when its time is over, with everything saved; the same command resumes. It goes seed by seed, so that
every system has one result before any has two. It runs from a source checkout and needs only torch, numpy, safetensors
and jaxtyping (and rich for its rows). Afterwards ``benchmarks/systems_record.py --runs DIR`` writes the record.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import lent

import modiste
from modiste.runs.run_folder import open_run
from record import measure_test

SYSTEMS = (
    "perceptron", "mlp", "paper", "paper-text", "inception", "dbn", "dbn-frozen", "dropconnect", "fashionnet",
    "patch-graph", "patch-graph-gpu", "superpixel-graph", "resnet", "capsnet", "capsnet-gpu", "capsnet-deep",
    "wide-resnet",
)  # fmt: skip


def main() -> None:
    parser = lent.parser(__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*", default=SYSTEMS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--budget-seconds", type=float, default=570.0)
    parser.add_argument("--runs", type=Path, default=Path("runs/systems"))
    options = parser.parse_args()
    started = time.monotonic()
    with lent.time_limit(options.budget_seconds):
        for seed in range(options.seeds):
            for name in options.recipes:
                accuracy = train(name, seed, options)
                spent = time.monotonic() - started
                print(f"{name}, seed {seed}: {accuracy:.2%} on test, done after {spent:.0f} s", flush=True)


def train(name: str, seed: int, options: argparse.Namespace) -> float:
    """Train or resume one system with one seed; return its accuracy on test, which is opened once."""
    recipe = replace(lent.tried(modiste.get_recipe(name), options), seed=seed)
    folder = options.runs / f"{name}-{seed}"
    modiste.train(recipe, folder, data_folder=options.data_folder)
    return measure_test(open_run(folder), data_folder=options.data_folder).accuracy


if __name__ == "__main__":
    main()
