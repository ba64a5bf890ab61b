"""The transfer study: its sources, its pairs of runs, and its data sets with a subset of the classes."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import modiste
from modiste.data import held_out
from modiste.data.idx import idx_source
from modiste.data.idx.files import IdxSet
from modiste.recipes.recipe import (
    AugmentationRecipe,
    DataRecipe,
    OptimizerRecipe,
    Recipe,
    ScheduleRecipe,
    TransferRecipe,
)
from modiste.runs import storage
from modiste.training.transfer.transfer import source_hash

LABELS_PER_CLASS = (10, 100, 1_000)
EPOCHS, IMAGES_PER_EPOCH, BATCH_SIZE = 4, 10_000, 100
TARGET_CLASSES = (0, 2, 4, 6, 8)
"""T-shirt, pullover, coat, shirt and bag, the harder half. The source is trained on the others."""
HEAD = ("network.head",)
NETWORK = "A residual network of 10 layers with 77,562 parameters"
WITHOUT_LABELS = """The source is the recipe `simclr`: the network learns from the 50,000 training images without
their labels. A linear layer on its features, trained with every label, reaches {accuracy} on validation; that layer
is not transferred."""
OTHER_CLASSES = """The source was trained on trouser, dress, sandal, sneaker and ankle boot, with 5,000 labelled images
each ({accuracy} on validation). The target classes are T-shirt, pullover, coat, shirt and bag: a separate IDX
folder, with their 5,000 test images."""
ARMS = ("scratch", "transfer")


@dataclass(frozen=True)
class Study:
    """A comparison of pairs of runs: trained from scratch, and from a source.

    Attributes:
        name: Name of the study, and prefix of the names of its run folders.
        title: Title on the page.
        source: Description of the source, with a placeholder for its accuracy on validation.
        classes: Number of target classes.
        data_folder: Folder of the images; None for Fashion-MNIST.
    """

    name: str
    title: str
    source: str
    classes: int
    data_folder: Path | None


def make_studies(runs: Path) -> list[Study]:
    """Return the studies; writes the images of the second, a subset of Fashion-MNIST, to files."""
    source, target = runs / "data" / "source", runs / "data" / "target"
    others = tuple(label for label in range(10) if label not in TARGET_CLASSES)
    training = idx_source.load_training("fashion-mnist")
    write_classes(training, others, source, "train")
    write_classes(training, TARGET_CLASSES, target, "train")
    write_classes(held_out.load_held_out("fashion-mnist"), TARGET_CLASSES, target, "t10k")
    return [
        Study("simclr", "Ten classes, from a source without labels", WITHOUT_LABELS, 10, None),
        Study("classes", "Five classes, from a source of the other five", OTHER_CLASSES, 5, target),
    ]


def write_classes(raw: IdxSet, classes: Sequence[int], folder: Path, part: str) -> None:
    """Write images and labels of some classes as IDX files, with labels counted from 0, and the class names."""
    chosen = np.isin(raw.labels, classes)
    labels = np.searchsorted(classes, raw.labels[chosen]).astype(np.uint8)
    storage.write_bytes(folder / f"{part}-images-idx3-ubyte", as_idx(raw.images[chosen]))
    storage.write_bytes(folder / f"{part}-labels-idx1-ubyte", as_idx(labels))
    storage.write_text(folder / "classes.txt", "".join(f"{raw.class_names[label]}\n" for label in classes))


def as_idx(array: np.ndarray) -> bytes:
    """Return a uint8 array as the content of an IDX file."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def train(study: Study, seed: int, runs: Path) -> None:
    """Train the source of one seed, then both arms with every number of labels."""
    source = runs / source_folder(study, seed)
    data = None if study.data_folder is None else runs / "data" / "source"
    modiste.train(source_recipe(study, seed), source, data_folder=data)
    for labels in LABELS_PER_CLASS:
        recipe = tuning_recipe(study, labels, seed)
        tuned = replace(recipe, transfer=TransferRecipe(source=source_hash(source), fresh=HEAD))
        options: dict[str, Any] = {"data_folder": study.data_folder}
        modiste.train(recipe, folder(runs, study, "scratch", labels, seed), **options)
        modiste.train(tuned, folder(runs, study, "transfer", labels, seed), transfer_from=source, **options)


def source_folder(study: Study, seed: int | str) -> str:
    """Return the name of a source's run folder."""
    return f"{study.name}-source-{seed}"


def folder(runs: Path, study: Study, arm: str, labels: int, seed: int) -> Path:
    """Return the folder of a run."""
    return runs / f"{study.name}-{arm}-{labels}-{seed}"


def source_recipe(study: Study, seed: int) -> Recipe:
    """Return the recipe of the source: ``simclr``, or the fine-tuning recipe with every label."""
    if study.data_folder is None:
        return replace(modiste.get_recipe("simclr"), seed=seed)
    return replace(tuning_recipe(study, 0, seed), data=DataRecipe(source="fashion-mnist-source"))


def tuning_recipe(study: Study, labels: int, seed: int) -> Recipe:
    """Return the recipe of both arms, which has 400 steps for any number of labels."""
    name = "fashion-mnist" if study.data_folder is None else "fashion-mnist-target"
    repeats = IMAGES_PER_EPOCH // (labels * study.classes) if labels else 1
    return replace(
        modiste.get_recipe("simclr"),
        name=study.name,
        seed=seed,
        epochs=EPOCHS,
        batch_size=BATCH_SIZE,
        warm_start="none",
        transfer=TransferRecipe(),
        label_smoothing=0.1,
        data=DataRecipe(source=name, images_per_class=labels, repeats=repeats, subset_seed=seed),
        augmentation=AugmentationRecipe(flip=True, shift=2),
        optimizer=OptimizerRecipe(name="adamw", learning_rate=3e-3, weight_decay=0.05, epsilon=1e-8),
        schedule=ScheduleRecipe(shape="one-cycle", warm_up=0.2),
    )
