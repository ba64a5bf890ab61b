"""Train recipes under two splits, and write ``records/splits``: by how much validation flatters under each.

    python benchmarks/split_record.py [--recipes sprint-94 sprint-95] [--seeds 3] [--runs runs/splits]

The splits are the stratified and the grouped one. The command can be killed at any moment; the same command goes on.
Finished runs in ``--runs`` are taken as they are, and recipes of earlier calls stay in the record. Each run opens the
test set once.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

import modiste
from modiste.data.dataset import load_split_images
from modiste.data.duplicates import ALIKE, near_groups
from modiste.display import times
from modiste.evaluation.statistics import Difference, crossed_sum
from modiste.runs import run_folder
from modiste.runs.run_folder import Run
from record import Record, describe_machine, measure_test, parser, provenance, rows

SPLITS = ("stratified", "grouped")
Right = Float64[Tensor, "seeds images"]


def main() -> None:
    arguments = parser(__doc__, "records/splits")
    arguments.add_argument("--recipes", nargs="+", default=["sprint-94", "sprint-95"])
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--runs", type=Path, default=Path("runs/splits"))
    options = arguments.parse_args()
    file = Record(options.out)
    recipes = dict((file.read() or {}).get("recipes", {}))
    for name in options.recipes:
        recipes[name] = measure(name, options.seeds, options.runs)
        content = provenance() | {"recipes": recipes}
        file.save(content, as_markdown(content))
    print(f"{options.out}/README.md")


def measure(recipe: str | modiste.Recipe, seeds: int, runs: Path, data_folder: Path | None = None) -> dict[str, Any]:
    """Train a recipe with several seeds under both splits, and return accuracies, gaps and their difference.

    Args:
        recipe: A name, or a recipe.
        seeds: Number of seeds, at least 2.
        runs: Folder of the runs, ``stratified/NAME-SEED`` and ``grouped/NAME-SEED``.
        data_folder: Folder of data that have moved.
    """
    found, tables = dict[str, Any](), dict[str, tuple[Right, Right]]()
    has_twin = twins(recipe, data_folder)
    for split in SPLITS:
        trained = modiste.train_seeds(
            recipe, seeds, runs / split, data_folder=data_folder, quiet=True, **{"data.split": split}
        )
        tests = [measure_test(run, data_folder=data_folder) for run in trained]
        validation, test = tables[split] = right_on(trained, "validation"), right_on(trained, "test")
        found[split] = {
            "validation": validation.mean(1).tolist(),
            "test": test.mean(1).tolist(),
            "test_openings": [one.test_openings for one in tests],
            "gap": as_plain(crossed_sum([validation, -test])),
        }
    (first, first_test), (second, second_test) = (tables[split] for split in SPLITS)
    found["stratified"]["validation_without_twins"] = first[:, ~has_twin].mean(1).tolist()
    found["twins"] = int(has_twin.sum())
    return found | {"change": as_plain(crossed_sum([second, -first, first_test - second_test]))}


def right_on(runs: Sequence[Run], split: str) -> Right:
    """Return 1 where a run is right about an image of a split, else 0; from the logits that the runs keep."""
    name = run_folder.VALIDATION_LOGITS if split == "validation" else run_folder.logits_name("test", "picked")
    kept = [run_folder.read_logits(run.folder / name) for run in runs]
    return torch.stack([(logits.argmax(1) == labels).double() for logits, labels in kept])


def as_plain(found: Difference) -> dict[str, Any]:
    return {"difference": found.difference, "interval": list(found.interval), "p_value": found.p_value}


def twins(recipe: str | modiste.Recipe, data_folder: Path | None) -> Bool[Tensor, " n"]:
    """Return which validation images of the stratified split have a near duplicate in training."""
    data = modiste.get_recipe(recipe).data if isinstance(recipe, str) else recipe.data
    usual = load_split_images(data, data_folder)
    groups = near_groups(usual.images.images)
    trained = torch.zeros(len(groups), dtype=torch.bool)
    trained[groups[usual.train]] = True
    return trained[groups[usual.validation]]


def as_markdown(content: Mapping[str, Any]) -> str:
    """Return the page."""
    recipes = content["recipes"]
    accuracies = [
        [f"`{name}`", split, *accuracy_cells(one[split]), *gap_cells(one[split]["gap"]), len(one[split]["test"])]
        for name, one in recipes.items()
        for split in SPLITS
    ]
    changes = [
        [f"`{name}`", *gap_cells(one["change"]), verdict(one["change"]), one["twins"], without_twins(one["stratified"])]
        for name, one in recipes.items()
    ]
    openings = max(number for one in recipes.values() for split in SPLITS for number in one[split]["test_openings"])
    header = ["recipe", "split", "validation", "test", "validation - test", "95 % interval", "seeds"]
    second = ["recipe", "grouped - stratified", "95 % interval", "the gap", "twins", "stratified, without twins"]
    return "\n".join(
        [
            "# By how much validation flatters\n",
            f"Made by `{content['command']}`. Near duplicates are images whose pixels",
            f"correlate by {ALIKE} or more, directly or through others; the grouped split keeps them on one side.\n",
            f"{rows([header, ['---'] * len(header), *accuracies])}\n",
            "Accuracies are means over seeds, differences are in points. A recipe that selects its epoch on validation",
            "flatters it for that reason too, under both splits. The interval covers the choice of seeds and images.",
            f"The test set was opened {times(openings)} for each run.\n",
            "## Does the gap shrink?\n",
            f"{rows([second, ['---'] * len(second), *changes])}\n",
            "The two validation sets are mostly other images, which makes the interval wide. Some images are in both.",
            "The interval takes these for other images too, so its width is an upper bound. *Twins* are validation",
            "images of the stratified split with a near duplicate in training. The last column leaves them out of the",
            "accuracy on validation: by how much it falls is what they add.\n",
            describe_machine(content["machine"]),
            "",
        ]
    )


def without_twins(one: Mapping[str, Any]) -> str:
    """Return the accuracy on validation without twins, and its difference from that with them in points."""
    left, whole = (mean(one[name]) for name in ("validation_without_twins", "validation"))
    return f"{left:.2%} ({100 * (left - whole):+.2f})"


def accuracy_cells(one: Mapping[str, Any]) -> list[str]:
    return [f"{mean(one[part]):.2%}" for part in ("validation", "test")]


def gap_cells(gap: Mapping[str, Any]) -> list[str]:
    low, high = gap["interval"]
    return [f"{100 * gap['difference']:+.2f}", f"{100 * low:+.2f} to {100 * high:+.2f}"]


def verdict(change: Mapping[str, Any]) -> str:
    """Return what the interval says about the change of the gap."""
    low, high = change["interval"]
    return "smaller" if high < 0 else "larger" if low > 0 else "no difference is shown"


if __name__ == "__main__":
    main()
