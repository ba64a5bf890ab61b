"""``modiste data audit``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modiste.cli.arguments import DataFolderOption, named_recipe, parse_with_recipe, print_json, source_as_flag
from modiste.cli.streams import say, warn

if TYPE_CHECKING:
    from modiste.audits.audit import Findings, HeldOutImages
    from modiste.recipes.recipe import DataRecipe, Recipe

SHOWN = 5
"""Findings of each kind to print; the page shows more, the JSON file lists all."""
PAGE, LIST = "audit.html", "audit.json"


@dataclass(frozen=True, kw_only=True)
class AuditOptions(DataFolderOption):
    """Options of ``modiste data audit``."""

    out: Path = Path("audit")
    """Folder for the page and the JSON file."""
    recipe: str = ""
    """Recipe of the networks that find wrong labels, a name or a file; unset, sprint, or for photographs a backbone."""
    folds: int = 4
    """Parts of the images; each is predicted by a network trained on the others; 0 finds only duplicates."""
    with_test: bool = False
    """Also open the held-out test images, only to find duplicates of other images among them."""
    json: bool = False
    """Print everything as JSON."""
    device: str = "auto"
    """auto, cpu, cuda ..."""


def audit(arguments: list[str]) -> None:
    """Find duplicates and labels that are likely wrong; write a page that shows them.

    Examples:
      modiste data audit
      modiste data audit shop --folds 0
    """
    from modiste.recipes.recipe import DataRecipe

    given = source_as_flag(arguments, AuditOptions, DataRecipe)
    data, options = parse_with_recipe(AuditOptions(), DataRecipe(), given, "modiste data audit", audit)
    from modiste.audits.audit import audit as run_audit
    from modiste.reports.page import write_audit
    from modiste.runs import storage

    storage.check_writable(options.out)
    recipe = _recipe(data, options)
    found = run_audit(
        recipe,
        folds=options.folds,
        test_images=_held_out(recipe.data, options.data_folder) if options.with_test else None,
        data_folder=options.data_folder,
        device=options.device,
        report=warn,
    )
    page = write_audit(found, options.out / PAGE, options.out / LIST)
    if options.json:
        print_json(found.as_plain())
    else:
        _show(found, page)


def _recipe(data: "DataRecipe", options: AuditOptions) -> "Recipe":
    """Return the recipe that is named, or the usual one for these data; print why if that is a backbone."""
    from modiste.audits.audit import usual_recipe, with_data

    if options.recipe or not options.folds:
        return with_data(named_recipe(options.recipe or "sprint"), data)
    choice = usual_recipe(data, options.data_folder)
    if choice.reason:
        warn(f"{choice.recipe.name}, because of {choice.reason}; choose otherwise with --recipe or --pictures")
    return choice.recipe


def _held_out(recipe: "DataRecipe", folder: Path | None) -> "HeldOutImages":
    """Print that the test images are opened, and load them."""
    from modiste.audits.audit import HeldOutImages, select_files
    from modiste.data import held_out
    from modiste.data.dataset import as_image_set
    from modiste.data.duplicates import for_comparison
    from modiste.data.sources import locate_pictures

    warn("the held-out test images are opened, to be compared with the others")
    place = locate_pictures(recipe.source, folder)
    if place is None:
        images = held_out.load_test(recipe, folder)
        return HeldOutImages(images, images, ())
    own, other = (held_out.load_held_out_pictures(place, one) for one in (recipe, for_comparison(recipe)))
    return HeldOutImages(as_image_set(own), select_files(own.files, as_image_set(other), other.files), own.files)


def _show(found: "Findings", page: Path) -> None:
    for note in found.notes:
        say(note)
    pairs = [pair[:2] for pair in found.near]
    say(f"exact duplicates: {len(found.exact):,} images more than once{_faults(found, found.exact)}")
    for group in found.exact[:SHOWN]:
        say("    " + " = ".join(_named(found, index) for index in group[:SHOWN]))
    say(f"near duplicates: {len(found.near):,} pairs{_faults(found, pairs)}")
    for pair in found.near[:SHOWN]:
        say("    " + " ~ ".join(_named(found, index) for index in pair[:2]) + f"  {pair.likeness:.4f}")
    share = f", of which {found.wrong_share}, {found.wrong_labels:,} in all, are wrong" if found.suspicious else ""
    say(f"suspicious labels: {len(found.suspicious):,}{share}")
    for one in found.suspicious[:SHOWN]:
        looks_like = found.class_names[one.looks_like]
        say(f"    {_named(found, one.image)}, looks like {looks_like}; {one.wrong_share} of such labels are wrong")
    say(f"see {page}; all of them: {page.with_name(LIST)}")


def _faults(found: "Findings", groups: Sequence[Sequence[int]]) -> str:
    """Return how many groups of duplicates lie in several splits, and how many have several labels."""
    across, differ = sum(map(found.crosses, groups)), sum(map(found.disagrees, groups))
    wrong = f", {differ:,} with different labels" if differ else ""
    return f", {across:,} of them across splits{wrong}"


def _named(found: "Findings", index: int) -> str:
    from modiste.errors import shown

    item = found.items[index]
    return f"{shown(item.name)} ({shown(item.label)}, {item.split})"
