"""Time prediction with a loaded model, by Modiste and by the peers; write ``records/speed/prediction``.

    python benchmarks/time_prediction.py DATA_FOLDER [--rounds 5] [--runs runs/speed]

Every process times 10,000 images at once and one image at a time, in memory, after a warm-up. Modiste predicts with
Listing 1 and ``sprint``: through the predictor, in the precision of the run and in bfloat16, and as ONNX files in ONNX
Runtime, in float32 and in eight bits. Models that are missing are trained first.
"""

import argparse
import sys
from pathlib import Path
from statistics import median
from typing import Any

from clock import MODISTE, peer, spread, time_process
from modiste.runs.run_folder import open_run
from prediction import FILES
from record import Record, describe_machine, parser, provenance, rows, with_range

Commands = dict[tuple[str, str], tuple[tuple[object, ...], dict[str, str]]]
"""By network and predictor: a command, and its additional environment variables."""
HERE = Path(__file__).parent
RECIPES = {"paper": "Listing 1", "sprint": "`sprint`"}
PEER_NAMES = {
    "keras_tensorflow": ("listing1_keras.py", "Listing 1", "Keras on TensorFlow, `model.predict`"),
    "keras_jax": ("listing1_keras.py", "Listing 1", "Keras on JAX, `model.predict`"),
    "pytorch": ("listing1_pytorch.py", "Listing 1", "PyTorch as its tutorials write it"),
    "scikit_learn": ("mlp_scikit_learn.py", "an MLP", "scikit-learn's MLP"),
}
PREDICTORS = {
    "predictor": "Modiste's predictor",
    "bfloat16": "the same in bfloat16",
    "onnx": "Modiste's ONNX file in ONNX Runtime",
    "int8": "the same in eight bits",
}
"""The kinds of predictor that ``prediction.py`` times, and their names on the page."""
BASELINE = "Keras on TensorFlow, `model.predict`"
"""The predictor that ratios refer to."""


def main() -> None:
    arguments = parser(__doc__, "records/speed", rounds=5)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--runs", type=Path, default=Path("runs/speed"))
    options = arguments.parse_args()
    commands = {**ours(options), **theirs(options)}
    found: dict[tuple[str, str], list[dict[str, Any]]] = {who: [] for who in commands}
    for number in range(options.rounds):
        for who, (command, environment) in commands.items():
            found[who].append(time_process(command, environment).last_line())
            print(f"round {number + 1}, {', '.join(who)}: {found[who][-1]}", flush=True)
    record = summary(found)
    Record(options.out, "prediction.json", "prediction.md").save(record, as_markdown(record))


def ours(options: argparse.Namespace) -> Commands:
    """Train and export what is missing; return the commands that time our predictors."""
    commands: Commands = {}
    for recipe, network in RECIPES.items():
        run = options.runs / recipe
        short = ("--epochs", 1) if recipe == "paper" else ()
        time_process((*MODISTE, "train", recipe, *short, "--quiet", "--data-folder", options.data, "--out", run))
        for kind, file in FILES.items():
            if not (run / file).exists():
                arguments = ("export", run, "--out", run / file, *(("--int8",) if kind == "int8" else ()))
                time_process((*MODISTE, *arguments, "--data-folder", options.data))
        for kind, who in PREDICTORS.items():
            if kind == "bfloat16" and open_run(run).recipe.precision == "bfloat16":
                continue
            commands[network, who] = ((sys.executable, HERE / "prediction.py", kind, run, options.data), {})
    return commands


def theirs(options: argparse.Namespace) -> Commands:
    """Train each peer whose model is missing for an epoch; return the commands that time the peers."""
    commands: Commands = {}
    for environment, (script, network, who) in PEER_NAMES.items():
        model = options.runs / f"{environment}.keras"
        backend = {"KERAS_BACKEND": environment.removeprefix("keras_")} if "keras" in environment else {}
        if not model.exists():
            time_process(peer(environment, script, "train", options.data, model), backend)
        commands[network, who] = (peer(environment, script, "predict", options.data, model), backend)
    return commands


def summary(found: dict[tuple[str, str], list[dict[str, Any]]]) -> dict[str, Any]:
    """Return medians, ranges and ratios to the baseline."""
    base = next(rounds for (_, who), rounds in found.items() if who == BASELINE)
    arms = []
    for (network, who), rounds in found.items():
        arm: dict[str, Any] = {"network": network, "who": who}
        for clock in ("batch_seconds", "single_seconds"):
            arm[clock] = spread([row[clock] for row in rounds])
            arm[f"{clock}_ratio"] = median([row[clock] for row in base]) / arm[clock]["median"]
        arm["validation_accuracy"] = rounds[0].get("validation_accuracy")
        arms.append(arm)
    return provenance() | {"arms": arms}


def as_markdown(record: dict[str, Any]) -> str:
    """Return the page."""
    return f"""# Prediction

A loaded model, images and answers in memory: 10,000 images at once, and one image at a time. The numbers are the median
over {record["arms"][0]["batch_seconds"]["n"]} processes of each process's median after a warm-up, and the range.
"Times" is the speed-up over `model.predict` of Keras on TensorFlow with Listing 1. Our models were trained for one
epoch; their accuracy shows what a precision costs. Made by `{record["command"]}`.

| network | who | 10,000 images, ms | times | one image, ms | times | validation accuracy |
|---|---|---|---|---|---|---|
{rows(line(arm) for arm in record["arms"])}

{describe_machine(record["machine"])}
"""


def line(arm: dict[str, Any]) -> tuple[object, ...]:
    """Return the row of a predictor."""
    batch, single = arm["batch_seconds"], arm["single_seconds"]
    return (
        arm["network"],
        arm["who"],
        with_range(batch, ".0f", 1e3),
        f"{arm['batch_seconds_ratio']:.1f}",
        with_range(single, ".3f", 1e3),
        f"{arm['single_seconds_ratio']:.1f}",
        "" if arm["validation_accuracy"] is None else f"{arm['validation_accuracy']:.2%}",
    )


if __name__ == "__main__":
    main()
