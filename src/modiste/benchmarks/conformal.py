"""Prediction sets of a stated coverage: how often they hold the label, and how large they are."""

from math import sqrt
from statistics import mean
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from modiste import machine
from modiste.benchmarks.result import Figure, Findings
from modiste.benchmarks.settings import Settings
from modiste.benchmarks.subjects import Subjects, share_by_class
from modiste.display import Table, percent
from modiste.evaluation.calibration import fit_temperature
from modiste.evaluation.conformal import METHODS, expected_interval, prediction_sets, threshold
from modiste.evaluation.coverage import check_coverage
from modiste.evaluation.statistics import NORMAL_95, wilson_interval

DIVISIONS = 1000
"""Random divisions of the validation images in half that check the coverage; a hundred say little."""
Labelled = tuple[Float[Tensor, "_ k"], Int64[Tensor, " _"]]
"""Logits, or a score, and labels."""


def check(settings: Settings) -> None:
    """Raise RecipeError if the coverage is out of range."""
    check_coverage(settings.coverage)


def measure(subjects: Subjects, settings: Settings) -> Findings:
    """Measure coverage and size of the sets of each method, calibrated on validation images.

    On validation a random half of the images calibrates, and the other half is measured. On test all validation images
    calibrate. They also selected the epoch, so coverage on test may fall a little below the stated one.
    """
    details, count = [], len(subjects.found.labels)
    for number, run in enumerate(subjects.found.runs):
        known = run.measured()
        validation = known.logits, known.labels
        measured = subjects.found.logits[number], subjects.found.labels
        calibration, measured = halved(validation, 0) if subjects.split == "validation" else (validation, measured)
        details.append(
            {
                method: {
                    **describe(calibration, measured, settings.coverage, method, subjects.found.class_names),
                    **over_divisions(validation, settings.coverage, method),
                }
                for method in METHODS
            }
        )
    names = [str(run.folder) for run in subjects.found.runs]
    tables = [_table(name, one) for name, one in zip(names, details, strict=True)]
    return Findings(
        figures=tuple(map(_figures, details)),
        details=tuple(details),
        tables=tuple(tables),
        settings={"coverage": settings.coverage, "divisions": DIVISIONS},
        measured=count - count // 2 if subjects.split == "validation" else None,
    )


def halved(images: Labelled, number: int) -> tuple[Labelled, Labelled]:
    """Return two random halves of labelled images; ``number`` seeds the division."""
    logits, labels = images
    order = torch.randperm(len(labels), generator=machine.generator(number, "conformal division"))
    first, second = order[: len(order) // 2], order[len(order) // 2 :]
    return (logits[first], labels[first]), (logits[second], labels[second])


def describe(
    calibration: Labelled, measured: Labelled, coverage: float, method: str, names: tuple[str, ...]
) -> dict[str, Any]:
    """Return coverage and size of the sets, with their 95 % intervals; that of the size is None for a single image.

    Args:
        calibration: What sets the threshold.
        measured: Other images.
        coverage: That is stated.
        method: A key of METHODS.
        names: Names of the classes.
    """
    logits, labels = measured
    sets = prediction_sets(calibration, logits, coverage, method)
    holds, sizes = _holds(sets, labels), sets.sum(1).double()
    mean_size = sizes.mean().item()
    half = NORMAL_95 * sizes.std().item() / sqrt(len(sizes)) if len(sizes) > 1 else None
    return {
        "coverage": holds.double().mean().item(),
        "coverage_interval": wilson_interval(int(holds.sum()), len(holds)),
        "expected_interval": expected_interval(len(calibration[1]), len(labels), coverage),
        "mean_size": mean_size,
        "mean_size_interval": None if half is None else (max(0.0, mean_size - half), mean_size + half),
        "sizes": torch.bincount(sets.sum(1), minlength=len(names) + 1).tolist(),
        "coverage_by_class": share_by_class(holds, labels, names),
    }


def over_divisions(images: Labelled, coverage: float, method: str) -> dict[str, float]:
    """Return the mean coverage over DIVISIONS divisions in half, and the share of them within the expected interval.

    The temperature is fitted once, to all images. The scores then do not depend on the division, as the law behind the
    interval asks.
    """
    found, (logits, labels) = [], images
    probabilities = (logits.double() / fit_temperature(logits, labels)).softmax(1)
    scores = METHODS[method].scores(probabilities, machine.generator(0, "conformal")).gather(1, labels[:, None])
    for number in range(DIVISIONS):
        (first, _), (second, _) = halved((scores, labels), number)
        found.append((second <= threshold(first[:, 0], coverage)).double().mean().item())
    count = len(labels)
    low, high = expected_interval(count // 2, count - count // 2, coverage)
    return {
        "mean_coverage_of_divisions": mean(found),
        "divisions_within_interval": mean(low <= one <= high for one in found),
    }


def _holds(sets: Bool[Tensor, "n classes"], labels: Int64[Tensor, " n"]) -> Bool[Tensor, " n"]:
    return sets.gather(1, labels[:, None])[:, 0]


def _figures(by_method: dict[str, dict[str, Any]]) -> dict[str, Figure]:
    found = {}
    for method, one in by_method.items():
        found[f"coverage, {method}"] = Figure(one["coverage"], one["coverage_interval"])
        found[f"size, {method}"] = Figure(one["mean_size"], one["mean_size_interval"], is_share=False)
    return found


def _table(name: str, by_method: dict[str, dict[str, Any]]) -> Table:
    rows = [
        [
            f"{method}, {METHODS[method].about}",
            percent(one["coverage"]),
            " to ".join(map(percent, one["expected_interval"])),
            f"{one['mean_size']:.3f}",
            percent(one["sizes"][1] / sum(one["sizes"])),
            percent(one["sizes"][0] / sum(one["sizes"])),
            percent(min(value for value in one["coverage_by_class"].values() if value is not None)),
            f"{DIVISIONS * one['divisions_within_interval']:.0f} of {DIVISIONS:,}",
        ]
        for method, one in by_method.items()
    ]
    header = ("sets", "coverage", "expected", "mean size", "one class", "none", "worst class", "divisions as expected")
    return Table(f"Prediction sets, {name}", rows, header)
