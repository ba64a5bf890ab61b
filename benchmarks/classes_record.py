"""Audit Fashion-MNIST and a folder of pictures, both with planted faults; write ``records/classes``.

python benchmarks/classes_record.py [--recipe sprint] [--pictures 2000] [--out records/classes]

The test set of Fashion-MNIST is not used. The network for the folder is evaluated once on its test pictures.
"""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import modiste
import own_pictures
from modiste.audits.audit import audit
from modiste.audits.labels import out_of_fold_probabilities, suspicious_labels
from modiste.data.dataset import ImageSet, SplitImages, load_split_images
from modiste.data.duplicates import exact_groups, near_pairs
from modiste.recipes import named
from modiste.recipes.recipe import DataRecipe, Recipe
from record import Record, describe_machine, parser, provenance, rows

FOLDS, SEED = 4, 0
SHARE_WRONG = 0.02
CLASSES = {"T-shirt": 0, "Trouser": 1, "Dress": 3, "Sneaker": 7, "Bag": 8}
SHARES = (0.4, 0.25, 0.15, 0.12, 0.08)
"""Shares of the pictures by class, unequal on purpose."""
EPOCHS, REPEATS = 10, 5


def main() -> None:
    arguments = parser(__doc__, "records/classes")
    arguments.add_argument("--recipe", default="sprint")
    arguments.add_argument("--pictures", type=int, default=2000)
    options = arguments.parse_args()
    recipe = named.get(options.recipe)
    known = load_split_images(recipe.data)
    with tempfile.TemporaryDirectory() as place:
        own = own_classes(Path(place), known, options.pictures)
    record = provenance() | {
        "recipe": options.recipe,
        "fashion_mnist": {**duplicates(known), **planted_errors(known, recipe)},
        "own": own,
    }
    Record(options.out).save(record, as_markdown(record))


def duplicates(known: SplitImages) -> dict[str, Any]:
    """Return the number of duplicates among the training images."""
    started = time.perf_counter()
    images, labels = known.images.images, known.images.labels
    exact, near = exact_groups(images), near_pairs(images)
    other = sum(int(labels[pair.first] != labels[pair.second]) for pair in near)
    seconds = time.perf_counter() - started
    return {"images": len(images), "exact": len(exact), "near": len(near), "near_of_two_classes": other} | {
        "duplicates_seconds": round(seconds, 1)
    }


def planted_errors(known: SplitImages, recipe: Recipe) -> dict[str, Any]:
    """Give a share of the images a wrong label; return how many of these the audit finds."""
    random, labels = np.random.default_rng(SEED), known.images.labels.clone()
    chosen = torch.from_numpy(random.choice(len(labels), round(SHARE_WRONG * len(labels)), replace=False))
    classes = len(known.class_names)
    labels[chosen] = (labels[chosen] + torch.from_numpy(random.integers(1, classes, len(chosen)))) % classes
    changed = replace(known, images=ImageSet(known.images.images, labels))
    started = time.perf_counter()
    probabilities = out_of_fold_probabilities(changed, recipe, FOLDS, device="cpu")
    found = [one.image for one in suspicious_labels(probabilities, labels)]
    wrong = set(chosen.tolist())
    first = found[: len(wrong)]
    return {
        "planted": len(wrong),
        "suspected": len(found),
        "recall": len(wrong & set(found)) / len(wrong),
        "precision": len(wrong & set(found)) / len(found),
        "precision_of_first": len(wrong & set(first)) / len(first),
        "precision_of_first_100": len(wrong & set(found[:100])) / 100,
        "audit_seconds": round(time.perf_counter() - started, 1),
    }


def own_classes(root: Path, known: SplitImages, count: int) -> dict[str, Any]:
    """Make a folder of pictures; return times of two starts, accuracy after training, and findings of an audit."""
    images, labels = chosen_images(known, count)
    planted = own_pictures.write_folder(root / "own", images, labels, list(CLASSES), faults=max(6, count // 50))
    data = DataRecipe(source=str(root / "own"), pictures="whole", colour=True, repeats=REPEATS)
    starts = [start_seconds(data, root / "cache") for _ in range(2)]
    recipe = replace(named.get("sprint-93"), data=data, epochs=EPOCHS, balance=1.0, precision="float32")
    run = modiste.train(recipe, root / "run", device="cpu", quiet=True)
    tested = modiste.evaluate(root / "run", split="test", device="cpu")
    found = audit(replace(named.get("sprint"), data=data), folds=FOLDS, device="cpu").as_plain()
    opened = {item["file"] for item in found["suspicious"]}
    entered = set(load_split_images(data).files)
    exact = [pair for pair in planted.exact if set(pair) <= entered]
    near = [pair for pair in planted.near if set(pair) <= entered]
    wrong = [name for name in planted.mislabelled if name in entered]
    return {
        "pictures": len(images) + 2 * len(planted.exact) + len(planted.damaged),
        "first_start_seconds": round(starts[0], 2),
        "second_start_seconds": round(starts[1], 2),
        "validation_accuracy": run.picked.validation_accuracy,
        "test_accuracy": tested.accuracy,
        "test_interval": tested.accuracy_interval,
        "test_images": tested.images,
        "mislabelled_share": len(planted.mislabelled) / len(images),
        "exact": [sum(set(pair) in [set(item["files"]) for item in found["exact"]] for pair in exact), len(exact)],
        "near": [sum(set(pair) in [set(item["files"]) for item in found["near"]] for pair in near), len(near)],
        "wrong_labels": [sum(name in opened for name in wrong), len(wrong)],
        "suspected": len(opened),
    }


def chosen_images(known: SplitImages, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return images of a few classes in unequal numbers, and their labels, counted from 0."""
    images, labels = [], []
    for number, (label, share) in enumerate(zip(CLASSES.values(), SHARES, strict=True)):
        members = (known.images.labels == label).nonzero().squeeze(1)[: round(share * count)]
        images.append(known.images.images[members, 0].numpy())
        labels += [number] * len(members)
    return np.concatenate(images), np.array(labels)


def start_seconds(data: DataRecipe, cache: Path) -> float:
    """Return the seconds that a new process needs to load the images, without importing libraries."""
    script = (
        "import time; from modiste.data.dataset import load_development; "
        "from modiste.recipes.recipe import DataRecipe; "
        "import PIL.Image, scipy.ndimage; started = time.perf_counter(); "
        f"load_development({data!r}); print(time.perf_counter() - started)"
    )
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)


def as_markdown(record: dict[str, Any]) -> str:
    """Return the page."""
    known, own = record["fashion_mnist"], record["own"]
    low, high = own["test_interval"]
    figures = [
        ("wrong labels planted", f"{known['planted']:,} of {known['images']:,}, each another class at random"),
        ("suspected", f"{known['suspected']:,}"),
        ("share of the planted labels that were suspected (recall)", f"{known['recall']:.1%}"),
        ("share of the suspected labels that were planted (precision)", f"{known['precision']:.1%}"),
        (f"precision of the first {known['planted']:,}, most suspicious first", f"{known['precision_of_first']:.1%}"),
        ("precision of the first 100", f"{known['precision_of_first_100']:.0%}"),
        ("exact duplicates among the training images", f"{known['exact']:,}"),
        (
            "near duplicates (correlation 0.99)",
            f"{known['near']:,} pairs, {known['near_of_two_classes']} of two classes",
        ),
        ("seconds: duplicates; labels", f"{known['duplicates_seconds']}; {known['audit_seconds']}"),
    ]
    starts = [
        ("pictures", f"{own['pictures']:,} in {len(CLASSES)} classes, the largest five times the smallest"),
        ("first start, seconds", f"{own['first_start_seconds']}"),
        ("second start, seconds", f"{own['second_start_seconds']}"),
        ("accuracy on validation", f"{own['validation_accuracy']:.2%}"),
        (f"accuracy on {own['test_images']} test pictures", f"{own['test_accuracy']:.2%} ({low:.2%} to {high:.2%})"),
        ("planted exact duplicates found", "{} of {}".format(*own["exact"])),
        ("planted near duplicates found", "{} of {}".format(*own["near"])),
        ("planted wrong labels found", "{} of {}".format(*own["wrong_labels"]) + f", {own['suspected']} suspected"),
    ]
    return f"""# Own classes

## The data set itself

The training images of Fashion-MNIST with planted errors, audited as by `modiste data audit`: {FOLDS} networks of the
recipe `{record["recipe"]}` each judge the images that they were not trained on. The data set has doubtful labels of its
own: not every other suspicion is wrong. The test set was not opened.

| | |
|---|---|
{rows(figures)}

## A folder of pictures

Made from training images of Fashion-MNIST by `benchmarks/own_pictures.py`: enlarged, coloured, JPEG and PNG, with
damaged files, copies, and {own["mislabelled_share"]:.1%} wrong labels, which limit the accuracy. Trained uncropped and
in colour with `sprint-93`, {EPOCHS} epochs of {REPEATS} passes over the pictures, `--balance 1`.

| | |
|---|---|
{rows(starts)}

Made by `{record["command"]}`.

{describe_machine(record["machine"])}
"""


if __name__ == "__main__":
    main()
