"""Bring photographs made of validation images back to what they were made of; write ``records/photos``.

python benchmarks/photo_record.py RUN [--images 1000] [--first 2000] [--out records/photos]

The test set has no part in it. The pipeline's few numbers were chosen on the validation images before ``--first``.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import photographs
import strangers
from modiste import runtime, storage
from modiste.data.dataset import load_development
from modiste.photo import prepare
from modiste.prediction import answers
from modiste.predictor import Predictor
from record_page import machine, rows

SEED = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--first", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=Path("records/photos"))
    options = parser.parse_args()
    predictor = Predictor.load(options.run, device="cpu")
    validation = load_development(predictor.info.recipe.data).validation
    chosen = slice(options.first, options.first + options.images)
    images, labels = validation.images[chosen, 0].numpy(), validation.labels[chosen]
    with ProcessPoolExecutor() as pool:
        both = list(pool.map(partial(brought_back, images), photographs.MAKERS))
    record = {
        "command": f"python benchmarks/photo_record.py RUN --images {options.images} --first {options.first}",
        "machine": runtime.facts(torch.device("cpu")),
        "recipe": predictor.info.recipe.name,
        "images": options.images,
        "clean_accuracy": shares(predictor, images, images, labels)["accuracy"],
        "strangers": strangers_told(options.run, predictor, options.images),
        "grounds": {
            name: {
                "pipeline": shares(predictor, images, ours, labels),
                "plain": shares(predictor, images, plain, labels),
            }
            for name, (ours, plain) in zip(photographs.MAKERS, both, strict=True)
        },
    }
    storage.write_json(options.out / "record.json", record)
    storage.write_text(options.out / "README.md", as_markdown(record))


def brought_back(images: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Photograph each image, and return what the pipeline and what plain scaling make of that."""
    random = np.random.default_rng(SEED)
    files = [photographs.MAKERS[name](image, random) for image in images]
    return (
        np.stack([prepare(file).image for file in files]),
        np.stack([np.asarray(photographs.naive(file)) for file in files]),
    )


def strangers_told(run: Path, predictor: Predictor, count: int) -> dict[str, Any]:
    """Return which share of pictures of other things is told to be such, and of validation images wrongly."""
    predictor, random = predictor.telling_strangers(run), np.random.default_rng(SEED)
    assert predictor.novelty is not None
    told = {}
    for name, make in strangers.MAKERS.items():
        pictures = ((name, strangers.as_file(make(random))) for _ in range(count))
        found = list(answers(predictor, pictures))
        told[name] = sum(bool(answer.fault) or answer.is_novel for answer in found) / count
    return {"told": told, "false_alarms": predictor.novelty.false_alarms, "validation_images": predictor.novelty.images}


def shares(predictor: Predictor, images: np.ndarray, seen: np.ndarray, labels: torch.Tensor) -> dict[str, float]:
    """Return how often ``seen`` is answered as the images are, and how often rightly."""
    answers, originals = predictor.logits(seen).argmax(1), predictor.logits(images).argmax(1)
    same, right = (answers == originals).float().mean(), (answers == labels).float().mean()
    return {"agreement": float(same), "accuracy": float(right)}


def as_markdown(record: dict[str, Any]) -> str:
    """Write the page."""
    lines = [
        (
            name,
            *(f"{arm[what]:.1%}" for arm in (found["pipeline"], found["plain"]) for what in ("agreement", "accuracy")),
        )
        for name, found in record["grounds"].items()
    ]
    other = record["strangers"]
    return f"""# Photographs

{record["images"]:,} validation images as photographs of 762 pixels (`benchmarks/photographs.py`), brought back by
`modiste.photo` and answered by `{record["recipe"]}`, beside what is commonly done: grey, scaled to 28 x 28, light and
dark exchanged. Agreement is with the answers for the images themselves, of which
{record["clean_accuracy"]:.1%} are right. No choice was made on these images; the test set has no part in it.

Made by `{record["command"]}`.

| ground | pipeline: agreement | accuracy | plain: agreement | accuracy |
|---|---|---|---|---|
{rows(lines)}

shop: dark on #fdfdfd, as the data set began; coloured: any light colour; noisy: the same with a sensor's noise; dark: a
light garment on dark; turned: by up to 15 degrees; shaded: darker to one side by a third; JPEG: 200 pixels, quality 30.

## None of the ten

{record["images"]:,} pictures each of other things (`benchmarks/strangers.py`), through the same pipeline; told are
those answered with none of the ten, and the few on which nothing stands out from the background. The score is
Mahalanobis' distance in two layers, its threshold from validation images. Of {other["validation_images"]:,} validation
images that had no part in the threshold {other["false_alarms"]:.1%} are wrongly taken for none of the ten.

| pictures | told to be none of the ten |
|---|---|
{rows((name, f"{share:.1%}") for name, share in other["told"].items())}

{machine(record["machine"])}
"""


if __name__ == "__main__":
    main()
