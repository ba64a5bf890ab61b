"""Write the tables of results in the README, in ``records/README.md`` and for `modiste recipes`, from the records.

    python benchmarks/readme_results.py [--check]

``records/README.md`` has every test accuracy that a record states, the README the ten of ``CHOSEN``. `modiste recipes`
has the first of each named recipe, in the order of ``FIRST``, and counts the parameters of its network.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch

from modiste.evaluation.statistics import mean_interval, wilson_interval
from modiste.models.registry import Task, build_model, count_parameters
from modiste.recipes import measured
from modiste.recipes.named import RECIPES
from modiste.recipes.recipe import Recipe

ROOT = Path(__file__).parents[1]
RECORDS = ("paper", "speed", "gpu", "systems")
"""Those that state test accuracies, in the order of the tables."""
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
START, END = "<!-- results: written by benchmarks/readme_results.py -->", "<!-- end of results -->"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a table differs from the records")
    check = parser.parse_args().check
    results = read_results(ROOT / "records")
    by_name = {(record, result["recipe"]): result for record, result in results}
    chosen = [(record, by_name[record, recipe]) for record, recipe in CHOSEN]
    update(ROOT / "README.md", results_table(chosen, "records/"), check=check)
    update(ROOT / "records" / "README.md", results_table(results, ""), check=check)
    replace(measured.FILE, json.dumps(recipe_figures(by_name), indent=1) + "\n", check=check)


def read_results(records: Path) -> list[tuple[str, dict[str, Any]]]:
    """Return (record, result) for every result that states a test accuracy, in the order of ``RECORDS``."""
    found = []
    for record in RECORDS:
        results = json.loads((records / record / "record.json").read_text(encoding="utf-8"))["results"]
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


def interval(accuracies: list[float]) -> tuple[float, float]:
    """Return Student's 95 % interval of the mean over seeds; of a single seed Wilson's, over the test images."""
    over_seeds = mean_interval(accuracies)
    return over_seeds or wilson_interval(round(accuracies[0] * TEST_IMAGES), TEST_IMAGES)


def update(page: Path, table: str, *, check: bool) -> None:
    """Replace what stands between the page's two markers by ``table``; with ``check`` only compare, and exit."""
    text = page.read_text(encoding="utf-8")
    before, rest = text.split(START)
    _, after = rest.split(END)
    replace(page, f"{before}{START}\n{table}\n{END}{after}", check=check)


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
    """Return the number of trainable parameters of a recipe's network for ten classes, built without memory."""
    side, channels = recipe.data.side, 3 if recipe.data.colour else 1
    names = tuple(map(str, range(10)))
    with torch.device("meta"):
        return count_parameters(build_model(recipe.model, Task(image_shape=(channels, side, side), class_names=names)))


if __name__ == "__main__":
    main()
