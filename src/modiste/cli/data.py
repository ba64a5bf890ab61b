"""``modiste data``."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modiste.cli.audit import audit
from modiste.cli.streams import say
from modiste.cli.words import parse_beside, source_first
from modiste.recipe import DataRecipe

if TYPE_CHECKING:
    from modiste.data.dataset import ImageSet


@dataclass(frozen=True, kw_only=True)
class _DataOptions:
    data_folder: Path | None = None
    """Where Fashion-MNIST lies, if not in one of the usual places."""


def data(words: list[str]) -> None:
    """Find Fashion-MNIST or fetch it, verify every byte, and describe it; or describe pictures, or audit either.

    modiste data [SOURCE]
    modiste data audit [SOURCE]
    """
    if words[:1] == ["audit"]:
        audit(words[1:])
        return
    recipe, options = parse_beside(_DataOptions(), DataRecipe(), source_first(words), "modiste data")
    from modiste.data import pictures

    place = pictures.picture_place(recipe.source, options.data_folder)
    if place is None:
        _describe_files(recipe, options.data_folder)
    else:
        _describe_pictures(place, recipe)


def _describe_files(recipe: DataRecipe, folder: Path | None) -> None:
    from modiste.data import dataset, sealed, sources

    parts = {
        "training": sources.load_training(recipe.source, folder),
        "test": sealed.load_sealed(recipe.source, folder),
    }
    for note in parts["training"].notes:
        say(f"passed over: {note}")
    for file in (file for raw in parts.values() for file in raw.files):
        verified = "verified" if file.published else "well formed"
        say(f"{verified}  {file.path}  {file.size_bytes:,} bytes  SHA-256 {file.sha256[:16]}")
    for part, raw in parts.items():
        _describe(part, dataset.as_image_set(raw), raw.class_names)


def _describe_pictures(place: Path, recipe: DataRecipe) -> None:
    """Describe each part; the sealed pictures are decoded too, to see that they can be."""
    from modiste.data import dataset, sealed
    from modiste.data.faults import shown
    from modiste.data.pictures import load_divided

    divided = load_divided(place, recipe, whatever=True)
    known = divided.pictures
    whole, names = dataset.as_image_set(known), known.class_names
    hidden = sealed.load_sealed_pictures(place, recipe) if divided.withheld else None
    faults = known.faults + (hidden.faults if hidden else ())
    for name, reason in sorted(faults):
        say(f"left out: {shown(name)}: {reason}")
    _describe("training", whole[: divided.training], names)
    _describe("validation", whole[divided.training :], names)
    if hidden:
        _describe("test, sealed", dataset.as_image_set(hidden), names)
    say(f"{len(faults):,} files left out" if faults else "every file can be read")


def _describe(part: str, known: "ImageSet", names: tuple[str, ...]) -> None:
    from modiste.data.dataset import mean_and_deviation

    if not len(known):
        say(f"{part}: no images")
        return
    mean, deviation = mean_and_deviation(known.images)
    count, channels, height, width = known.images.shape
    colours = ", red, green and blue" if channels == 3 else ""
    say(f"{part}: {count:,} images of {height} x {width}{colours}, mean {mean:.4f}, standard deviation {deviation:.4f}")
    counts = zip(names, known.labels.bincount(minlength=len(names)).tolist(), strict=True)
    say("    " + ", ".join(f"{name} {number:,}" for name, number in counts))
