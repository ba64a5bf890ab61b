"""Write ``records/team``: finished runs as one ensemble, its weights fitted on validation, measured on test.

    python benchmarks/team_record.py RUN RUN ... [--out records/team]

Each run's test set is opened once: where its logits on test are stored, they are read. Nothing is trained, and nothing
is chosen on test: name the runs that validation recommends (``modiste evaluate RUN RUN ... --ensemble --fit-weights``).
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from modiste.evaluation.ensemble import measure_runs, read_measured_runs
from modiste.evaluation.fitted_ensemble import FittedEnsemble, fitted_ensemble
from modiste.models.registry import count_parameters
from modiste.recipes.plain import to_plain
from modiste.runs import run_folder
from modiste.runs.run_folder import Run, open_run
from record import Record, describe_machine, duration, measure_test, parser, place, provenance, rows, seconds

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
    found = fitted_ensemble(known, read_measured_runs(folders, "test"))
    runs = [open_run(folder) for folder in folders]
    record = as_plain(found, runs, [one.accuracy for one in known.assessments])
    Record(out).save(record, as_markdown(record))


def as_plain(found: FittedEnsemble, runs: Sequence[Run], validation: Sequence[float]) -> dict[str, Any]:
    """Return all numbers as plain data.

    Args:
        found: the ensemble on test.
        runs: its runs.
        validation: accuracy of each on validation.
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

| run | weight | validation | test | parameters | training | test openings | SHA-256 of the model |
|---|---|---|---|---|---|---|---|
{rows(map(run_row, runs))}

All fields of each recipe are in `record.json`. A checker trains each recipe with its seed, then runs the command above.
{fingerprints(record["data_fingerprints"])}

## Machine

Of the measuring: {describe_machine(record["machine"])}
"""


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
