"""Time the way from a command to a saved model, here and by Keras, in one run; write ``records/speed/to-accuracy``.

    python benchmarks/speed/to_accuracy.py DATA_FOLDER [RECIPE ...] [--seeds 10] [--keras-epochs 50]

The clock starts before the process and stops when it has ended: imports, reading and checking the data, training,
validation and saving are inside. The number of epochs is the recipe's, set beforehand; every seed is shown, and the
mean of the seconds leaves out the fastest and the slowest (after MLPerf's rules). Test accuracy is measured
afterwards, by its own door. Keras trains the paper's Listing 1 between two seeds: timed as a whole, and until it first
passes a mark on test, its evaluation left out.
"""

import argparse
import tempfile
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from clock import MODISTE, Timed, machine, peer, time_process, trimmed_mean

import modiste
from modiste import run_folder, runtime, storage

MARKS = {"sprint": 0.9132, "sprint-93": 0.93, "sprint-94": 0.94, "sprint-95": 0.95}
"""Test accuracy that each recipe is for."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("recipes", nargs="*", default=list(MARKS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--keras-epochs", type=int, default=50, help="0 leaves Keras out")
    parser.add_argument("--epochs", type=int, help="fewer epochs of ours, to try the script with")
    parser.add_argument("--out", type=Path, default=Path("records/speed"))
    options = parser.parse_args()
    ours: dict[str, list[dict[str, Any]]] = {name: [] for name in options.recipes}
    keras = None
    for seed in range(options.seeds):
        if options.keras_epochs and seed == options.seeds // 2:
            keras = train_keras(options)
        for name, done in ours.items():
            done.append(train_ours(name, seed, options))
            print(f"{name}, seed {seed}: {done[-1]['seconds']:.1f} s, {done[-1]['test_accuracy']:.2%}", flush=True)
    result = summary(ours, keras)
    storage.write_json(options.out / "to-accuracy.json", result)
    storage.write_text(options.out / "to-accuracy.md", as_markdown(result))


def train_ours(name: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train one seed of a recipe in a process of its own, then measure it."""
    words = ["train", name, "--seed", seed, "--quiet", "--device", "cpu", "--data-folder", options.data]
    if options.epochs:
        words += ["--epochs", options.epochs]
    with tempfile.TemporaryDirectory() as folder:
        done = time_process((*MODISTE, *words, "--out", Path(folder) / "run"))
        timing = run_folder.open_run(Path(folder) / "run").timing()
        found = modiste.evaluate(Path(folder) / "run", split="test", data_folder=options.data)
    return as_row(done, sum(row["train_seconds"] for row in timing), found.accuracy) | {"seed": seed}


def train_keras(options: argparse.Namespace) -> dict[str, Any]:
    """Train the paper's Listing 1 in Keras on TensorFlow."""
    words = ("train", options.data, "MODEL", "--epochs", options.keras_epochs)
    with tempfile.TemporaryDirectory() as folder:
        command = peer("keras_tensorflow", "listing1_keras.py", *words)
        path = Path(folder) / "model.keras"
        done = time_process([path if word == "MODEL" else word for word in command], {"KERAS_BACKEND": "tensorflow"})
    epochs = done.last_line()["epochs"]
    row = as_row(done, sum(row["train_seconds"] for row in epochs), epochs[-1]["test_accuracy"])
    return row | {"epochs": epochs}


def as_row(done: Timed, train_seconds: float, accuracy: float) -> dict[str, Any]:
    """Gather what one process came to."""
    return {
        "seconds": done.seconds,
        "train_seconds": train_seconds,
        "test_accuracy": accuracy,
        "peak_memory_bytes": done.peak_memory_bytes,
    }


def summary(ours: dict[str, list[dict[str, Any]]], keras: dict[str, Any] | None) -> dict[str, Any]:
    """Gather the figures of every recipe, with their ratios to Keras."""
    arms = {}
    for name, done in ours.items():
        accuracies = [row["test_accuracy"] for row in done]
        seconds = trimmed_mean([row["seconds"] for row in done])
        passed = first_pass(keras, MARKS.get(name, 1.0))
        arms[name] = {
            "mark": MARKS.get(name),
            "seconds": seconds,
            "train_seconds": trimmed_mean([row["train_seconds"] for row in done]),
            "test_accuracy": {"mean": mean(accuracies), "sd": stdev(accuracies) if len(done) > 1 else 0.0},
            "peak_memory_bytes": max(row["peak_memory_bytes"] for row in done),
            "keras_whole_ratio": keras["seconds"] / seconds if keras else None,
            "keras_first_pass_seconds": passed,
            "keras_first_pass_ratio": passed / seconds if passed else None,
            "runs": done,
        }
    facts = runtime.facts(torch.device("cpu"))
    return {"command": "python benchmarks/speed/to_accuracy.py", "machine": facts, "arms": arms, "keras": keras}


def first_pass(keras: dict[str, Any] | None, mark: float) -> float | None:
    """Return when Keras first had a test accuracy of ``mark``, in seconds; None when it never had."""
    rows = keras["epochs"] if keras else []
    return next((row["at_seconds"] for row in rows if row["test_accuracy"] >= mark), None)


def as_markdown(result: dict[str, Any]) -> str:
    """Write the page."""
    lines = []
    for name, arm in result["arms"].items():
        low, high = (pick(row["seconds"] for row in arm["runs"]) for pick in (min, max))
        accuracy, whole, first = arm["test_accuracy"], arm["keras_whole_ratio"], arm["keras_first_pass_ratio"]
        lines.append(
            f"| `{name}` | {arm['mark'] or 0:.2%} | {accuracy['mean']:.2%} ± {accuracy['sd']:.2%} | "
            f"{len(arm['runs'])} | "
            f"{arm['seconds']:.1f} ({low:.1f} to {high:.1f}) | {arm['train_seconds']:.1f} | "
            f"{arm['peak_memory_bytes'] / 1e9:.2f} GB | {ratio(whole)} | {ratio(first)} |"
        )
    table = "\n".join(lines)
    keras, beside = result["keras"], "Keras was left out."
    if keras:
        beside = f"Keras took {keras['seconds']:.0f} s for {len(keras['epochs'])} epochs, to "
        beside += f"{keras['test_accuracy']:.2%} on test."
    return f"""# From a command to a saved model

Seconds from the start of the process to its end, with the model saved: the mean over the seeds but for the fastest and
the slowest, and the range; of them, seconds of training alone. Ratios are to Keras on TensorFlow with the paper's
Listing 1 in the same run: the whole of its epochs, and the moment when it first passed the mark on test.
{beside} Made by `{result["command"]}`.

| recipe | mark | test accuracy | seeds | seconds | training | memory | Keras, whole | Keras, first at the mark |
|---|---|---|---|---|---|---|---|---|
{table}

{machine(result["machine"])}
"""


def ratio(value: float | None) -> str:
    """Write a ratio, or that there is none."""
    return f"{value:.1f} times" if value else "never"


if __name__ == "__main__":
    main()
