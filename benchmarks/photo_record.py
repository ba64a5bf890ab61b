"""Bring photographs made of validation images back to what they were made of; write ``records/photos``.

    python benchmarks/photo_record.py RUN ... [--images 1000] [--first 2000] [--out records/photos]

Runs of one recipe are its seeds. The test set has no part in it but to measure how often one of its images is taken for
none of the ten, which opens it once for each run. The pipeline's few numbers, and the augmentation of the recipe
``photo``, were chosen on the validation images before ``--first``.
"""

from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch

import photographs
import strangers
from modiste.data.dataset import load_development
from modiste.errors import PhotoError
from modiste.evaluation.assessment import evaluate, load_split
from modiste.inference.predictor import Predictor
from modiste.photo.garment import prepare
from modiste.runs.run_folder import open_run
from record import Record, describe_machine, parser, provenance, rows

SEED = 0
ARMS = ("pipeline", "plain")


def main() -> None:
    arguments = parser(__doc__, "records/photos")
    arguments.add_argument("runs", type=Path, nargs="+")
    arguments.add_argument("--images", type=int, default=1000)
    arguments.add_argument("--first", type=int, default=2000)
    options = arguments.parse_args()
    validation = load_development().validation
    chosen = slice(options.first, options.first + options.images)
    images, labels = validation.images[chosen, 0].numpy(), validation.labels[chosen]
    with ProcessPoolExecutor() as pool:
        both = dict(zip(photographs.MAKERS, pool.map(partial(brought_back, images), photographs.MAKERS), strict=True))
        others = dict(zip(strangers.MAKERS, pool.map(partial(prepared, options.images), strangers.MAKERS), strict=True))
    measured: dict[str, list[dict[str, Any]]] = {}
    for run in options.runs:
        found = {**grounds(run, images, labels, both), **told(run, others, options.images)}
        measured.setdefault(open_run(run).recipe.name, []).append(found)
        print(run, found, flush=True)
    record = provenance() | {
        "images": options.images,
        "recipes": {name: {"n": len(found), **mean_of(found)} for name, found in measured.items()},
        "runs": measured,
    }
    Record(options.out).save(record, as_markdown(record))


def mean_of(found: list[Any]) -> Any:
    """Return the mean of numbers, or of each entry of tables alike."""
    if isinstance(found[0], dict):
        return {name: mean_of([one[name] for one in found]) for name in found[0]}
    return mean(found)


def brought_back(images: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Photograph each image, and return what the pipeline and what plain scaling make of that."""
    random = np.random.default_rng(SEED)
    files = [photographs.MAKERS[name](image, random) for image in images]
    return (
        np.stack([prepare(file).image for file in files]),
        np.stack([np.asarray(photographs.naive(file)) for file in files]),
    )


def prepared(count: int, name: str) -> np.ndarray:
    """Return pictures of other things as the network sees them; those on which nothing stands out are left out."""
    random, found = np.random.default_rng(SEED), []
    for _ in range(count):
        try:
            found.append(prepare(strangers.as_file(strangers.MAKERS[name](random))).image)
        except PhotoError:
            continue
    return np.stack(found)


def grounds(run: Path, images: np.ndarray, labels: torch.Tensor, both: dict[str, Any]) -> dict[str, Any]:
    """Return what a run makes of the images and of each way to photograph them."""
    predictor = Predictor.load(run, device="cpu")
    found = {
        name: {arm: shares(predictor, images, seen, labels) for arm, seen in zip(ARMS, pair, strict=True)}
        for name, pair in both.items()
    }
    return {"clean_accuracy": shares(predictor, images, images, labels)["accuracy"], "grounds": found}


def told(run: Path, others: dict[str, np.ndarray], count: int) -> dict[str, Any]:
    """Return which share of pictures of other things is told to be such, and of the data set's own images wrongly."""
    predictor = Predictor.load(run, device="cpu").telling_strangers(run)
    assert predictor.novelty is not None
    evaluate(run, split="test", device="cpu")  # the door, which counts
    test = load_split(open_run(run), "test").images.numpy()

    def alarms(images: np.ndarray) -> int:
        novelty = predictor.classify(images).novelty
        assert novelty is not None
        return int((novelty > 1).sum())

    return {
        "told": {name: (alarms(seen[:, None]) + count - len(seen)) / count for name, seen in others.items()},
        "validation_alarms": predictor.novelty.false_alarms,
        "test_alarms": alarms(test) / len(test),
    }


def shares(predictor: Predictor, images: np.ndarray, seen: np.ndarray, labels: torch.Tensor) -> dict[str, float]:
    """Return how often ``seen`` is answered as the images are, and how often rightly."""
    answers, originals = predictor.logits(seen).argmax(1), predictor.logits(images).argmax(1)
    same, right = (answers == originals).float().mean(), (answers == labels).float().mean()
    return {"agreement": float(same), "accuracy": float(right)}


def as_markdown(record: dict[str, Any]) -> str:
    """Write the page."""
    recipes = record["recipes"]
    (first, found), *_ = recipes.items()
    both = [
        (name, *(f"{arms[arm][what]:.1%}" for arm in ARMS for what in ("agreement", "accuracy")))
        for name, arms in found["grounds"].items()
    ]
    accuracies = [("none: the images themselves", *(f"{one['clean_accuracy']:.1%}" for one in recipes.values()))]
    accuracies += [
        (name, *(f"{one['grounds'][name]['pipeline']['accuracy']:.1%}" for one in recipes.values()))
        for name in found["grounds"]
    ]
    strange = [(name, *(f"{one['told'][name]:.1%}" for one in recipes.values())) for name in found["told"]]
    alarms = [
        (f"the data set's {name} images, wrongly", *(f"{one[f'{name}_alarms']:.1%}" for one in recipes.values()))
        for name in ("validation", "test")
    ]
    seeds = ", ".join(f"`{name}` {one['n']}" for name, one in recipes.items())
    return f"""# Photographs

{record["images"]:,} validation images as photographs of 762 pixels (`benchmarks/photographs.py`), brought back by
`modiste.photo`. No choice was made on these images; the test set has no part in it, except for its one line below.
Means over seeds: {seeds}. Made by `{record["command"]}`.

## With the pipeline and without

Answered by `{first}`, beside what is commonly done: grey, scaled to 28 x 28, light and dark exchanged. Agreement is
with the answers for the images themselves, of which {found["clean_accuracy"]:.1%} are right.

| ground | pipeline: agreement | accuracy | plain: agreement | accuracy |
|---|---|---|---|---|
{rows(both)}

shop: dark on #fdfdfd, as the data set began; coloured: any light colour; noisy: the same with a sensor's noise; dark: a
light garment on dark; turned: by up to 15 degrees; shaded: darker to one side by a third; JPEG: 200 pixels, quality 30.

## Trained for it and not

Accuracy through the pipeline. `photo` differs from `sprint-94` by its augmentation alone.

{table("ground", recipes, accuracies)}

## None of the ten

{record["images"]:,} pictures each of other things (`benchmarks/strangers.py`), through the same pipeline; told are
those answered with none of the ten, and the few on which nothing stands out from the background. The threshold is from
validation images, the first line of false alarms from others that had no part in it.

{table("told to be none of the ten", recipes, [*strange, *alarms])}

{describe_machine(record["machine"])}
"""


def table(corner: str, columns: Iterable[str], lines: Iterable[tuple[str, ...]]) -> str:
    """Write a Markdown table with a column for each recipe."""
    head = [corner, *(f"`{name}`" for name in columns)]
    return f"{rows([head])}\n{rows([['---'] * len(head)])}\n{rows(lines)}"


if __name__ == "__main__":
    main()
