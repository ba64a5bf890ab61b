"""Time the training of the paper's Listing 1, by Modiste and by the peers; write ``records/speed/training``.

    python benchmarks/time_training.py DATA_FOLDER [--rounds 3] [--epochs 3] [--out records/speed]

All train on the same 50,000 images in batches of 128 with Adam. The first epoch is not counted, because Keras traces
its graph in it; evaluation is not counted either. The machine's own rate is that of torch's product of two square
matrices, measured before each round.
"""

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

import modiste
from clock import MODISTE, matrix_multiply_rate, peer, spread, time_process
from modiste.models.registry import Task, build_model
from modiste.runs import run_folder
from record import Record, describe_machine, parser, provenance, rows, with_range

IMAGES = 50_000
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Arm:
    """A trainer: its name on the page, its precision, and a function that trains and returns seconds by epoch."""

    name: str
    precision: str
    train: Callable[[argparse.Namespace, Path], list[float]]


def main() -> None:
    arguments = parser(__doc__, "records/speed", rounds=3)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--epochs", type=int, default=3)
    options = arguments.parse_args()
    seconds: dict[str, list[float]] = {arm.name: [] for arm in ARMS}
    rates: dict[str, list[float]] = {name: [] for name in PRECISIONS}
    for number in range(options.rounds):
        for name, dtype in PRECISIONS.items():
            rates[name].append(matrix_multiply_rate(dtype))
        for arm in ARMS:
            with tempfile.TemporaryDirectory() as folder:
                epochs = arm.train(options, Path(folder))
            seconds[arm.name] += epochs[1:]
            print(f"round {number + 1}, {arm.name}: {IMAGES / median(epochs[1:]):,.0f} images/s", flush=True)
    record = summary(seconds, rates)
    Record(options.out, "training.json", "training.md").save(record, as_markdown(record))


def ours(precision: str) -> Callable[[argparse.Namespace, Path], list[float]]:
    """Return a function that trains the recipe ``paper`` in this precision."""

    def train(options: argparse.Namespace, folder: Path) -> list[float]:
        recipe = ("paper", "--precision", precision, "--epochs", options.epochs, "--data-folder", options.data)
        time_process((*MODISTE, "train", *recipe, "--quiet", "--device", "cpu", "--out", folder / "run"))
        return [row["train_seconds"] for row in run_folder.open_run(folder / "run").timing()]

    return train


def theirs(environment: str, script: str, backend: str = "") -> Callable[[argparse.Namespace, Path], list[float]]:
    """Return a function that trains a peer's Listing 1."""

    def train(options: argparse.Namespace, folder: Path) -> list[float]:
        command = peer(environment, script, "train", options.data, folder / "model.keras", "--epochs", options.epochs)
        done = time_process(command, {"KERAS_BACKEND": backend} if backend else None)
        return [row["train_seconds"] for row in done.last_line()["epochs"]]

    return train


ARMS = (
    Arm("Modiste, float32", "float32", ours("float32")),
    Arm("Modiste, bfloat16", "bfloat16", ours("bfloat16")),
    Arm("Keras on TensorFlow", "float32", theirs("keras_tensorflow", "listing1_keras.py", "tensorflow")),
    Arm("Keras on JAX", "float32", theirs("keras_jax", "listing1_keras.py", "jax")),
    Arm("PyTorch as its tutorials write it", "float32", theirs("pytorch", "listing1_pytorch.py")),
)
KERAS = "Keras on TensorFlow"


def summary(seconds: dict[str, list[float]], rates: dict[str, list[float]]) -> dict[str, Any]:
    """Return images per second, ratio to Keras, and share of the machine's own rate."""
    work = flop_per_image()
    arms = {}
    for arm in ARMS:
        speed = spread([IMAGES / each for each in seconds[arm.name]])
        share = speed["median"] * work / median(rates[arm.precision])
        ratio = speed["median"] * median(seconds[KERAS]) / IMAGES
        arms[arm.name] = {"images_per_second": speed, "against_keras": ratio, "share_of_rate": share}
    return provenance() | {
        "flop_per_image": work,
        "flop_per_second": {name: spread(values) for name, values in rates.items()},
        "arms": arms,
    }


def flop_per_image() -> float:
    """Return the FLOP of one image, forward and backward, in matrix products and convolutions."""
    task = Task(image_shape=(1, 28, 28), class_names=tuple("0123456789"))
    model = build_model(modiste.get_recipe("paper").model, task)
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(8, 1, 28, 28)).sum().backward()
    return counter.get_total_flops() / 8


def as_markdown(record: dict[str, Any]) -> str:
    """Return the page."""
    rates = {name: found["median"] / 1e9 for name, found in record["flop_per_second"].items()}
    epochs = next(iter(record["arms"].values()))["images_per_second"]["n"]
    return f"""# Training the paper's Listing 1

Images per second of training on 50,000 images in batches of 128: the median of {epochs} epochs, and the range.
Evaluation and the first epoch of each process are not counted. The third column is the ratio to Keras on TensorFlow in
the same run. The last column is the share of the rate at which torch multiplies matrices here in the same precision
({rates["float32"]:,.0f} GFLOP/s in float32, {rates["bfloat16"]:,.0f} in bfloat16), at
{record["flop_per_image"] / 1e6:.1f} MFLOP per image. Made by `{record["command"]}`.

| who | images per second | against Keras | share of the machine's rate |
|---|---|---|---|
{rows(line(name, arm) for name, arm in record["arms"].items())}

{describe_machine(record["machine"])}
"""


def line(name: str, arm: dict[str, Any]) -> tuple[object, ...]:
    """Return an arm's row of the table."""
    speed = with_range(arm["images_per_second"], ",.0f")
    return name, speed, f"{arm['against_keras']:.2f}", f"{arm['share_of_rate']:.0%}"


if __name__ == "__main__":
    main()
