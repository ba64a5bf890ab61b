"""Agreement with people: a network's answers beside the labels that many people gave to the same test images.

The file of human labels is brought by whoever measures. Fashion-MNIST-H (Ishida et al., 2023) is under the GPL, so
Modiste neither ships nor downloads it: 10,000 rows of ten counts without a header, in the order of the test images.
"""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from modiste.benchmarks.result import Figure, Findings, Published
from modiste.benchmarks.settings import Settings
from modiste.benchmarks.subjects import Candidates, Subjects, share_by_class
from modiste.display import Table, percent
from modiste.errors import DataError, RecipeError, fault, reason_of, shown
from modiste.evaluation.assessment import class_names
from modiste.evaluation.calibration import fit_temperature
from modiste.evaluation.statistics import wilson_interval

CLEAR = 0.9
"""People agree on an image if at least this share of them gave it the same class."""
MOST_BYTES = 2**26
PUBLISHED = (
    Published(
        "majority of three people on 1,000 test images, against the published labels",
        "83.5 %",
        "zalandoresearch/fashion-mnist, README",
    ),
    Published(
        "majority of 53 to 79 people an image, against the published labels",
        "82.0 %",
        "counted in Fashion-MNIST-H, of Ishida, Yamane, Charoenphakdee, Niu and Sugiyama, 2023",
    ),
)
Counts = Int64[Tensor, "n classes"]


def read_counts(path: Path, images: int, classes: int) -> Counts:
    """Return how many people gave each class to each image, from a CSV file of whole numbers without a header.

    Raises:
        DataError: The file cannot be read, or does not have a row of counts for each image.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise fault(
                path, "too large", expected=f"at most {MOST_BYTES:,} bytes", found="more", remedy="check the file"
            )
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{shown(path)}: cannot be read ({reason_of(error)}); give a CSV file of counts") from error
    rows = [_row(path, number, line, classes) for number, line in enumerate(lines, 1) if line.strip()]
    if len(rows) != images:
        expected, remedy = f"{images:,} rows, one for each image", "give the labels of these images, without a header"
        raise fault(path, "another number of images", expected=expected, found=f"{len(rows):,}", remedy=remedy)
    return torch.tensor(rows)


def _row(path: Path, number: int, line: str, classes: int) -> list[int]:
    cells = [cell.strip() for cell in line.split(",")]
    counts = [int(cell) for cell in cells if cell.isascii() and cell.isdecimal() and len(cell) < 10]
    if len(counts) != len(cells) or len(counts) != classes or not sum(counts):
        raise fault(
            path,
            f"line {number} has no counts",
            expected=f"{classes} whole numbers, not all zero, with commas between them",
            found=repr(line.strip()[:60]),
            remedy="give the file of counts as it was published",
        )
    return counts


def check(settings: Settings) -> None:
    """Raise RecipeError if no file of human labels is given, or if it is to be compared with other images."""
    if settings.labels is None:
        raise RecipeError("human: expected a file of human labels, found none; give it: --labels fmh_counts.csv")
    if settings.split != "test":
        raise RecipeError(
            f"human: expected --split test, found {settings.split}; the file's labels are of the test images, in their "
            "order"
        )


def check_runs(settings: Settings, candidates: Candidates) -> None:
    """Raise DataError if the file of human labels cannot be read, or does not fit the images."""
    assert settings.labels is not None
    read_counts(settings.labels, len(candidates.images), len(class_names(candidates.runs[0])))


def measure(subjects: Subjects, settings: Settings) -> Findings:
    """Measure each run's agreement with people.

    Raises:
        DataError: The file cannot be read, or does not fit the images.
    """
    found = subjects.found
    assert settings.labels is not None
    counts = read_counts(settings.labels, len(found.labels), len(found.class_names))
    details = []
    for logits, run in zip(found.logits, found.runs, strict=True):
        known = run.measured()
        calibrated = logits.double() / fit_temperature(known.logits, known.labels)
        details.append(describe(calibrated, counts, found.labels, found.class_names))
    people = of_people(counts, found.labels, found.class_names)
    names = [str(run.folder) for run in found.runs]
    return Findings(
        figures=tuple(_figures(one, len(counts)) for one in details),
        details=tuple(details),
        tables=(_by_class(names, details, people), _of_people(people)),
        settings={"people": people},
    )


def describe(
    logits: Float[Tensor, "n classes"], counts: Counts, labels: Int64[Tensor, " n"], names: tuple[str, ...]
) -> dict[str, Any]:
    """Return how a network agrees with people.

    Where several classes have most of the counts, each of them is the majority's.

    Args:
        logits: Calibrated, of each image.
        counts: Counts of people's answers.
        labels: Published, by which the classes are listed.
        names: Names of the classes.
    """
    answers, shares = logits.argmax(1), counts.double() / counts.sum(1, keepdim=True)
    given = counts.gather(1, answers[:, None])[:, 0]
    agrees, is_clear = given == counts.amax(1), shares.amax(1) >= CLEAR
    return {
        "agreement": agrees.double().mean().item(),
        "agreement_by_class": share_by_class(agrees, labels, names),
        "clear_images": int(is_clear.sum()),
        "agreement_where_people_agree": agrees[is_clear].double().mean().item() if is_clear.any() else None,
        "cross_entropy": -(shares * logits.log_softmax(1)).sum(1).mean().item(),
        "alone": int((given == 0).sum()),
    }


def of_people(counts: Counts, labels: Int64[Tensor, " n"], names: tuple[str, ...]) -> dict[str, Any]:
    """Return people's own figures: how often they chose the published label, and their entropy in nats."""
    shares = counts.double() / counts.sum(1, keepdim=True)
    label = counts.gather(1, labels[:, None])[:, 0]
    return {
        "majority_is_label": (label == counts.amax(1)).double().mean().item(),
        "majority_is_label_by_class": share_by_class(label == counts.amax(1), labels, names),
        "person_is_label": shares.gather(1, labels[:, None]).mean().item(),
        "entropy": -torch.special.xlogy(shares, shares).sum(1).mean().item(),
    }


def _figures(one: dict[str, Any], images: int) -> dict[str, Figure]:
    agreed = round(one["agreement"] * images)
    found = {"agreement with the majority": Figure(one["agreement"], wilson_interval(agreed, images))}
    if (clear := one["agreement_where_people_agree"]) is not None:
        count = one["clear_images"]
        found["where people agree"] = Figure(clear, wilson_interval(round(clear * count), count))
    found["cross-entropy, nats"] = Figure(one["cross_entropy"], is_share=False)
    found["answers that nobody gave"] = Figure(one["alone"] / images, wilson_interval(one["alone"], images))
    return found


def _by_class(names: list[str], details: list[dict[str, Any]], people: dict[str, Any]) -> Table:
    columns = [one["agreement_by_class"] for one in details] + [people["majority_is_label_by_class"]]
    rows = [
        [name, *("no images" if column[name] is None else percent(column[name]) for column in columns)]
        for name in columns[0]
    ]
    header = ("published class", *names, "people and published label")
    return Table("Agreement with the majority of people, by published class", rows, header)


def _of_people(people: dict[str, Any]) -> Table:
    rows = [
        ["the majority gives the published label", percent(people["majority_is_label"])],
        ["a person gives the published label", percent(people["person_is_label"])],
        ["entropy of an image's answers, nats", f"{people['entropy']:.3f}"],
    ]
    return Table("People alone, on all images", rows, ("what", "figure"))
