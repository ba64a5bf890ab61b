"""Simulate weeks of a served model, with and without drift, and count the alarms; write ``records/drift``.

    python benchmarks/simulate_drift.py MODEL [--weeks 100] [--answers 1000] [--out records/drift]

MODEL is an ONNX file of a network for Fashion-MNIST, or the folder of its run. For every week the validation images are
divided anew: one half is the reference, and the week's pictures come from the other.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage

import other_things
from modiste.data.dataset import load_development
from modiste.evaluation.statistics import wilson_interval
from modiste.evaluation.two_samples import significant_distance
from modiste.exports.export import REFERENCE_IMAGES
from modiste.inference.onnx_model import OnnxModel
from modiste.monitoring.answer_log import LoggedAnswers
from modiste.monitoring.drift import LEAST_DISTANCE, LEAST_INDEX, LEVEL, Drift, compare
from modiste.monitoring.reference import Reference
from modiste.runs.manifest import onnx_file
from record import Record, describe_machine, parser, provenance, rows

SEED = 0
SHOES = (5, 7, 9)
"""Labels of sandals, sneakers and ankle boots."""
SHARES = (1.0, 0.25, 0.1)
"""Shares of a week's pictures that are changed."""
DAYS = ("2026-11-23", "2026-11-29")
"""Of every simulated week; they do not matter."""
Pixels = np.ndarray


@dataclass(frozen=True)
class Columns:
    """Answers to the same pictures in the same order: class, confidence and novelty of each."""

    classes: Pixels
    confidence: Pixels
    novelty: Pixels

    @classmethod
    def of(cls, model: OnnxModel, images: Pixels) -> "Columns":
        """Return the answers for images (N, C, H, W), rounded as a log rounds them."""
        found = model.classify(images)
        assert found.novelty is not None
        return cls(found.probabilities.argmax(1), found.probabilities.max(1).astype(float).round(6), found.novelty)

    def __getitem__(self, chosen: Pixels) -> "Columns":
        return Columns(self.classes[chosen], self.confidence[chosen], self.novelty[chosen])

    def __add__(self, other: "Columns") -> "Columns":
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Columns(*(np.concatenate(pair) for pair in pairs))

    def as_reference(self) -> Reference:
        return Reference.of(self.classes, self.confidence, self.novelty, 10)

    def as_log(self) -> LoggedAnswers:
        return LoggedAnswers(self.classes, self.confidence, self.novelty, DAYS)


def main() -> None:
    arguments = parser(__doc__, "records/drift")
    arguments.add_argument("model", type=Path)
    arguments.add_argument("--weeks", type=int, default=100)
    arguments.add_argument("--answers", type=int, default=1000)
    options = arguments.parse_args()
    model = OnnxModel.load(onnx_file(options.model))
    validation = load_development().validation
    images, labels = validation.images.numpy(), validation.labels.numpy()
    record = provenance() | {
        "recipe": model.metadata["recipe"],
        "weeks": options.weeks,
        "answers": options.answers,
        "images": images_part(model, images, labels, options.weeks, options.answers),
    }
    Record(options.out).save(record, as_markdown(record))


def images_part(model: OnnxModel, images: Pixels, labels: Pixels, weeks: int, answers: int) -> dict[str, Any]:
    """Return the alarms of simulated weeks of validation images."""
    same, others = Columns.of(model, images), Columns.of(model, other_images(len(images) // 5))
    changed = {name: Columns.of(model, change(images)) for name, change in CHANGES.items()}
    found = {"unchanged": alarms(halves_of(same, same, weeks, answers, 0.0))}
    for name, columns in changed.items():
        for share in SHARES:
            found[f"{name}, {share:.0%}"] = alarms(halves_of(same, columns, weeks, answers, share))
            print(name, share, found[f"{name}, {share:.0%}"], flush=True)
    for share in SHARES:
        found[f"other data, {share:.0%}"] = alarms(with_others(same, others, weeks, answers, share))
    for share in (0.6, 0.4):
        found[f"class mix, {share:.0%} shoes"] = alarms(with_shoes(same, labels, weeks, answers, share))
    return found


def halves_of(
    same: Columns, changed: Columns, weeks: int, answers: int, share: float
) -> Iterable[tuple[Columns, Columns]]:
    """Yield reference and week, from different halves of the pictures; a share of the week is changed."""
    for week in range(weeks):
        order = np.random.default_rng((SEED, week)).permutation(len(same.classes))
        half, some = np.split(order, [len(order) // 2])
        number = round(share * answers)
        yield same[half[:REFERENCE_IMAGES]], changed[some[:number]] + same[some[number:answers]]


def with_others(
    same: Columns, others: Columns, weeks: int, answers: int, share: float
) -> Iterable[tuple[Columns, Columns]]:
    """Yield reference and week; a share of the week's pictures show something else."""
    number = round(share * answers)
    for week, (reference, whole) in enumerate(halves_of(same, same, weeks, answers, 0.0)):
        chosen = np.random.default_rng((SEED, week)).permutation(len(others.classes))[:number]
        yield reference, whole[np.arange(answers - number)] + others[chosen]


def with_shoes(
    same: Columns, labels: Pixels, weeks: int, answers: int, share: float
) -> Iterable[tuple[Columns, Columns]]:
    """Yield reference and week; a share of the week's pictures show shoes, instead of three in ten."""
    for week in range(weeks):
        order = np.random.default_rng((SEED, week)).permutation(len(labels))
        half, some = np.split(order, [len(order) // 2])
        shoes = np.isin(labels[some], SHOES)
        number = round(share * answers)
        yield (
            same[half[:REFERENCE_IMAGES]],
            same[np.concatenate([some[shoes][:number], some[~shoes][: answers - number]])],
        )


def alarms(weeks: Iterable[tuple[Columns, Columns]]) -> dict[str, Any]:
    """Return in how many weeks drift was found, with the interval of that share, and in which quantities."""
    found: list[Drift] = [
        compare(reference.as_reference(), week.as_log(), [str(number) for number in range(10)])
        for reference, week in weeks
    ]
    drifted = [{shift.name for shift in one.drifted} for one in found]
    count = sum(map(bool, drifted))
    return {
        "weeks": len(found),
        "found": count,
        "interval": wilson_interval(count, len(found)),
        "in": {name: sum(name in one for one in drifted) for name in ("classes", "confidence", "novelty")},
    }


def darker(images: Pixels) -> Pixels:
    """Return images with 60 % of their brightness."""
    return (images * 0.6).astype(np.uint8)


def blurred(images: Pixels) -> Pixels:
    """Return images after a Gaussian filter with a deviation of one pixel."""
    return ndimage.gaussian_filter(images.astype(float), (0, 0, 1, 1)).round().astype(np.uint8)


def rotated(images: Pixels) -> Pixels:
    """Return images turned by 15 degrees."""
    turned = ndimage.rotate(images.astype(float), 15, axes=(2, 3), reshape=False, order=1)
    return turned.clip(0, 255).round().astype(np.uint8)


CHANGES: dict[str, Callable[[Pixels], Pixels]] = {"darker": darker, "blurred": blurred, "rotated": rotated}


def other_images(count: int) -> Pixels:
    """Return images of no class: the generated ones of ``other_things``, scaled to the network's size."""
    random, makers = np.random.default_rng(SEED), list(other_things.MAKERS.values())
    made = (makers[number % len(makers)](random) for number in range(count))
    small = [Image.fromarray(np.asarray(one).clip(0, 255).astype(np.uint8)).resize((28, 28)) for one in made]
    return np.stack([255 - np.asarray(one) for one in small])[:, None]


def as_markdown(record: dict[str, Any]) -> str:
    """Return the page of the record."""
    smallest = significant_distance(LEVEL / 3, record["answers"], REFERENCE_IMAGES)
    return f"""# Drift

Alarms of `modiste drift` in simulated weeks, with a network of recipe `{record["recipe"]}`. For every week the
validation images are divided anew: one half is the reference, of which {REFERENCE_IMAGES:,} images count; the week's
{record["answers"]:,} pictures come from the other. A percentage after a change is the share of the week's pictures that
are changed. Made by `{record["command"]}`.

{_table(record["images"])}

darker: 60 % of the brightness; blurred: Gaussian, one pixel; rotated: 15 degrees; other data: noise, textures, digits,
letters, drawn faces; class mix: more shoes than the three in ten of the reference.

Drift is an adjusted p-value below {LEVEL}, with a distance of {LEAST_DISTANCE} or, for classes, a stability index of
{LEAST_INDEX}. Changes that go unnoticed are small. A week of this size shows a distance of {smallest:.3f}. If a quarter
of the pictures is darker, or a tenth blurred or rotated, the distances are about as large, and smaller in many weeks.
With 40 % shoes the stability index stays below {LEAST_INDEX}.

{describe_machine(record["machine"])}
"""


def _table(found: dict[str, Any]) -> str:
    lines = [
        (
            name,
            f"{one['found']} of {one['weeks']}",
            " to ".join(f"{end:.0%}" for end in one["interval"]),
            *one["in"].values(),
        )
        for name, one in found.items()
    ]
    head = ("week", "drift found", "95 % interval", "in classes", "confidence", "novelty")
    return rows([head, ["---"] * len(head), *lines])


if __name__ == "__main__":
    main()
