"""Write the tables of results in the README, in ``records/README.md`` and for `modiste recipes`, from the records.

    python benchmarks/readme_results.py [--check]

``records/README.md`` has every test accuracy that a record states, and the first entries of its list of claims. The
README has the ten of ``CHOSEN``. `modiste recipes` has the first of each named recipe, in the order of ``FIRST``, and
counts the parameters of its network, frozen or not.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch

from modiste.evaluation.statistics import mean_interval, wilson_interval
from modiste.models.registry import Task, build_model
from modiste.recipes import claims
from modiste.recipes.named import RECIPES
from modiste.recipes.recipe import Recipe

ROOT = Path(__file__).parents[1]
RECORDS = ("paper", "speed", "gpu", "systems", "team")
"""Those that state test accuracies, in the order of the tables; one that was not made yet is left out."""
FIRST = ("paper", "speed", "systems", "gpu")
"""Where several records have a recipe, `modiste recipes` shows the first of these."""
CHOSEN = (
    ("paper", "paper"),
    ("speed", "sprint"),
    ("speed", "sprint-93"),
    ("speed", "sprint-94"),
    ("speed", "sprint-95"),
    ("gpu", "sprint-94-gpu"),
    ("gpu", "sprint-95-gpu"),
    ("gpu", "sprint-96-gpu"),
    ("systems", "mlp"),
    ("systems", "capsnet-deep"),
)
"""Record and recipe of each row of the README, all of three seeds or more."""
TEST_IMAGES = 10_000
TIMED = "speed"
"""The record whose results have a mark, and the seconds from the command to the saved model."""
LEAST_SEEDS = 3
"""Of an entry in the list of claims."""
TOGETHER = "together"
"""In the names of ensembles."""
RESULTS, ENTRIES = "results", "entries"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a table differs from the records")
    check = parser.parse_args().check
    results = read_results(ROOT / "records")
    by_name = {(record, result["recipe"]): result for record, result in results}
    chosen = [(record, by_name[record, recipe]) for record, recipe in CHOSEN]
    page = ROOT / "records" / "README.md"
    update(ROOT / "README.md", RESULTS, results_table(chosen, "records/"), check=check)
    update(page, RESULTS, results_table(results, ""), check=check)
    update(page, ENTRIES, entries_table(results), check=check)
    replace(claims.MEASURED, json.dumps(recipe_figures(by_name), indent=1) + "\n", check=check)


def read_results(records: Path) -> list[tuple[str, dict[str, Any]]]:
    """Return (record, result) for every result that states a test accuracy, in the order of ``RECORDS``."""
    found = []
    for record in RECORDS:
        path = records / record / "record.json"
        results = json.loads(path.read_text(encoding="utf-8")).get("results", []) if path.exists() else []
        found += [(record, result) for result in results]
    return found


def results_table(results: list[tuple[str, dict[str, Any]]], to_records: str) -> str:
    """Return a Markdown table with a row per result; ``to_records`` leads from the page to the records."""
    lines = [
        "| recipe | test accuracy, mean ± sd | 95 % interval | seeds | training | goal or claim | record |",
        "|---|---|---|---|---|---|---|",
    ]
    for record, result in results:
        accuracy = result["test_accuracy"]
        figure = f"{accuracy['mean']:.2%}" + (f" ± {accuracy['sd']:.2%}" if result["n"] > 1 else "")
        low, high = interval(accuracy["values"])
        link = f"[{record}]({to_records}{record}/README.md)"
        doubt = f"{low:.2%} to {high:.2%}"
        cells = (f"`{result['recipe']}`", figure, doubt, result["n"], result["training"], result["claim"], link)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def entries_table(results: list[tuple[str, dict[str, Any]]]) -> str:
    """Return the first entries of the list of claims as a Markdown table.

    They are the results with a time, and the single network and the ensemble of at least LEAST_SEEDS seeds with the
    highest mean accuracy on test: most records hold no accuracy on validation.
    """
    timed = [
        (f"{mark_of(result)} in {result['seconds']:.1f} s", record, result)
        for record, result in results
        if record == TIMED
    ]
    several = [one for one in results if one[1]["n"] >= LEAST_SEEDS]
    kinds = {
        "accuracy, single network": [one for one in several if TOGETHER not in one[1]["recipe"]],
        "accuracy, ensemble": [one for one in several if TOGETHER in one[1]["recipe"]],
    }
    best = [
        (kind, *max(found, key=lambda one: one[1]["test_accuracy"]["mean"])) for kind, found in kinds.items() if found
    ]
    lines = [
        "| record | recipe | test accuracy | 95 % interval | seeds | machine | evidence |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind, record, result in [*timed, *best]:
        accuracy = result["test_accuracy"]
        low, high = interval(accuracy["values"])
        machine = result["training"].split(", ", 1)[1]
        figures = (f"{accuracy['mean']:.2%} ± {accuracy['sd']:.2%}", f"{low:.2%} to {high:.2%}", result["n"], machine)
        cells = (kind, f"`{result['recipe']}`", *figures, f"[{record}]({record}/README.md)")
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def mark_of(result: dict[str, Any]) -> str:
    """Return the accuracy that a timed result is for, as text: the beginning of its goal."""
    return str(result["claim"]).partition(" in ")[0]


def interval(accuracies: list[float]) -> tuple[float, float]:
    """Return Student's 95 % interval of the mean over seeds; of a single seed Wilson's, over the test images."""
    over_seeds = mean_interval(accuracies)
    return over_seeds or wilson_interval(round(accuracies[0] * TEST_IMAGES), TEST_IMAGES)


def update(page: Path, name: str, table: str, *, check: bool) -> None:
    """Replace what stands between the page's two markers of this name; with ``check`` only compare, and exit."""
    start, end = f"<!-- {name}: written by benchmarks/readme_results.py -->", f"<!-- end of {name} -->"
    text = page.read_text(encoding="utf-8")
    before, rest = text.split(start)
    _, after = rest.split(end)
    replace(page, f"{before}{start}\n{table}\n{end}{after}", check=check)


def replace(path: Path, wanted: str, *, check: bool) -> None:
    """Write a file; with ``check`` only compare, and exit if it differs."""
    if not check:
        path.write_text(wanted, encoding="utf-8")
    elif not path.exists() or path.read_text(encoding="utf-8") != wanted:
        name = path.relative_to(ROOT)
        sys.exit(f"{name}: its results differ from the records; run: python benchmarks/readme_results.py")


def recipe_figures(results: dict[tuple[str, str], dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the parameters of every named recipe's network, with its accuracy and time where a record has them."""
    figures = {}
    for name, make in RECIPES.items():
        figures[name] = {"parameters": parameters(make())}
        record = next((record for record in FIRST if (record, name) in results), None)
        if record:
            result = results[record, name]
            time, machine = result["training"].split(", ", 1)
            accuracy = {"accuracy": round(result["test_accuracy"]["mean"], 6), "seeds": result["n"]}
            figures[name] |= {**accuracy, "time": time, "machine": machine, "record": record}
    return figures


def parameters(recipe: Recipe) -> int:
    """Return the number of parameters of a recipe's network for ten classes, frozen or not, built without memory."""
    side, channels = recipe.data.side, 3 if recipe.data.colour else 1
    names = tuple(map(str, range(10)))
    with torch.device("meta"):
        model = build_model(recipe.model, Task(image_shape=(channels, side, side), class_names=names))
    return sum(parameter.numel() for parameter in model.parameters())


if __name__ == "__main__":
    main()
