"""Write ``records/team``: finished runs as one ensemble, its weights fitted on validation, measured on test.

    python benchmarks/team_record.py RUN RUN ... [--out records/team]

Each run's test set is opened once: where its logits on test are stored, they are read. Nothing is trained, and nothing
is chosen on test: name the runs that validation recommends (``modiste evaluate RUN RUN ... --ensemble --fit-weights``).
If every seed has the same recipes, at least two of them, the record also has an ensemble for each seed, and their mean.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from modiste.evaluation.ensemble import MeasuredRuns, measure_runs, read_measured_runs
from modiste.evaluation.fitted_ensemble import FittedEnsemble, fitted_ensemble
from modiste.models.registry import count_parameters
from modiste.recipes.plain import to_plain
from modiste.reproduction.paper import mean_and_spread
from modiste.runs import run_folder
from modiste.runs.run_folder import Run
from record import (
    Record,
    describe_machine,
    duration,
    measure_test,
    parser,
    place,
    provenance,
    rows,
    seconds,
    summary,
    training,
)

HASH_DIGITS = 12
"""Digits of a model file's SHA-256 on the page; the JSON has all."""


def main() -> None:
    arguments = parser(__doc__, "records/team")
    arguments.add_argument("runs", nargs="+", type=Path)
    arguments.add_argument("--data-folder", type=Path, default=None)
    options = arguments.parse_args()
    write_record(options.out, options.runs, options.data_folder)
    print(f"{options.out}/README.md")


def write_record(out: Path, folders: Sequence[Path], data_folder: Path | None = None) -> None:
    """Measure the runs and their ensemble, and write both files of the record."""
    known = measure_runs(folders, data_folder=data_folder)
    for run in known.runs:
        measure_test(run, data_folder=data_folder)
    measured = read_measured_runs(folders, "test")
    record = as_plain(fitted_ensemble(known, measured), measured.runs, [one.accuracy for one in known.assessments])
    record |= of_each_seed(known, measured)
    Record(out).save(record, as_markdown(record))


def of_each_seed(known: MeasuredRuns, measured: MeasuredRuns) -> dict[str, Any]:
    """Return the accuracy on test of one ensemble for each seed, and its summary; nothing if seeds have unlike recipes.

    Args:
        known: The runs on validation, where weights are fitted.
        measured: The same runs on test.
    """
    places = dict[int, list[int]]()
    for number, run in enumerate(measured.runs):
        places.setdefault(run.recipe.seed, []).append(number)
    names = {seed: sorted(measured.runs[one].recipe.name for one in own) for seed, own in places.items()}
    first = next(iter(names.values()))
    if len(names) < 2 or len(first) < 2 or any(own != first for own in names.values()):
        return {}
    found = {seed: fitted_ensemble(some_of(known, own), some_of(measured, own)) for seed, own in places.items()}
    accuracies = [one.together.accuracy for one in found.values()]
    members = [measured.runs[one] for one in next(iter(places.values()))]
    time = training(sum(map(seconds, members)), members[0].facts()[-1])
    name = f"{' and '.join(first)} together"
    return {
        "seeds": {str(seed): asdict(one.together) | {"weights": one.weights} for seed, one in found.items()},
        "results": [summary(name, "96.6 % (our goal)", accuracies, time)],
    }


def some_of(measured: MeasuredRuns, places: Sequence[int]) -> MeasuredRuns:
    """Return some of the runs."""
    parts = {name: tuple(getattr(measured, name)[one] for one in places) for name in ("runs", "assessments", "logits")}
    return replace(measured, **parts)


def as_plain(found: FittedEnsemble, runs: Sequence[Run], validation: Sequence[float]) -> dict[str, Any]:
    """Return all numbers as plain data.

    Args:
        found: The ensemble on test.
        runs: Its runs.
        validation: Accuracy of each on validation.
    """
    return {
        **provenance(),
        "data_fingerprints": sorted({run.load_info().fingerprint for run in runs}),
        "together": asdict(found.together),
        "equal": asdict(found.equal),
        "cross_fitted": asdict(found.cross_fitted),
        "runs": [
            {
                "recipe": run.recipe.name,
                "seed": run.recipe.seed,
                "fields": to_plain(run.recipe),
                "parameters": count_parameters(run.load_model()[0]),
                "weight": weight,
                "validation_accuracy": accuracy,
                "test_accuracy": test.accuracy,
                "train_seconds": seconds(run),
                "starts": run.facts(),
                "sha256": run.files[run_folder.WEIGHTS["picked"]],
                "test_openings": run.test_openings,
            }
            for run, weight, accuracy, test in zip(runs, found.weights, validation, found.runs, strict=True)
        ],
    }


def as_markdown(record: dict[str, Any]) -> str:
    """Return the page: the ensemble, its runs, and what a checker needs to repeat it."""
    runs, together = record["runs"], record["together"]
    low, high = together["accuracy_interval"]
    return f"""# An ensemble of {len(runs)} runs

Made by `{record["command"]}`. The ensemble sums the logits of its runs. The {len(runs)} weights were fitted on the
{record["cross_fitted"]["images"]:,} validation images, and nothing was chosen on test.

**Accuracy on test: {together["accuracy"]:.2%}** (95 % interval {low:.2%} to {high:.2%}, over
{together["images"]:,} images), cross-entropy {together["loss"]:.4f}.

| ensemble | measured on | accuracy | cross-entropy |
|---|---|---|---|
{rows(ensemble_rows(record))}

Cross-fitted: weights of one half of the validation images measured on the other half, both ways.
{seeds_sentence(record)}
| run | weight | validation | test | parameters | training | test openings | SHA-256 of the model |
|---|---|---|---|---|---|---|---|
{rows(map(run_row, runs))}

All fields of each recipe are in `record.json`. A checker trains each recipe with its seed, then runs the command above.
{fingerprints(record["data_fingerprints"])}

## Machine

Of the measuring: {describe_machine(record["machine"])}
"""


def seeds_sentence(record: dict[str, Any]) -> str:
    """Return the sentence on the ensembles of one seed each; empty if there are none."""
    if "results" not in record:
        return ""
    values = record["results"][0]["test_accuracy"]["values"]
    listed = ", ".join(f"{value:.2%} (seed {seed})" for seed, value in zip(record["seeds"], values, strict=True))
    return f"\n**One ensemble for each seed: {mean_and_spread(values)}** on test, with weights of its own: {listed}.\n"


def ensemble_rows(record: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return a row for each way to combine the runs."""
    named = {"weights from validation": "together", "mean of probabilities": "equal", "cross-fitted": "cross_fitted"}
    found = [(name, record[key]) for name, key in named.items()]
    return [(name, one["split"], f"{one['accuracy']:.2%}", f"{one['loss']:.4f}") for name, one in found]


def run_row(run: dict[str, Any]) -> tuple[str, ...]:
    """Return the row of a run."""
    return (
        f"`{run['recipe']}`, seed {run['seed']}",
        f"{run['weight']:.3f}",
        f"{run['validation_accuracy']:.2%}",
        f"{run['test_accuracy']:.2%}",
        f"{run['parameters']:,}",
        f"{duration(run['train_seconds'])}, {place(run['starts'][-1])}",
        str(run["test_openings"]),
        f"`{run['sha256'][:HASH_DIGITS]}`",
    )


def fingerprints(found: Sequence[str]) -> str:
    """Return the sentence about the hashes of the training data."""
    noun = "fingerprint" if len(found) == 1 else "fingerprints"
    return f"The training data have the {noun} {', '.join(f'`{one}`' for one in found)}."


if __name__ == "__main__":
    main()
