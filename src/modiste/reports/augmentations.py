"""The effect of augmentation on training images: each field alone, and all fields of a recipe together."""

import dataclasses
from collections.abc import Sequence

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from modiste import machine
from modiste.data.augment import augment
from modiste.data.batch import Batch, as_floats, as_targets
from modiste.data.dataset import Development
from modiste.recipes.recipe import AugmentationRecipe, Recipe
from modiste.reports.image_rows import Row, image_rows
from modiste.reports.images import choose_samples
from modiste.reports.style import SPACE, shorten

IMAGES, DRAWS = 7, 5
EXAMPLES: dict[str, tuple[AugmentationRecipe, str]] = {
    "flip": (AugmentationRecipe(flip=True), "half of the images"),
    "shift": (AugmentationRecipe(shift=3), "up to 3 pixels"),
    "crop": (AugmentationRecipe(crop=0.3), "up to 30 % of a side"),
    "resized_crop": (AugmentationRecipe(resized_crop=0.6), "up to 60 % of the area"),
    "rotate": (AugmentationRecipe(rotate=15.0), "up to 15° either way"),
    "photo": (AugmentationRecipe(photo=0.7), "strength 0.7 of 1"),
    "colour": (AugmentationRecipe(colour=0.5), "up to half"),
    "trivial": (AugmentationRecipe(trivial=0.7), "up to strength 0.7 of 1"),
    "random_ops": (AugmentationRecipe(random_ops=2, random_strength=0.5), "each of strength 0.5 of 1"),
    "erase": (AugmentationRecipe(erase=0.5), "half of the images"),
    "cutout": (AugmentationRecipe(cutout=12), "12 pixels a side"),
    "aspect": (AugmentationRecipe(aspect=0.6), "to 1.6 times the width"),
    "fold": (AugmentationRecipe(fold=0.1), "up to 10 % of a side"),
    "pattern": (AugmentationRecipe(pattern=0.7), "70 % of the images"),
    "tone": (AugmentationRecipe(tone=1.0), "strength 1 of 1"),
    "hide": (AugmentationRecipe(hide=0.7), "70 % of the images"),
    "mixup": (AugmentationRecipe(mixup=0.4), "shares of Beta(0.4, 0.4)"),
    "cutmix": (AugmentationRecipe(cutmix=1.0), "areas of Beta(1, 1)"),
    "fmix": (AugmentationRecipe(fmix=1.0), "areas of Beta(1, 1)"),
}
"""Every field at a typical strength, with others only where it does nothing alone, and its meaning in words."""
WIDTH, LABELS = 7.4, 1.55
"""Inches."""


def every_field(development: Development, *, seed: int = 1) -> Figure:
    """Return a figure of images of several classes, then one row for each field with the images it makes of them."""
    batch = _batch(development, smoothing=0.0)
    rows = [Row("original", batch.images)]
    for step, (name, (recipe, words)) in enumerate(EXAMPLES.items()):
        changed = augment(batch, recipe, machine.generator(seed, "augmentation", step))
        label = f"{name} {_number(getattr(recipe, name))}\n{words}"
        rows.append(_row(label, changed, development, with_targets=recipe.mixes_images))
    return _draw(rows, development)


def of_recipe(development: Development, recipe: Recipe) -> Figure:
    """Return a figure of images of several classes, then five draws of the recipe's augmentation for them.

    Mixup, CutMix and FMix mix the images shown; in training they mix images of the whole batch.
    """
    batch = _batch(development, smoothing=recipe.label_smoothing)
    mixed = recipe.augmentation.mixes_images
    rows = [_row("original", batch, development, with_targets=recipe.label_smoothing > 0 and not mixed)]
    for step in range(DRAWS):
        changed = augment(batch, recipe.augmentation, machine.generator(recipe.seed, "augmentation", step))
        rows.append(_row(f"draw {step + 1}", changed, development, with_targets=mixed))
    return _draw(rows, development)


def changes(recipe: AugmentationRecipe) -> str:
    """Return a recipe's augmentation as ``flip, shift 2``; empty if it does nothing."""
    fields = ((item.name, getattr(recipe, item.name)) for item in dataclasses.fields(recipe))
    return ", ".join(f"{name} {_number(value)}".strip() for name, value in fields if value)


def target_text(target: Float[Tensor, " classes"], names: Sequence[str]) -> str:
    """Return the two largest probabilities of a target, a line each, as ``62 % Coat``; 0 % is left out."""
    shares, labels = target.topk(min(2, len(target)))
    pairs = zip(shares.tolist(), labels.tolist(), strict=True)
    return "\n".join(
        f"{100 * share:.0f}{SPACE}% {shorten(names[label], 8)}" for share, label in pairs if round(100 * share)
    )


def _batch(development: Development, *, smoothing: float) -> Batch:
    """Return the images to show, from as many classes as fit, with their targets."""
    train = development.train
    chosen = torch.tensor(choose_samples(train.labels.cpu(), IMAGES))
    images, labels = train.images.cpu()[chosen], train.labels.cpu()[chosen]
    return Batch(as_floats(images), as_targets(labels, len(development.class_names), smoothing))


def _row(label: str, batch: Batch, development: Development, *, with_targets: bool) -> Row:
    if not with_targets:
        return Row(label, batch.images)
    captions = tuple(target_text(target, development.class_names) for target in batch.targets)
    return Row(label, batch.images, captions)


def _draw(rows: Sequence[Row], development: Development) -> Figure:
    train = development.train
    labels = train.labels.cpu()[choose_samples(train.labels.cpu(), IMAGES)].tolist()
    heads = [shorten(development.class_names[label], 12) for label in labels]
    return image_rows(rows, heads=heads, width=WIDTH, label_width=LABELS)


def _number(value: bool | int | float) -> str:
    return "" if value is True else f"{value:g}"
