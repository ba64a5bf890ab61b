"""Measure how drawings are judged, sensible ones and nonsense; write ``records/photos/drawings.md`` and ``.json``.

    python benchmarks/drawing_record.py RUN ... [--count 100] [--out records/photos]
    python benchmarks/drawing_record.py --write

Runs of the same recipe count as its seeds. The drawings are those of ``benchmarks/drawings.py``. ``--write`` writes
others instead, from which every export computes its network's limit for drawings.
"""

import gzip
import struct
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any
from zlib import crc32

import numpy as np

import drawings
from modiste.errors import PhotoError
from modiste.evaluation.out_of_distribution.novelty import ACCEPTED, DRAWINGS, Answers, drawing_limit
from modiste.inference.predictor import Predictor
from modiste.photo.garment import prepare
from record import Record, describe_machine, parser, provenance, rows

FILLED, OUTLINE = drawings.STYLES[:2], drawings.STYLES[2]
LIMITS = ("usual", "drawings")


def main() -> None:
    arguments = parser(__doc__, "records/photos")
    arguments.add_argument("runs", type=Path, nargs="*")
    arguments.add_argument("--write", action="store_true")
    arguments.add_argument(
        "--count", type=int, default=100, help="drawings of each class and style, and of each nonsense"
    )
    options = arguments.parse_args()
    if options.write:
        write_set(options.count)
        return
    drawn = {
        (label, style): prepared(partial(drawings.garment, label, style), options.count, f"{label} {style}")
        for label in (*drawings.HALVES, *drawings.WHOLES)
        for style in drawings.STYLES
    }
    nonsense = {name: prepared(make, options.count, name) for name, make in drawings.NONSENSE.items()}
    measured: dict[str, list[dict[str, Any]]] = {}
    for run in options.runs:
        name, found = judged(run, drawn, nonsense)
        measured.setdefault(name, []).append(found)
        print(run, found, flush=True)
    record = provenance() | {"count": options.count, "recipes": measured}
    Record(options.out, "drawings.json", "drawings.md").save(record, as_markdown(record))


def prepared(make: Callable[[np.random.Generator], bytes], count: int, name: str) -> np.ndarray:
    """Return drawings as the network sees them, without those on which the pipeline finds nothing."""
    random, found = np.random.default_rng(crc32(name.encode())), []
    for _ in range(count):
        try:
            found.append(prepare(make(random)).image)
        except PhotoError:
            continue
    return np.stack(found)[:, None]


def write_set(count: int) -> None:
    """Write filled silhouettes, as many of each class and style as a fifth of ``count``, into the package."""
    images = [
        prepared(partial(drawings.garment, label, style), count // 5, f"limit {label} {style}")[:, 0]
        for label in (*drawings.HALVES, *drawings.WHOLES)
        for style in FILLED
    ]
    whole = np.concatenate(images)
    header = struct.pack(">4B3I", 0, 0, 8, 3, *whole.shape)
    DRAWINGS.write_bytes(gzip.compress(header + whole.tobytes(), mtime=0))


def judged(
    run: Path, drawn: dict[tuple[str, str], np.ndarray], nonsense: dict[str, np.ndarray]
) -> tuple[str, dict[str, Any]]:
    """Return a run's recipe, and the shares of drawings that it accepts by either limit, and names rightly."""
    predictor = Predictor.load(run, device="cpu").with_novelty(run)
    answers = Answers(predictor.model, views=predictor.info.recipe.views, temperature=1.0, novelty=predictor.novelty)
    limits = dict(zip(LIMITS, (1.0, drawing_limit(answers.eval(), predictor.info)), strict=True))

    def accepted(images: Iterable[np.ndarray]) -> dict[str, float]:
        scores = predictor.classify(np.concatenate(list(images))).novelty
        assert scores is not None
        return {name: float((scores <= limit).mean()) for name, limit in limits.items()}

    def right(label: str) -> float:
        images = np.concatenate([drawn[label, style] for style in FILLED])
        return mean(name == label for name in predictor.names(images))

    return predictor.info.recipe.name, {
        "limit": limits["drawings"],
        "sensible": accepted(images for (_, style), images in drawn.items() if style != OUTLINE),
        "outlines": accepted(images for (_, style), images in drawn.items() if style == OUTLINE),
        "classes": {label: accepted([drawn[label, one] for one in FILLED]) for label, _ in drawn},
        "right": {label: right(label) for label, _ in drawn},
        "nonsense": accepted(nonsense.values()),
        "kinds": {name: accepted([images]) for name, images in nonsense.items()},
    }


def as_markdown(record: dict[str, Any]) -> str:
    """Return the page."""
    recipes = record["recipes"]
    names = [f"`{name}`, n = {len(found)}" for name, found in recipes.items()]

    def line(title: str, value: Callable[[dict[str, Any]], dict[str, float]]) -> list[str]:
        pairs = [[mean(value(one)[limit] for one in found) for limit in LIMITS] for found in recipes.values()]
        return [title, *(f"{usual:.0%} / {own:.0%}" for usual, own in pairs)]

    first = next(iter(recipes.values()))[0]
    table = [
        line("filled silhouettes", lambda one: one["sensible"]),
        *(line(f"- {label}", lambda one, label=label: one["classes"][label]) for label in first["classes"]),
        line("outlines, not filled", lambda one: one["outlines"]),
        line("nonsense", lambda one: one["nonsense"]),
        *(line(f"- {kind}", lambda one, kind=kind: one["kinds"][kind]) for kind in first["kinds"]),
    ]
    limits = ["the limit", *(f"{mean(one['limit'] for one in found):.2f}" for found in recipes.values())]
    right = [
        "filled silhouettes named rightly",
        *(f"{mean(share for one in found for share in one['right'].values()):.0%}" for found in recipes.values()),
    ]
    return f"""# Drawings

{record["count"]} drawings of each of ten classes in each of three styles, and of each kind of nonsense
(`benchmarks/drawings.py`), on a sheet like the page's, through the preparation of photos. Made by
`{record["command"]}`.

Share that is accepted as one of the classes: by the usual limit of novelty / by that for drawings. Each export computes
the latter from other drawings of the same script: it accepts {ACCEPTED:.0%} of those.

{rows([["drawn", *names], ["---"] * (len(names) + 1), limits, *table, right])}

Filled silhouettes are filled whole, or by going to and fro with the pen; three in ten are mirrored. The page asks to
fill a shape, so outlines are no part of the goal, which is 95 % of the filled silhouettes. The price is in the lines
of nonsense.

{describe_machine(record["machine"])}
"""


if __name__ == "__main__":
    main()
