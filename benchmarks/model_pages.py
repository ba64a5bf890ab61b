"""Draw the pictures of ``docs/models`` and write the parts of its pages that come from code and records.

    python benchmarks/model_pages.py [--runs runs/systems runs/record] [--text] [--check]

Diagrams need only the code. The preview of augmentation needs the data. Pictures of what networks see need finished
runs, ``NAME-0`` in one of the folders. The script prints which runs are missing and keeps their pictures.
"""

import argparse
import ast
import dataclasses
import inspect
import io
import json
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image, ImageChops

import modiste
from modiste.data.dataset import load_development
from modiste.evaluation.run_images import load_own_development
from modiste.models.registry import Task, build_model
from modiste.recipes.plain import to_plain
from modiste.reports import augmentations
from modiste.reports.architecture import trace
from modiste.reports.block_diagram import block_diagram, inside
from modiste.reports.network_diagram import network_diagram
from modiste.reports.style import render
from modiste.reports.views.registry import VIEWS, View, scene_of
from modiste.runs import manifest, storage
from modiste.runs.run_folder import open_run

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "models"
IMAGES = ROOT / "docs" / "images"
DPI = 100
MOST_COLOUR = 8
"""Largest difference from grey, out of 255, of a figure that is stored as grey."""
TASK = Task(image_shape=(1, 28, 28), class_names=tuple("0123456789"))
STANDARDIZED = dataclasses.replace(TASK, mean=0.286, deviation=0.353)


@dataclass(frozen=True)
class Page:
    """A page of docs/models; a new network needs an entry in PAGES and a file there.

    Attributes:
        recipes: Recipes of the page, all with the same kind of network.
        seen: Recipes whose finished runs are shown, with the names of the views; no names for all views.
        diagrams: Recipes whose networks are drawn.
    """

    recipes: tuple[str, ...]
    seen: dict[str, tuple[str, ...]]
    diagrams: tuple[str, ...]


PAGES = {
    "cnn": Page(("paper", "paper-text"), {"paper": ()}, ("paper",)),
    "mlp": Page(("perceptron", "mlp"), {"perceptron": (), "mlp": ()}, ("perceptron", "mlp")),
    "sprint": Page(
        (
            *("sprint", "sprint-93", "sprint-94", "sprint-95"),
            *("sprint-94-gpu", "sprint-95-gpu", "sprint-96-gpu", "photo", "photo-home", "photo-clothing"),
        ),
        {"sprint": ()},
        ("sprint", "sprint-94"),
    ),
    "inception": Page(("inception",), {"inception": ()}, ("inception",)),
    "resnet": Page(("resnet", "wide-resnet", "simclr"), {"resnet": ()}, ("resnet",)),
    "dbn": Page(("dbn", "dbn-frozen"), {"dbn-frozen": (), "dbn": ("filters",)}, ("dbn",)),
    "dropconnect": Page(("dropconnect",), {"dropconnect": ()}, ("dropconnect",)),
    "capsnet": Page(
        ("capsnet", "capsnet-gpu", "capsnet-deep"), {"capsnet": (), "capsnet-deep": ()}, ("capsnet", "capsnet-deep")
    ),
    "fashionnet": Page(("fashionnet",), {"fashionnet": ()}, ("fashionnet",)),
    "patch-graph": Page(("patch-graph", "patch-graph-gpu"), {"patch-graph": ()}, ("patch-graph",)),
    "superpixel-graph": Page(("superpixel-graph",), {"superpixel-graph": ()}, ("superpixel-graph",)),
    "efficientnet-lite": Page(("backbone-linear", "backbone-tuned", "backbone-tuned-lite2"), {}, ("backbone-linear",)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, nargs="+", default=[Path("runs/systems"), Path("runs/record")])
    parser.add_argument("--text", action="store_true", help="only write the pages, draw nothing")
    parser.add_argument("--check", action="store_true", help="only check that the pages agree with code and records")
    options = parser.parse_args()
    if not (options.text or options.check):
        draw(options.runs)
    stale = [name for name, page in PAGES.items() if not written(name, page, check=options.check)]
    if stale:
        sys.exit(f"docs/models: stale: {', '.join(stale)}; run: python benchmarks/model_pages.py --text")


def draw(folders: list[Path]) -> None:
    """Draw all pictures for which the data and runs are there."""
    save(augmentations.every_field(load_development()), IMAGES / "augmentations.png")
    for page in PAGES.values():
        draw_diagrams(page)
        for name in page.seen:
            draw_seen(name, page, folders)


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as a small PNG: without transparency, of one channel if it is grey, with the best compression."""
    buffer = io.BytesIO()
    image = Image.open(io.BytesIO(render(figure, "png", dpi=DPI))).convert("RGB")
    grey = image.convert("L")
    apart = ImageChops.difference(grey.convert("RGB"), image).getextrema()
    is_grey = max(highest for _, highest in apart) <= MOST_COLOUR  # type: ignore[misc]
    (grey if is_grey else image).save(buffer, "png", optimize=True)
    storage.write_bytes(path, buffer.getvalue())
    return path


def draw_diagrams(page: Page) -> None:
    """Draw the networks of a page, and the inside of their characteristic parts."""
    for name in page.diagrams:
        recipe = modiste.get_recipe(name)
        task = STANDARDIZED if recipe.standardize else TASK
        if recipe.data.colour:
            task = dataclasses.replace(task, image_shape=(3, recipe.data.side, recipe.data.side))
        model = build_model(recipe.model, task)
        save(network_diagram(trace(model, task.image_shape)), picture(name, "network"))
        part = inside(model)
        if part:
            save(block_diagram(part[1]), picture(name, "part"))


def draw_seen(name: str, page: Page, folders: list[Path]) -> None:
    """Draw what the network of a recipe's finished run sees, or print that there is no run."""
    found = [folder / f"{name}-0" for folder in folders if (folder / f"{name}-0" / manifest.NAME).is_file()]
    if not found:
        print(f"missing: no finished run {name}-0 in {', '.join(map(str, folders))}")
        return
    run = open_run(found[0])
    scene = scene_of(run, load_own_development(run))
    for view in views(name, page):
        figure = view.draw(scene)
        path = picture(name, view.name)
        print(f"nothing to draw for {path.name} in {run.folder}" if figure is None else save(figure, path))


def views(name: str, page: Page) -> Iterator[View]:
    """Yield the views of a recipe on its page."""
    for view in VIEWS[type(modiste.get_recipe(name).model)]:
        if not page.seen[name] or view.name in page.seen[name]:
            yield view


def written(name: str, page: Page, *, check: bool) -> bool:
    """Write the generated parts of a page; with ``check`` only return whether they are up to date."""
    path = FOLDER / f"{name}.md"
    before = after = path.read_text(encoding="utf-8")
    parts = {"measured": measured(page), "diagram": diagram(page), "seen": seen(page), "fields": fields_table(page)}
    for part, text in parts.items():
        after = with_part(after, part, text)
    if not check:
        path.write_text(after, encoding="utf-8")
    return not check or before == after


def with_part(text: str, part: str, content: str) -> str:
    """Return ``text`` with the content between the markers of ``part`` replaced."""
    start, end = f"<!-- {part} -->", f"<!-- end of {part} -->"
    before, rest = text.split(start)
    _, after = rest.split(end)
    return f"{before}{start}{content}{end}{after}"


def measured(page: Page) -> str:
    """Return the results of a page's recipes in the records."""
    parts = []
    for path in sorted((ROOT / "records").glob("*/record.json")):
        for result in json.loads(path.read_text(encoding="utf-8")).get("results", ()):
            if result["recipe"] in page.recipes:
                count, mean = result["n"], result["test_accuracy"]["mean"]
                seeds = "one seed" if count == 1 else f"{count} seeds"
                link = f"[records/{path.parent.name}](../../records/{path.parent.name}/README.md)"
                parts.append(f"`{result['recipe']}` {100 * mean:.2f} % on test ({seeds}, {result['training']}, {link})")
    return "; ".join(parts) or "not yet"


def diagram(page: Page) -> str:
    """Return the diagrams of a page in Markdown."""
    lines = []
    for name in page.diagrams:
        for kind, words in (("network", "the network, stage by stage"), ("part", "its characteristic part")):
            if picture(name, kind).is_file():
                lines.append(image(name, kind, f"{name}: {words}"))
    return "\n" + "\n\n".join(lines) + "\n"


def seen(page: Page) -> str:
    """Return the views of a page in Markdown, each with its caption."""
    shown = [(name, view) for name in page.seen for view in views(name, page) if picture(name, view.name).is_file()]
    if not shown:
        return "\nNot drawn yet: a finished run is wanted (`python benchmarks/model_pages.py`).\n"
    parts = [f"{image(name, view.name, title(view))}\n\n{wrap(f'`{name}`: {view.caption}')}" for name, view in shown]
    return "\n" + "\n\n".join(parts) + "\n"


def fields_table(page: Page) -> str:
    """Return the fields of the network with each recipe's values."""
    models = [modiste.get_recipe(name).model for name in page.recipes]
    notes = field_notes(type(models[0]))
    plain = [to_plain(model) for model in models]
    lines = [
        f"| field | {' | '.join(f'`{name}`' for name in page.recipes)} | what it is |",
        "|---" * (len(models) + 2) + "|",
    ]
    for item in dataclasses.fields(models[0]):
        values = " | ".join(show(values[item.name]) for values in plain)
        lines.append(f"| `{item.name}` | {values} | {notes[item.name]} |")
    return "\n" + "\n".join(lines) + "\n"


def field_notes(kind: type) -> dict[str, str]:
    """Return the docstring of each field of a dataclass, from its source."""
    (body,) = (node.body for node in ast.parse(inspect.getsource(kind)).body if isinstance(node, ast.ClassDef))
    notes = {}
    for one, next_one in pairwise(body):
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name) and isinstance(next_one, ast.Expr):
            notes[one.target.id] = " ".join(str(ast.literal_eval(next_one.value)).split())
    return notes


def show(value: object) -> str:
    """Return a plain value as text."""
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def picture(name: str, kind: str) -> Path:
    """Return the path of a picture."""
    return IMAGES / "models" / f"{name}-{kind}.png"


def image(name: str, kind: str, words: str) -> str:
    """Return a picture in Markdown."""
    return f"![{words}](../images/models/{picture(name, kind).name})"


def title(view: View) -> str:
    """Return the first sentence of a view's caption."""
    return view.caption.partition(". ")[0].removesuffix(".")


def wrap(text: str) -> str:
    """Return a paragraph in lines of 120 characters."""
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    main()
