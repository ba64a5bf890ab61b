"""The command line and the clocks that the peers share."""

import argparse
import json
import time
from collections.abc import Callable
from statistics import median
from typing import Any

STARTED = time.perf_counter()
"""Time of this process's first line; the caller's clock around the whole process is the one that counts."""


def run(train: Callable[..., dict[str, Any]], predict: Callable[..., dict[str, Any]]) -> None:
    """Run ``train`` or ``predict`` as the command line says, and print the result as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("action", choices=("train", "predict"))
    parser.add_argument("data")
    parser.add_argument("model")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", type=int, help="train on fewer images, to try the script with")
    options = parser.parse_args()
    found = train(options) if options.action == "train" else predict(options)
    print(json.dumps({**found, "seconds": time.perf_counter() - STARTED}))


class Epochs:
    """Seconds of each epoch, and accuracy on test; the time of measuring it is not counted."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self.measuring = 0.0

    def begin(self) -> None:
        """Start the clock of an epoch."""
        self.start = time.perf_counter()

    def end(self, accuracy: Callable[[], float]) -> None:
        """Stop the clock, then measure the accuracy."""
        trained = time.perf_counter()
        row = {"train_seconds": trained - self.start, "at_seconds": trained - STARTED - self.measuring}
        row["test_accuracy"] = float(accuracy())
        self.measuring += time.perf_counter() - trained
        self.rows.append(row)


def median_seconds(action: Callable[[], Any], repetitions: int) -> float:
    """Return the median seconds of an action, after one repetition that is not counted."""
    action()
    times = []
    for _ in range(repetitions):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return median(times)
