"""Train the systems that the paper names, each with its recipe, and write ``records/systems``.

    python benchmarks/systems_record.py [RECIPE ...] [--seeds 1] [--runs runs/systems] [--baseline runs/record/paper-0]

The command can be killed at any moment; the same command resumes. Without names nothing is trained, and every recipe
with a finished run is recorded. Recipes without a finished run keep their rows. With ``--add``, other seeds of a recipe
are kept too, for runs of the same settings. Each run's test set is opened once, with the weights that its recipe
selects. The first seed of each recipe is compared, image by image, with the baseline, a run of ``paper_record.py``;
``--without-baseline`` leaves that out.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))  # for a lent machine, where nothing is installed

import modiste
from modiste.evaluation.statistics import PairedDifference, paired_difference
from modiste.models.registry import count_parameters
from modiste.recipes import claims
from modiste.reproduction.paper import mean_and_spread
from modiste.runs import manifest, run_folder
from modiste.runs.run_folder import Run, open_run
from record import (
    Record,
    describe_machine,
    duration,
    measure_test,
    parser,
    place,
    rows,
    seconds,
    summary,
    this_command,
    training,
)

SYSTEMS = (
    "paper", "perceptron", "mlp", "paper-text", "inception", "dbn", "dbn-frozen", "dropconnect", "capsnet",
    "capsnet-gpu", "capsnet-deep", "fashionnet", "patch-graph", "patch-graph-gpu", "superpixel-graph", "resnet",
    "wide-resnet",
)  # fmt: skip
"""The recipes of this record, in the order of its rows."""
Content = dict[str, Any]


def main() -> None:
    arguments = parser(__doc__, "records/systems")
    arguments.add_argument("recipes", nargs="*")
    arguments.add_argument("--seeds", type=int, default=1)
    arguments.add_argument("--runs", type=Path, default=Path("runs/systems"))
    arguments.add_argument("--baseline", type=Path, default=Path("runs/record/paper-0"))
    arguments.add_argument("--without-baseline", action="store_true")
    arguments.add_argument("--add", action="store_true", help="keep other seeds of these recipes in the record")
    options = arguments.parse_args()
    for name in options.recipes:
        for seed in range(options.seeds):
            recipe = replace(modiste.get_recipe(name), seed=seed)
            modiste.train(recipe, options.runs / f"{name}-{seed}")
    baseline = None if options.without_baseline else finished(options.baseline)
    folders = {"paper": options.baseline.parent}
    found = {name: runs for name in SYSTEMS if (runs := finished_runs(name, folders.get(name, options.runs)))}
    if not found:
        sys.exit(f"{options.runs}: no finished run; name the recipes to train")
    files = Record(options.out)
    before = files.read() or {"runs": [], "against_paper": {}}
    record = merged(before, found, baseline, add=options.add)
    files.save(record, as_markdown(record))
    print(f"{options.out}/README.md")


def finished(baseline: Path) -> Run:
    """Return the baseline; exits with the command that makes it if it is missing."""
    if not (baseline / manifest.NAME).is_file():
        sys.exit(
            f"{baseline}: no finished run to compare with; make it by benchmarks/paper_record.py, or name another "
            "of the recipe `paper` by --baseline"
        )
    return open_run(baseline)


def finished_runs(name: str, folder: Path) -> list[Run]:
    """Return a recipe's finished runs, one per seed."""
    done = sorted(path.parent for path in folder.glob(f"{name}-*/{manifest.NAME}"))
    return [run for run in map(open_run, done) if run.recipe.name == name]


def against(run: Run, baseline: Run) -> PairedDifference:
    """Compare a run with the baseline on the test set, image by image, by their stored logits."""
    ours, theirs = (
        logits.argmax(1) == labels
        for logits, labels in (
            run_folder.read_logits(one.folder / run_folder.logits_name("test")) for one in (run, baseline)
        )
    )
    return paired_difference(int((ours & ~theirs).sum()), int((theirs & ~ours).sum()), len(ours))


def merged(before: Content, found: Mapping[str, list[Run]], baseline: Run | None, *, add: bool) -> Content:
    """Return the record with these runs in place of those of the same recipes or, with ``add``, the same seeds."""
    key_of = itemgetter("recipe", "seed") if add else itemgetter("recipe")
    new = [as_plain(run) for own in found.values() for run in own]
    taken = set(map(key_of, new))
    runs = new + [row for row in before["runs"] if key_of(row) not in taken]
    runs.sort(key=lambda row: (SYSTEMS.index(row["recipe"]), row["seed"]))
    recipes = by_recipe(runs)
    firsts = {name: own[0] for name, own in found.items() if own[0].recipe.seed == recipes[name][0]["seed"]}
    paired = {name: pair for name, pair in before["against_paper"].items() if name not in firsts}
    if baseline:
        paired |= {name: asdict(against(run, baseline)) for name, run in firsts.items() if name != "paper"}
    return {
        "command": this_command(),
        "results": [
            summary(
                name, claims.describe(claims.without_time(name)), [row["test"]["accuracy"] for row in own], time_of(own)
            )
            for name, own in recipes.items()
            if name != "paper"  # which has a record of its own
        ],
        "against_paper": paired,
        "runs": runs,
    }


def time_of(runs: Sequence[Content]) -> str:
    """Return training time and machine of a recipe's first run; others may have had another machine."""
    return training(runs[0]["train_seconds"], runs[0]["starts"][-1])


def by_recipe(runs: Sequence[Content]) -> dict[str, list[Content]]:
    """Return the runs by recipe."""
    return {name: list(own) for name, own in groupby(runs, key=lambda row: str(row["recipe"]))}


def as_plain(run: Run) -> Content:
    """Return the results of a run as plain data."""
    test, (model, _) = measure_test(run), run.load_model()
    _, labels = run_folder.read_logits(run.folder / run_folder.logits_name("validation"))
    return {
        "recipe": run.recipe.name,
        "seed": run.recipe.seed,
        "parameters": count_parameters(model),
        "epochs": len(run.history),
        "picked_epoch": test.epoch,
        "validation_accuracy": run.picked.validation_accuracy,
        "validation_images": len(labels),
        "test": test.as_plain(),
        "train_seconds": seconds(run),
        "starts": run.facts(),
    }


def as_markdown(record: Content) -> str:
    """Return the page."""
    return f"""# The systems of the paper, measured

One line per recipe, trained on the real Fashion-MNIST with the recipe's own settings. Each run is measured once on the
10,000 test images, with the weights of the epoch selected on validation or of the last epoch, as its recipe says.
Validation images are not trained on: 10,000 of the 60,000 training images. They are 2,000 for recipes that were
developed with 10,000 and select no epoch. Parameters are those that training with labels changes: of `dbn-frozen` the
readout alone, without the stack that was trained before. n is the number of seeds; the interval of a single run is
Wilson's. The sixth column compares the first seed with a run of `paper`, seed 0, on the same images: the difference in
points with its 95 % interval, and McNemar's exact p. It is empty if there was no such run. Time and machine are those
of the first seed. Last made by
`{record["command"]}`.

| recipe | parameters | n | test accuracy | validation | against `paper` | epochs | training | on | claim |
|---|---|---|---|---|---|---|---|---|---|
{rows(line(name, own, record["against_paper"].get(name)) for name, own in by_recipe(record["runs"]).items())}

## Machine

{describe_machine(record["runs"][0]["starts"][-1])}
This is the machine of the first run; machine and commit of every run are in `record.json`. Other processes ran at the
same time as some trainings on cores: those times do not measure speed.
"""


def line(name: str, runs: Sequence[Content], paired: Mapping[str, Any] | None) -> tuple[object, ...]:
    """Return a recipe's row."""
    low, high = runs[0]["test"]["accuracy_interval"]
    doubt = f" ({low:.2%} to {high:.2%})" if len(runs) == 1 else ""
    return (
        f"`{name}`",
        f"{runs[0]['parameters']:,}",
        len(runs),
        mean_and_spread([row["test"]["accuracy"] for row in runs]) + doubt,
        f"{mean_and_spread([row['validation_accuracy'] for row in runs])} of {runs[0]['validation_images']:,}",
        in_points(paired) if paired else "",
        runs[0]["epochs"],
        duration(runs[0]["train_seconds"]),
        place(runs[0]["starts"][-1]),
        claims.describe(claims.without_time(name)),
    )


def in_points(paired: Mapping[str, Any]) -> str:
    """Return a difference in points with its interval and p-value as text."""
    low, high = paired["interval"]
    p_value = f"p = {paired['p_value']:.2g}" if paired["p_value"] >= 1e-4 else "p < 0.0001"
    return f"{100 * paired['difference']:+.2f} ({100 * low:+.2f} to {100 * high:+.2f}), {p_value}"


if __name__ == "__main__":
    main()
