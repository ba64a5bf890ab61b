"""Measure the photo pipeline on photographs simulated from validation images; write ``records/photos``.

    python benchmarks/photo_record.py RUN ... [--images 1000] [--first 2000] [--clothing FOLDER] [--out records/photos]

``--clothing`` names real photos in folders of the classes of clothing-dataset-small; without it no real photo is
measured. Runs of the same recipe count as its seeds. The test set is opened once for each run, only to measure how many
of its images, and of their mirror images, are wrongly called out-of-distribution. The pipeline's few constants, and the
augmentation of the recipe ``photo``, were chosen on the validation images before ``--first``.
"""

from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch

import other_things
import photographs
from modiste.data.dataset import load_development
from modiste.errors import PhotoError
from modiste.evaluation.assessment import evaluate, load_split
from modiste.inference.predictor import Predictor
from modiste.photo.garment import prepare
from modiste.runs.run_folder import open_run
from record import Record, describe_machine, parser, provenance, rows

SEED = 0
ARMS = ("pipeline", "plain")
SHOES = (5, 7, 9)
"""Labels of sandals, sneakers and ankle boots, which all point left in the data set."""
MIRRORED_SHOES = "mirrored_shoes_alarms"
OTHERS = ("hat", "shorts", "skirt")
"""Folders of real photos that show none of the ten classes."""


def main() -> None:
    arguments = parser(__doc__, "records/photos")
    arguments.add_argument("runs", type=Path, nargs="+")
    arguments.add_argument("--images", type=int, default=1000)
    arguments.add_argument("--first", type=int, default=2000)
    arguments.add_argument("--clothing", type=Path)
    options = arguments.parse_args()
    validation = load_development().validation
    chosen = slice(options.first, options.first + options.images)
    images, labels = validation.images[chosen, 0].numpy(), validation.labels[chosen]
    with ProcessPoolExecutor() as pool:
        both = dict(zip(photographs.MAKERS, pool.map(partial(photographed, images), photographs.MAKERS), strict=True))
        others = dict(
            zip(other_things.MAKERS, pool.map(partial(prepared, options.images), other_things.MAKERS), strict=True)
        )
    real = {} if options.clothing is None else real_photos(options.clothing)
    measured: dict[str, list[dict[str, Any]]] = {}
    for run in options.runs:
        found = {**grounds(run, images, labels, both), **detections(run, others, options.images, real)}
        measured.setdefault(open_run(run).recipe.name, []).append(found)
        print(run, found, flush=True)
    record = provenance() | {
        "images": options.images,
        "recipes": {name: {"n": len(found), **mean_of(found)} for name, found in measured.items()},
        "runs": measured,
    }
    Record(options.out).save(record, as_markdown(record))


def mean_of(found: list[Any]) -> Any:
    """Return the mean of numbers, or of each entry of dictionaries with the same keys."""
    if isinstance(found[0], dict):
        return {name: mean_of([one[name] for one in found]) for name in found[0]}
    return mean(found)


def photographed(images: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return simulated photographs of the images after the pipeline, and after plain scaling."""
    random = np.random.default_rng(SEED)
    files = [photographs.MAKERS[name](image, random) for image in images]
    return (
        np.stack([prepare(file).image for file in files]),
        np.stack([np.asarray(photographs.naive(file)) for file in files]),
    )


def prepared(count: int, name: str) -> np.ndarray:
    """Return out-of-distribution pictures as the network sees them, without those that the pipeline rejects."""
    random, found = np.random.default_rng(SEED), []
    for _ in range(count):
        try:
            found.append(prepare(other_things.as_file(other_things.MAKERS[name](random))).image)
        except PhotoError:
            continue
    return np.stack(found)


def grounds(run: Path, images: np.ndarray, labels: torch.Tensor, both: dict[str, Any]) -> dict[str, Any]:
    """Return agreement and accuracy of a run on each kind of photograph."""
    predictor = Predictor.load(run, device="cpu")
    found = {
        name: {arm: shares(predictor, images, seen, labels) for arm, seen in zip(ARMS, pair, strict=True)}
        for name, pair in both.items()
    }
    return {"clean_accuracy": shares(predictor, images, images, labels)["accuracy"], "grounds": found}


def real_photos(folder: Path) -> dict[str, np.ndarray]:
    """Return real photos of garments and of other things as the network sees them, without those that are refused."""
    found: dict[str, list[np.ndarray]] = {"garments": [], "hats, shorts, skirts": []}
    for path in sorted(folder.glob("*/*.jpg")):
        kind = "hats, shorts, skirts" if path.parent.name in OTHERS else "garments"
        with suppress(PhotoError):
            found[kind].append(prepare(path).image)
    return {kind: np.stack(images) for kind, images in found.items()}


def detections(run: Path, others: dict[str, np.ndarray], count: int, real: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return the share of out-of-distribution pictures that is detected, and of the data set's images wrongly."""
    predictor = Predictor.load(run, device="cpu").with_novelty(run)
    assert predictor.novelty is not None
    evaluate(run, split="test", device="cpu")  # counts the opening of the test set
    test = load_split(open_run(run), "test")
    shoes = test.images[torch.isin(test.labels, torch.tensor(SHOES))]

    def alarms(images: np.ndarray) -> int:
        novelty = predictor.classify(images).novelty
        assert novelty is not None
        return int((novelty > 1).sum())

    return {
        "detected": {name: (alarms(seen[:, None]) + count - len(seen)) / count for name, seen in others.items()},
        "validation_alarms": predictor.novelty.false_alarms,
        "test_alarms": alarms(test.images.numpy()) / len(test),
        "mirrored_alarms": alarms(test.images.flip(3).numpy()) / len(test),
        MIRRORED_SHOES: alarms(shoes.flip(3).numpy()) / len(shoes),
        "real": {kind: alarms(seen[:, None]) / len(seen) for kind, seen in real.items()},
    }


def shares(predictor: Predictor, images: np.ndarray, seen: np.ndarray, labels: torch.Tensor) -> dict[str, float]:
    """Return how often the prediction for ``seen`` is that for the images, and how often it is correct."""
    predicted, originals = predictor.logits(seen).argmax(1), predictor.logits(images).argmax(1)
    same, right = (predicted == originals).float().mean(), (predicted == labels).float().mean()
    return {"agreement": float(same), "accuracy": float(right)}


def as_markdown(record: dict[str, Any]) -> str:
    """Return the page."""
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
    unlike = [(name, *(f"{one['detected'][name]:.1%}" for one in recipes.values())) for name in found["detected"]]
    alarms = [
        (f"the data set's {name} images, wrongly", *(f"{one[f'{name}_alarms']:.1%}" for one in recipes.values()))
        for name in ("validation", "test")
    ]
    alarms += [
        (f"{name}, mirrored, wrongly", *(f"{one[key]:.1%}" for one in recipes.values()))
        for name, key in (("its test images", "mirrored_alarms"), ("its shoes, which all point left", MIRRORED_SHOES))
    ]
    alarms += [
        (f"real photos of {kind}", *(f"{one['real'][kind]:.1%}" for one in recipes.values()))
        for kind in found.get("real", {})
    ]
    seeds = ", ".join(f"`{name}` {one['n']}" for name, one in recipes.items())
    return f"""# Photographs

{record["images"]:,} validation images as simulated photographs of 762 pixels (`benchmarks/photographs.py`),
preprocessed by `modiste.photo`. No choice was made on these images. The test set is used only for its one line below.
Means over seeds: {seeds}. Made by `{record["command"]}`.

## With the pipeline and without

Predictions of `{first}`, with the pipeline and with plain scaling: grey, scaled to 28 x 28, inverted. Agreement is with
the predictions for the images themselves, of which {found["clean_accuracy"]:.1%} are correct.

| photograph | pipeline: agreement | accuracy | plain: agreement | accuracy |
|---|---|---|---|---|
{rows(both)}

shop: dark on #fdfdfd, like the data set's product photos; coloured: any light background; noisy: the same with sensor
noise; dark: a light garment on a dark background; turned: by up to 15 degrees; shaded: darker to one side by a third;
JPEG: 200 pixels, quality 30.

## Trained with the photo augmentation and without

Accuracy with the pipeline. `photo` differs from `sprint-94` only in its augmentation.

{table("photograph", recipes, accuracies)}

## Out-of-distribution pictures

{record["images"]:,} pictures of each kind of other things (`benchmarks/other_things.py`), through the same pipeline. A
picture counts as detected if the answer is none of the classes, or if nothing stands out from its background. The
threshold is computed from validation images; the first line of false alarms is from other validation images.

{table("detected as none of the classes", recipes, [*unlike, *alarms])}

{describe_machine(record["machine"])}
"""


def table(corner: str, columns: Iterable[str], lines: Iterable[tuple[str, ...]]) -> str:
    """Write a Markdown table with a column for each recipe."""
    head = [corner, *(f"`{name}`" for name in columns)]
    return f"{rows([head])}\n{rows([['---'] * len(head)])}\n{rows(lines)}"


if __name__ == "__main__":
    main()
