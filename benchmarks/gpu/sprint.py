"""Time recipes on a machine with limited time, one seed alone and then many at once; write ``records/gpu``.

    python benchmarks/gpu/sprint.py [RECIPE ...] [--alone 2] [--seeds 10] [--budget-seconds 570] [--out DIR]
    python benchmarks/gpu/sprint.py sprint-96-gpu --seeds 2 --teams 3 [...]

The script writes its record after every recipe and skips the recipes in it: the same command resumes. Each call trains
in a new folder within ``--runs``, so that every time is of a run that it trained whole. It runs from a source checkout
and needs only torch, numpy, safetensors and jaxtyping. Accuracy on test is measured once for every seed that the call
trains at once with others or, if there are none, alone. With ``--teams``, several teams of seeds are trained
one after another; each team is also evaluated as an ensemble, by the mean of its probabilities.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import lent
import torch

import modiste
from modiste import machine
from modiste.evaluation import metrics
from modiste.evaluation.metrics import mean_probabilities
from modiste.models.registry import count_parameters
from modiste.recipes import claims
from modiste.runs import run_folder
from record import Record, describe_machine, measure_test, rows, seconds, summary, this_command, training

RECIPES = ("sprint", "sprint-93", "sprint-94", "sprint-95", "sprint-94-gpu", "sprint-95-gpu", "paper")


def main() -> None:
    parser = lent.parser(__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*", default=RECIPES)
    parser.add_argument("--alone", type=int, default=2, help="seeds trained one after another, for the time of one")
    parser.add_argument("--seeds", type=int, default=10, help="seeds trained at once; 0 for none")
    parser.add_argument("--teams", type=int, default=1, help="teams of that many seeds, trained one after another")
    parser.add_argument("--budget-seconds", type=float, default=570.0)
    parser.add_argument("--runs", type=Path, default=Path("runs/gpu"))
    parser.add_argument("--out", type=Path, default=Path("records/gpu"))
    options = parser.parse_args()
    files = Record(options.out)
    record: dict[str, Any] = files.read() or {"results": []}
    record["command"] = this_command()
    measured = {result["recipe"] for result in record["results"]}
    missing = [name for name in options.recipes if name not in measured]
    if not missing:
        return
    options.runs.mkdir(parents=True, exist_ok=True)
    options.runs = Path(tempfile.mkdtemp(prefix="call-", dir=options.runs))
    with lent.time_limit(options.budget_seconds):
        for name in missing:
            found = measure(name, options)
            record["results"] += found
            files.save(record, as_markdown(record))
            print(*found, sep="\n", flush=True)


def measure(name: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the results of a recipe and, with several teams, of its ensembles.

    Several seeds are trained alone, because the first run of a network includes the choice of kernels.
    """
    recipe = lent.tried(modiste.get_recipe(name), options)
    alone = [train_alone(replace(recipe, seed=seed), options) for seed in range(options.alone)]
    teams = [train_together(recipe, number, options) for number in range(options.teams)] if options.seeds else []
    runs = [run for team in teams for run in team["runs"]] or [row["run"] for row in alone]
    tests = [measure_test(run, data_folder=options.data_folder).accuracy for run in runs]
    model, _ = runs[0].load_model()
    facts = machine.facts(machine.choose_device())
    found = summary(name, claim_of(name), tests, training(alone[-1]["train_seconds"], facts)) | {
        "machine": facts,
        "parameters": count_parameters(model),
        "epochs": recipe.epochs,
        "batch_size": recipe.batch_size,
        "validation_accuracy": [run.picked.validation_accuracy for run in runs],
        "alone": [{key: row[key] for key in ("seconds", "train_seconds")} for row in alone],
        "together": {key: teams[0][key] for key in ("seeds", "seconds", "train_seconds")} if teams else None,
    }
    return [found, as_teams(found, teams, options)] if len(teams) > 1 else [found]


def claim_of(name: str) -> str:
    """Return what the recipe is compared with on a GPU: its goal in seconds of training, or its other claims."""
    goal = claims.on_gpu(name)
    return claims.describe([goal] if goal else claims.without_time(name))


def as_teams(found: dict[str, Any], teams: Sequence[dict[str, Any]], options: argparse.Namespace) -> dict[str, Any]:
    """Return the result of teams as ensembles."""
    name, took = f"{found['recipe']}, {options.seeds} together", training(teams[0]["train_seconds"], found["machine"])
    own = {
        "parameters": options.seeds * found["parameters"],
        "alone": [],
        "validation_accuracy": [accuracy(team["runs"], "validation") for team in teams],
    }
    return found | summary(name, found["claim"], [accuracy(team["runs"], "test") for team in teams], took) | own


def accuracy(team: Sequence[run_folder.Run], split: str) -> float:
    """Return the accuracy of the mean of a team's probabilities, from the logits stored in its run folders."""
    stored = [run_folder.read_logits(run.folder / run_folder.logits_name(split)) for run in team]
    return metrics.accuracy(mean_probabilities([logits for logits, _ in stored]), stored[0][1])


def train_alone(recipe: modiste.Recipe, options: argparse.Namespace) -> dict[str, Any]:
    """Train one seed; return its run, the seconds of the whole run and of training alone."""
    folder, started = options.runs / "alone" / f"{recipe.name}-{recipe.seed}", time.perf_counter()
    modiste.train(recipe, folder, data_folder=options.data_folder, quiet=True)
    synchronize()
    run = run_folder.open_run(folder)
    return {"run": run, "seconds": time.perf_counter() - started, "train_seconds": seconds(run)}


def train_together(recipe: modiste.Recipe, team: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train the seeds of a team at once; return their runs, the seconds of the whole and of training alone."""
    started, first = time.perf_counter(), team * options.seeds
    seeds = range(first, first + options.seeds)
    folders = modiste.train_seeds(recipe, seeds, options.runs, data_folder=options.data_folder, quiet=True)
    synchronize()
    whole, runs = time.perf_counter() - started, [run_folder.open_run(folder) for folder in folders]
    return {"runs": runs, "seeds": len(runs), "seconds": whole, "train_seconds": seconds(runs[0])}


def synchronize() -> None:
    """Wait until the GPU has finished its work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def as_markdown(record: dict[str, Any]) -> str:
    """Return the page."""
    newest = record["results"][-1]["machine"]
    return f"""# On a GPU

Seconds of training for one seed alone, and of the whole run with reading the data, validation and saving. They are
measured in the first run of a process, which includes loading and choosing kernels, and again in the next. Then seconds
of training for several seeds at once, and the ratio to one seed. Test accuracy is the mean over the seeds with their
standard deviation, each measured once after its training. In the rows of teams, n is the number of ensembles, which
average probabilities.

Every run is in `record.json`. Made by `{record["command"]}`.

| recipe | goal | test accuracy | seeds | validation | parameters | epochs | batch | alone | again | at once | on |
|---|---|---|---|---|---|---|---|---|---|---|---|
{rows(map(line, record["results"]))}

{newest["device"]}; {describe_machine(newest)}
This is the machine of the newest result; machine and commit of every result are in `record.json`.
"""


def line(found: dict[str, Any]) -> Sequence[object]:
    """Return a recipe's row."""
    accuracy, alone = found["test_accuracy"], found["alone"]
    return (
        f"`{found['recipe']}`",
        found["claim"],
        f"{accuracy['mean']:.2%}" + (f" ± {accuracy['sd']:.2%}" if found["n"] > 1 else ""),
        found["n"],
        f"{mean(found['validation_accuracy']):.2%}",
        f"{found['parameters']:,}",
        found["epochs"],
        found["batch_size"],
        of_whole(alone[0]) if alone else "",
        of_whole(alone[-1]) if len(alone) > 1 else "",
        at_once(found["together"], alone),
        found["machine"]["device"],
    )


def of_whole(row: dict[str, float]) -> str:
    """Return seconds of training and of the whole run as text."""
    return f"{row['train_seconds']:.2f} of {row['seconds']:.1f} s"


def at_once(together: dict[str, Any] | None, alone: Sequence[dict[str, float]]) -> str:
    """Return the seconds of several seeds together, and the ratio to one seed, as text."""
    if together is None:
        return ""
    took = f"{together['seeds']} in {together['train_seconds']:.2f} s"
    return took + (f" ({together['train_seconds'] / alone[-1]['train_seconds']:.1f} times)" if alone else "")


if __name__ == "__main__":
    main()
