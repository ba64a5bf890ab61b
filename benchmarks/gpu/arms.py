"""Train variants of recipes on a machine lent for minutes, and say what each comes to on validation.

    python benchmarks/gpu/arms.py ARMS.json [--seeds 2] [--budget-seconds 300] [--data-folder DIR] [--out DIR]

ARMS.json is a list of ``{"recipe": NAME, "changes": {"optimizer.learning_rate": 0.2, ...}}``. The seeds of an arm are
trained side by side, on the recipe's own division of the training images unless its changes name another; the test set
stays closed. Writes ``arms.json`` anew after every arm, and passes over those that are in it: the same command goes on.
"""

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "benchmarks"), str(Path(__file__).parent)]

from zoo import read, stop_after

import modiste
from modiste import runtime, storage
from modiste.errors import StoppedError
from modiste.run_folder import open_run
from modiste.search import space
from record_page import seconds

Arm = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("arms", type=Path)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--budget-seconds", type=float, default=300.0)
    parser.add_argument("--out", type=Path, default=Path("records/gpu"))
    parser.add_argument("--data-folder", type=Path)
    parser.add_argument("--source", help="another IDX set's folder, to try the script on")
    parser.add_argument("--epochs", type=int, help="fewer epochs, to try the script with")
    options = parser.parse_args()
    stop_after(options.budget_seconds)
    path = options.out / "arms.json"
    record: Arm = storage.read_json(path) if path.exists() else {"arms": []}
    record |= {"command": "python benchmarks/gpu/arms.py", "machine": runtime.facts(runtime.choose_device())}
    try:
        for arm in storage.read_json(options.arms):
            if arm not in [{key: done[key] for key in arm} for done in record["arms"]]:
                record["arms"].append(arm | train(arm, options))
                storage.write_json(path, record)
                print(record["arms"][-1], flush=True)
    except StoppedError as stop:
        print(f"time is up: {stop}")


def train(arm: Arm, options: argparse.Namespace) -> Arm:
    """Train an arm's seeds at once; return their accuracies and the seconds of training of them all."""
    recipe = space.apply(read(arm["recipe"], options), arm["changes"])
    recipe = replace(recipe, epochs=options.epochs or recipe.epochs)
    with tempfile.TemporaryDirectory() as folder:
        folders = modiste.train_seeds(recipe, range(options.seeds), folder, data_folder=options.data_folder)
        runs = [open_run(each) for each in folders]
        return {
            "validation_accuracy": [run.picked.validation_accuracy for run in runs],
            "train_accuracy": [run.picked.train_accuracy for run in runs],
            "train_seconds": seconds(runs[0]),
        }


if __name__ == "__main__":
    main()
