"""Train variants of recipes on a machine with limited time, and record their accuracy on validation.

    python benchmarks/gpu/arms.py ARMS.json [--seeds 2] [--budget-seconds 300] [--data-folder DIR] [--out DIR]

ARMS.json is a list of ``{"recipe": NAME, "changes": {"optimizer.learning_rate": 0.2, ...}}``. The seeds of an arm are
trained at the same time, on the recipe's own split unless its changes name another; the test set is not opened. The
script writes ``arms.json`` after every arm and skips the arms in it: the same command resumes.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import lent

import modiste
from modiste import machine
from modiste.runs import storage
from modiste.runs.run_folder import open_run
from modiste.searches import space
from record import provenance, seconds

Arm = dict[str, Any]


def main() -> None:
    parser = lent.parser(__doc__.splitlines()[0])
    parser.add_argument("arms", type=Path)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--budget-seconds", type=float, default=300.0)
    parser.add_argument("--out", type=Path, default=Path("records/gpu"))
    options = parser.parse_args()
    path = options.out / "arms.json"
    record: Arm = storage.read_json(path) if path.exists() else {"arms": []}
    record |= provenance(machine.choose_device())
    with lent.time_limit(options.budget_seconds):
        for arm in storage.read_json(options.arms):
            if arm not in [{key: done[key] for key in arm} for done in record["arms"]]:
                record["arms"].append(arm | train(arm, options))
                storage.write_json(path, record)
                print(record["arms"][-1], flush=True)


def train(arm: Arm, options: argparse.Namespace) -> Arm:
    """Train the seeds of an arm at the same time; return their accuracies, and the seconds of training of all."""
    recipe = lent.tried(space.apply(modiste.get_recipe(arm["recipe"]), arm["changes"]), options)
    with tempfile.TemporaryDirectory() as folder:
        folders = modiste.train_seeds(recipe, options.seeds, folder, data_folder=options.data_folder, quiet=True)
        runs = [open_run(each) for each in folders]
        return {
            "validation_accuracy": [run.picked.validation_accuracy for run in runs],
            "train_accuracy": [run.picked.train_accuracy for run in runs],
            "train_seconds": seconds(runs[0]),
        }


if __name__ == "__main__":
    main()
