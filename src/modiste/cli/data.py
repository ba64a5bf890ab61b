"""``modiste data``."""

from pathlib import Path
from typing import TYPE_CHECKING

from modiste.cli.arguments import DataFolderOption, NoOptions, help_or_complain, parse_with_recipe, source_as_flag
from modiste.cli.audit import audit
from modiste.cli.streams import say

if TYPE_CHECKING:
    from modiste.data.dataset import ImageSet
    from modiste.data.idx.files import IdxSet
    from modiste.recipes.recipe import DataRecipe


def data(arguments: list[str]) -> None:
    """Find or download Fashion-MNIST, verify every byte, and describe it; or describe own data; or audit either.

    modiste data [SOURCE]
    modiste data audit [SOURCE]
    modiste data fetch clothing

    Examples:
      modiste data
      modiste data shop --pictures whole --side 64
      modiste data audit shop
    """
    if arguments[:1] == ["audit"]:
        audit(arguments[1:])
        return
    if arguments[:1] == ["fetch"]:
        _fetch(arguments[1:])
        return
    from modiste.recipes.recipe import DataRecipe

    given = source_as_flag(arguments, DataFolderOption, DataRecipe)
    recipe, options = parse_with_recipe(DataFolderOption(), DataRecipe(), given, "modiste data", data)
    from modiste.data.locations import check_single_location

    check_single_location(recipe.source, options.data_folder)
    _describe_source(recipe, options.data_folder)
    if recipe.split == "grouped":
        _describe_groups(recipe, options.data_folder)


def _describe_source(recipe: "DataRecipe", folder: Path | None) -> None:
    """Describe the data by their kind."""
    from modiste.data import sources
    from modiste.data.locations import FASHION_MNIST

    if recipe.source == FASHION_MNIST:
        _describe_files(recipe, folder)
        return
    kind, place = sources.locate(recipe.source, folder)
    if kind.name == "idx":
        _describe_files(recipe, folder)
    elif kind.name == "pictures":
        _describe_pictures(place, recipe)
    else:
        _describe_parts(kind.layout, recipe, folder)


def _fetch(arguments: list[str]) -> None:
    """Download the photographs of clothing that `modiste train photo-clothing` also learns from, and check them.

    Examples:
      modiste data fetch clothing
    """
    from modiste.data import clothing_download

    if arguments != [clothing_download.NAME]:
        complaint = f"modiste data fetch: expected {clothing_download.NAME}, found {' '.join(arguments) or 'nothing'}"
        help_or_complain(_fetch, arguments, complaint, NoOptions, "modiste data fetch")
    found = clothing_download.fetch()
    for part in clothing_download.PUBLISHED:
        kinds = {name.split("/")[1]: number for name, number in found.counts.items() if name.startswith(f"{part}/")}
        say(f"{part}: {sum(kinds.values()):,} pictures, {', '.join(f'{kind} {n:,}' for kind, n in kinds.items())}")
    say(
        f"in {found.folder}: every picture can be read; SHA-256 of them all {found.digest}",
        "no hash is published: compare this one with another machine's",
    )


def _describe_files(recipe: "DataRecipe", folder: Path | None) -> None:
    """Describe the training files; of the test files, print only that they are right and how many images they hold.

    Own data may lack test files. DataError if Fashion-MNIST does.
    """
    from modiste.data import dataset, held_out
    from modiste.data.idx import idx_source
    from modiste.data.locations import FASHION_MNIST
    from modiste.errors import DataError

    known = idx_source.load_training(recipe.source, folder)
    for note in known.notes:
        say(f"skipped: {note}")
    _list_files(known)
    _describe("training", dataset.as_image_set(known), known.class_names)
    try:
        hidden = held_out.load_held_out(recipe.source, folder)
    except DataError as error:
        if recipe.source == FASHION_MNIST or held_out.has_test_files(recipe.source, folder):
            raise
        say(f"test: {error}")
        return
    _list_files(hidden)
    _count("test", dataset.as_image_set(hidden))


def _list_files(known: "IdxSet") -> None:
    for file in known.files:
        verified = "verified" if file.published else "well formed"
        say(f"{verified}  {file.path}  {file.size_bytes:,} bytes  SHA-256 {file.sha256[:16]}")


def _describe_parts(layout: str, recipe: "DataRecipe", folder: Path | None) -> None:
    """Describe each split of arrays or a table; of the test images, print only how many there are."""
    from modiste.data import dataset, held_out
    from modiste.errors import DataError

    known = dataset.load_development(recipe, folder)
    say(f"{known.name}, {layout}, fingerprint {known.fingerprint[:16]}")
    for note in known.notes:
        say(note)
    _describe("training", known.train, known.class_names)
    _describe("validation", known.validation, known.class_names)
    try:
        _count("test, held out", held_out.load_test(recipe, folder))
    except DataError as error:
        say(f"test: {error}")


def _describe_pictures(place: Path, recipe: "DataRecipe") -> None:
    """Describe each split; the held-out pictures are also decoded, to see that they can be, and counted."""
    from modiste.data import dataset, held_out
    from modiste.data.pictures.picture_source import load_development_pictures
    from modiste.errors import shown

    divided = load_development_pictures(place, recipe, allow_unreadable=True)
    known = divided.pictures
    whole, names = dataset.as_image_set(known), known.class_names
    hidden = held_out.load_held_out_pictures(place, recipe) if divided.withheld else None
    faults = known.faults + (hidden.faults if hidden else ())
    for name, reason in sorted(faults):
        say(f"left out: {shown(name)}: {reason}")
    _describe("training", whole[: divided.training], names)
    _describe("validation", whole[divided.training :], names)
    if hidden:
        _count("test, held out", dataset.as_image_set(hidden))
    say(f"{len(faults):,} files left out" if faults else "every file can be read")


def _describe_groups(recipe: "DataRecipe", folder: Path | None) -> None:
    """Print how many images are in groups of near duplicates, and how many of them are on each side of the split."""
    from modiste.data.dataset import load_split_images

    known = load_split_images(recipe, folder)
    assert known.groups is not None
    sizes = known.groups.bincount()
    alike = sizes[known.groups] > 1
    say(
        f"groups of near duplicates: {int((sizes > 1).sum()):,}, of {int(alike.sum()):,} images together, the largest "
        f"of {int(sizes.max()):,}",
        *(
            f"{name}: {len(part):,} images, {int(alike[part].sum()):,} of them in such groups"
            for name, part in (("training", known.train), ("validation", known.validation))
        ),
    )


def _describe(split: str, known: "ImageSet", names: tuple[str, ...]) -> None:
    """Print number, size and pixel statistics of a split's images, and the number of images of each class."""
    from modiste.data.dataset import mean_and_deviation

    if not len(known):
        say(f"{split}: no images")
        return
    mean, deviation = mean_and_deviation(known.images)
    _count(split, known, f", mean {mean:.4f}, standard deviation {deviation:.4f}")
    counts = zip(names, known.labels.bincount(minlength=len(names)).tolist(), strict=True)
    say("    " + ", ".join(f"{name} {number:,}" for name, number in counts))


def _count(split: str, known: "ImageSet", more: str = "") -> None:
    """Print number and size of a split's images; nothing more is printed about the test set."""
    count, channels, height, width = known.images.shape
    colours = ", red, green and blue" if channels == 3 else ""
    say(f"{split}: {count:,} images of {height} x {width}{colours}{more}")
