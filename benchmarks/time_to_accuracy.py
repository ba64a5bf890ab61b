"""Time from the start of a command to a saved model, by Modiste and by Keras; write ``records/speed``.

    python benchmarks/time_to_accuracy.py DATA_FOLDER [RECIPE ...] [--seeds 10] [--keras-epochs 50]

The whole process is timed: imports, reading and checking the data, training, validation and saving. The recipe fixes
the number of epochs. Every seed is shown; with five or more, the mean of the seconds leaves out the fastest and the
slowest, as in MLPerf's rules. Test accuracy is measured afterwards, by a separate evaluation. Keras trains the paper's
Listing 1 halfway through the seeds. It is timed to its last epoch, and until it first reaches the goal on test, both
without its evaluation. Every finished process is recorded at once with its commit; the same command resumes, and other
recipes are added. A ratio to Keras is given only to runs of the same commit, which were timed in the same session.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch

import modiste
from clock import MODISTE, Timed, peer, time_process, trimmed_mean
from modiste import machine
from modiste.recipes.claims import CLAIMS, on_cores
from modiste.runs import run_folder
from record import Record, describe_machine, parser, provenance, rows, summary, training

MARKS = {name: goal.accuracy for name in CLAIMS if (goal := on_cores(name)) and goal.accuracy}
"""Test accuracy of each recipe that has a goal on processor cores."""


def main() -> None:
    arguments = parser(__doc__, "records/speed")
    arguments.add_argument("data", type=Path)
    arguments.add_argument("recipes", nargs="*", default=list(MARKS))
    arguments.add_argument("--seeds", type=int, default=10)
    arguments.add_argument("--keras-epochs", type=int, default=50, help="0 leaves Keras out")
    arguments.add_argument("--epochs", type=int, help="fewer epochs of ours, to try the script with")
    options = arguments.parse_args()
    options.commit = machine.facts(torch.device("cpu"))["commit"] or "unknown"  # before the record itself changes
    files = Record(options.out)
    record = files.read() or {"command": "", "runs": {}, "keras": None}
    for seed in range(options.seeds):
        if options.keras_epochs and not record["keras"] and seed == options.seeds // 2:
            record["keras"] = train_keras(options)
            save(files, record)
        for name in options.recipes:
            done = record["runs"].setdefault(name, [])
            if seed not in [row["seed"] for row in done]:
                done.append(train_ours(name, seed, options))
                print(f"{name}, seed {seed}: {done[-1]['seconds']:.1f} s, {done[-1]['test_accuracy']:.2%}", flush=True)
                save(files, record)


def save(files: Record, record: dict[str, Any]) -> None:
    """Write the record and its page."""
    record |= provenance()
    runs, keras = record["runs"], record["keras"]
    record["results"] = [result(name, runs[name], keras, record["machine"]) for name in MARKS if name in runs]
    files.save(record, as_markdown(record))


def train_ours(name: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train one seed of a recipe in its own process, then evaluate it on test."""
    arguments = ["train", name, "--seed", seed, "--quiet", "--device", "cpu", "--data-folder", options.data]
    if options.epochs:
        arguments += ["--epochs", options.epochs]
    with tempfile.TemporaryDirectory() as folder:
        done = time_process((*MODISTE, *arguments, "--out", Path(folder) / "run"))
        timing = run_folder.open_run(Path(folder) / "run").timing()
        found = modiste.evaluate(Path(folder) / "run", split="test", data_folder=options.data)
    return as_row(done, sum(row["train_seconds"] for row in timing), found.accuracy) | {
        "seed": seed,
        "commit": options.commit,
    }


def train_keras(options: argparse.Namespace) -> dict[str, Any]:
    """Train the paper's Listing 1 in Keras on TensorFlow."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = ("train", options.data, Path(folder) / "model.keras", "--epochs", options.keras_epochs)
        done = time_process(peer("keras_tensorflow", "listing1_keras.py", *arguments), {"KERAS_BACKEND": "tensorflow"})
    epochs = done.last_line()["epochs"]
    row = as_row(done, sum(row["train_seconds"] for row in epochs), epochs[-1]["test_accuracy"])
    return row | {"epochs": epochs, "commit": options.commit}


def as_row(done: Timed, train_seconds: float, accuracy: float) -> dict[str, Any]:
    """Return the measurements of one process."""
    return {
        "seconds": done.seconds,
        "train_seconds": train_seconds,
        "test_accuracy": accuracy,
        "peak_memory_bytes": done.peak_memory_bytes,
    }


def result(
    name: str, runs: list[dict[str, Any]], keras: dict[str, Any] | None, facts: dict[str, Any]
) -> dict[str, Any]:
    """Return the results of a recipe, with ratios to Keras; ``facts`` describe the machine."""
    commits = sorted({row["commit"] for row in runs})
    if keras and commits != [keras["commit"]]:
        keras = None
    seconds, passed = trimmed_mean([row["seconds"] for row in runs]), first_pass(keras, MARKS[name])
    train_seconds = trimmed_mean([row["train_seconds"] for row in runs])
    accuracies = [row["test_accuracy"] for row in runs]
    return summary(name, str(on_cores(name)), accuracies, training(train_seconds, facts)) | {
        "seconds": seconds,
        "train_seconds": train_seconds,
        "peak_memory_bytes": max(row["peak_memory_bytes"] for row in runs),
        "commits": commits,
        "keras_whole_ratio": whole(keras) / seconds if keras else None,
        "keras_first_pass_ratio": passed / seconds if passed else None,
    }


def whole(keras: dict[str, Any]) -> float:
    """Return the seconds until Keras finished its last epoch."""
    seconds: float = keras["epochs"][-1]["at_seconds"]
    return seconds


def first_pass(keras: dict[str, Any] | None, mark: float) -> float | None:
    """Return the seconds until Keras first reached a test accuracy of ``mark``; None if it never did."""
    epochs = keras["epochs"] if keras else []
    return next((row["at_seconds"] for row in epochs if row["test_accuracy"] >= mark), None)


def as_markdown(record: dict[str, Any]) -> str:
    """Return the page."""
    return f"""# From a command to a saved model

Seconds from the start of the process to its end, with the model saved: the mean over the seeds, of five or more
without the fastest and the slowest, and the range. The next column is training alone. The mark is the accuracy that a
recipe aims at. Accuracy is the mean over the seeds with their standard deviation. Ratios are to Keras on TensorFlow
with the paper's Listing 1, timed halfway through the seeds of the command below: to all of its epochs, and to the time
until it first reached the mark on test. Rows of another commit were timed in another session, and have no ratio.
{beside(record["keras"])}
Every run is in `record.json`. Made by `{record["command"]}`.

| recipe | mark | test accuracy | seeds | seconds | training | memory | Keras, whole | Keras at the mark | commit |
|---|---|---|---|---|---|---|---|---|---|
{rows(line(found, record["runs"][found["recipe"]]) for found in record["results"])}

{describe_machine(record["machine"])}
"""


def line(found: dict[str, Any], runs: list[dict[str, Any]]) -> tuple[object, ...]:
    """Return a recipe's row of the table."""
    accuracy, seconds = found["test_accuracy"], [row["seconds"] for row in runs]
    return (
        f"`{found['recipe']}`",
        f"{100 * MARKS[found['recipe']]:g} %",
        f"{accuracy['mean']:.2%} ± {accuracy['sd']:.2%}",
        found["n"],
        f"{found['seconds']:.1f} ({min(seconds):.1f} to {max(seconds):.1f})",
        f"{found['train_seconds']:.1f}",
        f"{found['peak_memory_bytes'] / 1e9:.2f} GB",
        ratio(found["keras_whole_ratio"], "not timed"),
        ratio(found["keras_first_pass_ratio"], "never" if found["keras_whole_ratio"] else "not timed"),
        ", ".join(found["commits"]),
    )


def beside(keras: dict[str, Any] | None) -> str:
    """Return a sentence on the result of Keras."""
    if keras is None:
        return "Keras was left out."
    return (
        f"Keras took {whole(keras):.0f} s for {len(keras['epochs'])} epochs, without its evaluation, and reached "
        f"{keras['test_accuracy']:.2%} on test."
    )


def ratio(value: float | None, absent: str) -> str:
    """Return a ratio as text, or ``absent``."""
    return f"{value:.1f} times" if value else absent


if __name__ == "__main__":
    main()
