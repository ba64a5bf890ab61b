"""Train the systems that the paper names, each with its recipe, and write ``records/systems``.

    python benchmarks/systems_record.py [RECIPE ...] [--seeds 1] [--runs runs/systems] [--baseline runs/record/paper-0]

Kill it at any moment: the same command goes on. Without names, every recipe that has a finished run is written down and
nothing is trained. Each run's test set is opened once, with the weights that its recipe picks. The baseline, one of the
runs that ``paper_record.py`` leaves, is what each recipe's first seed is compared with, image by image.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import modiste
from modiste import manifest, run_folder, storage
from modiste.evaluation.assessment import Assessment
from modiste.evaluation.statistics import PairedDifference, paired_difference
from modiste.models import count_parameters
from modiste.paper import mean_and_spread
from modiste.run_folder import Run, open_run
from modiste.training.log import ConsoleLog
from record_page import machine, measure_test, rows, seconds, summary

CLAIMS = {
    "paper": "91.32 % (the paper)",
    "perceptron": "84.2 % (scikit-learn's logistic regression)",
    "mlp": "87.1 % (scikit-learn's MLP)",
    "paper-text": "none stated",
    "inception": "above `paper`",
    "dbn": "90.6 % (the paper, untraceable)",
    "dbn-frozen": "87.3 % (public)",
    "dropconnect": "92 % (ours)",
    "capsnet": "94.6 % (the paper, untraceable); 93.6 % (public)",
    "capsnet-gpu": "93.6 % (public)",
    "capsnet-deep": "94.6 % (the paper, untraceable); 94.5 to 94.7 % (public, DeepCaps)",
    "fashionnet": "94.5 % (the paper, untraceable)",
    "patch-graph": "94.8 % (the paper, untraceable)",
    "superpixel-graph": "83.1 % (public, a graph attention network)",
    "resnet": "95.2 % (zhunzhong07/Random-Erasing, 0.27 M)",
    "wide-resnet": "96.6 % (Liang-yc/fn_playground)",
}
Result = tuple[str, list[Run], list[Assessment]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--runs", type=Path, default=Path("runs/systems"))
    parser.add_argument("--baseline", type=Path, default=Path("runs/record/paper-0"))
    parser.add_argument("--out", type=Path, default=Path("records/systems"))
    options = parser.parse_args()
    for name in options.recipes:
        for seed in range(options.seeds):
            recipe = replace(modiste.get_recipe(name), seed=seed)
            modiste.train(recipe, options.runs / f"{name}-{seed}", listeners=[ConsoleLog()])
    baseline = finished(options.baseline)
    folders = {"paper": options.baseline.parent}
    results = [result for name in CLAIMS if (result := measure(name, folders.get(name, options.runs)))[1]]
    if not results:
        sys.exit(f"{options.runs}: no finished run; name the recipes to train")
    storage.write_json(options.out / "record.json", as_plain(results, baseline))
    storage.write_text(options.out / "README.md", as_markdown(results, baseline))
    print(f"{options.out}/README.md")


def finished(baseline: Path) -> Run:
    """Open the run that the others are compared with, or leave with what makes it."""
    if not (baseline / manifest.NAME).is_file():
        sys.exit(
            f"{baseline}: no finished run to compare with; make it by benchmarks/paper_record.py, or name another "
            "of the recipe `paper` by --baseline"
        )
    return open_run(baseline)


def measure(name: str, folder: Path) -> Result:
    """Return a recipe's finished runs, one per seed, and the test set measured with the weights it picks."""
    done = sorted(path.parent for path in folder.glob(f"{name}-*/{manifest.NAME}"))
    runs = [run for run in map(open_run, done) if run.recipe.name == name]
    return name, runs, [measure_test(run) for run in runs]


def against(run: Run, baseline: Run) -> PairedDifference:
    """Compare a run with the baseline on the test set, image by image, from the logits that both have stored."""
    ours, theirs = (
        logits.argmax(1) == labels
        for logits, labels in (
            run_folder.read_logits(one.folder / run_folder.logits_name("test")) for one in (run, baseline)
        )
    )
    return paired_difference(int((ours & ~theirs).sum()), int((theirs & ~ours).sum()), len(ours))


def as_plain(results: Sequence[Result], baseline: Run) -> dict[str, Any]:
    """Gather what the record rests on as plain data."""
    return {
        "command": "python benchmarks/systems_record.py RECIPE ...",
        "results": [
            summary(name, CLAIMS[name], [item.accuracy for item in tests])
            for name, _, tests in results
            if name != "paper"  # which has a record of its own
        ],
        "against_paper": {name: asdict(against(runs[0], baseline)) for name, runs, _ in results if name != "paper"},
        "runs": [
            {
                "recipe": name,
                "seed": run.recipe.seed,
                "epochs": len(run.history),
                "picked_epoch": test.epoch,
                "validation_accuracy": run.picked.validation_accuracy,
                "test": test.as_plain(),
                "train_seconds": seconds(run),
                "starts": run.facts(),
            }
            for name, runs, tests in results
            for run, test in zip(runs, tests, strict=True)
        ],
    }


def as_markdown(results: Sequence[Result], baseline: Run) -> str:
    """Write the page for people."""
    return f"""# The systems of the paper, measured

One line per recipe, trained on the 50,000 training images of the real Fashion-MNIST with the recipe's own settings and
measured once on the 10,000 test images, with the weights of the epoch that its recipe picks by validation or of the
last. n is the number of seeds; the interval of a single run is Wilson's. The sixth column compares the first seed with
the first seed of `paper` ([its record](../paper/README.md)) on the same images: the difference in points with its 95 %
interval, and McNemar's exact p. Made by `python benchmarks/systems_record.py`.

| recipe | parameters | n | test accuracy | validation | against `paper` | epochs | training | claim |
|---|---|---|---|---|---|---|---|---|
{rows(line(result, baseline) for result in results)}

## Machine

{machine(results[0][1][0].facts()[-1])}
That is the first run's; every run's own machine and commit stand in `record.json`. Other work ran beside some of the
training: the times are no measurement of speed.
"""


def line(result: Result, baseline: Run) -> tuple[object, ...]:
    """Return a recipe's row."""
    name, runs, tests = result
    model, _ = runs[0].load_model()
    accuracies = [test.accuracy for test in tests]
    low, high = tests[0].accuracy_interval
    doubt = f" ({low:.2%} to {high:.2%})" if len(tests) == 1 else ""
    return (
        f"`{name}`",
        f"{count_parameters(model):,}",
        len(runs),
        mean_and_spread(accuracies) + doubt,
        mean_and_spread([run.picked.validation_accuracy for run in runs]),
        in_points(against(runs[0], baseline)) if name != "paper" else "",
        len(runs[0].history),
        f"{seconds(runs[0]) / 60:.0f} min",
        CLAIMS[name],
    )


def in_points(paired: PairedDifference) -> str:
    """Write a difference as a table wants it."""
    low, high = paired.interval
    p_value = f"p = {paired.p_value:.2g}" if paired.p_value >= 1e-4 else "p < 0.0001"
    return f"{100 * paired.difference:+.2f} ({100 * low:+.2f} to {100 * high:+.2f}), {p_value}"


if __name__ == "__main__":
    main()
