"""``modiste data audit``."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from modiste.cli.arguments import DataFolderOption, named_recipe, parse_beside, print_json, source_first
from modiste.cli.streams import say, warn
from modiste.recipes.recipe import DataRecipe

if TYPE_CHECKING:
    from modiste.audit.audit import Findings, Hidden

SHOWN = 5
"""Of each kind so many are printed; the page has more, the JSON file all."""
PAGE, LIST = "audit.html", "audit.json"


@dataclass(frozen=True, kw_only=True)
class _AuditOptions(DataFolderOption):
    out: Path = Path("audit")
    """Folder for the page and the list."""
    recipe: str = "sprint"
    """What is trained to tell wrong labels: a name or a file, as for modiste train."""
    folds: int = 4
    """Networks, each trained without a part of the images that it then answers; 0 looks for duplicates alone."""
    with_test: bool = False
    """Open the sealed test images too, to look for duplicates of the others among them, and for nothing else."""
    json: bool = False
    """Print everything as JSON."""
    device: str = "auto"
    """auto, cpu, cuda ..."""


def audit(words: list[str]) -> None:
    """Find duplicates and labels that are likely wrong; write a page that shows them."""
    data, options = parse_beside(_AuditOptions(), DataRecipe(), source_first(words), "modiste data audit")
    from modiste.audit.audit import audit as look
    from modiste.report.page import write_audit

    recipe = replace(named_recipe(options.recipe), data=data)
    found = look(
        recipe,
        folds=options.folds,
        hidden=_hidden(data, options.data_folder) if options.with_test else None,
        data_folder=options.data_folder,
        device=options.device,
        told=warn,
    )
    page = write_audit(found, options.out / PAGE, options.out / LIST)
    if options.json:
        print_json(found.as_plain())
    else:
        _show(found, page)


def _hidden(recipe: DataRecipe, folder: Path | None) -> "Hidden":
    """Open the test images, and say so."""
    from modiste.audit.audit import Hidden, for_comparison, of_files
    from modiste.data import held_out
    from modiste.data.dataset import as_image_set
    from modiste.data.pictures.picture_source import picture_place

    warn("the sealed test images are opened, to be compared with the others")
    place = picture_place(recipe.source, folder)
    if place is None:
        images = held_out.load_test(recipe, folder)
        return Hidden(images, images, ())
    own, other = (held_out.load_held_out_pictures(place, one) for one in (recipe, for_comparison(recipe)))
    return Hidden(as_image_set(own), of_files(own.files, as_image_set(other), other.files), own.files)


def _show(found: "Findings", page: Path) -> None:
    for note in found.notes:
        say(note)
    across = sum(found.crosses(group) for group in found.exact), sum(found.crosses(pair[:2]) for pair in found.near)
    say(f"exact duplicates: {len(found.exact):,} images more than once, {across[0]:,} of them across parts")
    for group in found.exact[:SHOWN]:
        say("    " + " = ".join(_named(found, index) for index in group[:SHOWN]))
    say(f"near duplicates: {len(found.near):,} pairs, {across[1]:,} of them across parts")
    for pair in found.near[:SHOWN]:
        say("    " + " ~ ".join(_named(found, index) for index in pair[:2]) + f"  {pair.likeness:.4f}")
    say(f"suspicious labels: {len(found.suspicious):,}")
    for one in found.suspicious[:SHOWN]:
        say(f"    {_named(found, one.image)}, looks like {found.class_names[one.looks_like]}, by {one.margin:.2f}")
    say(f"see {page}; all of them: {page.with_name(LIST)}")


def _named(found: "Findings", index: int) -> str:
    from modiste.errors import shown

    item = found.items[index]
    return f"{shown(item.name)} ({shown(item.label)}, {item.part})"
