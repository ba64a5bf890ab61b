"""Build ``docs/gallery``: finished pages that anyone can open before installing anything.

    python benchmarks/gallery.py [--check] [PAGE ...]

Without names, the script builds the pages that are stale. Runs are kept in ``runs/gallery``, so that a page whose
drawing has changed is written again in seconds. A page is stale if its commands, the recipes that they train, or the
source files that draw it have changed since it was built; ``--check`` compares hashes only, and builds nothing.
"""

import argparse
import hashlib
import html
import json
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from modiste.recipes.named import RECIPES
from modiste.recipes.plain import to_plain
from modiste.runs import storage

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "modiste"
FOLDER = ROOT / "docs" / "gallery"
RUNS = ROOT / "runs" / "gallery"
MANIFEST = "manifest.json"
MOST_BYTES = 1_500_000
"""Largest size of a page."""
REPORTS = ("reports/*.py", "reports/base.html", "reports/macros.html")


@dataclass(frozen=True)
class Page:
    """A page of the gallery.

    Attributes:
        name: Name of its file, without ``.html``.
        title: Heading in the gallery's README.
        about: What there is to see.
        prepare: Commands whose results are kept in ``runs/gallery``.
        write: The command that writes the page.
        made: File that ``write`` writes, relative to ``runs/gallery``.
        recipes: Named recipes that the commands train.
        sources: Patterns of the files below ``src/modiste`` that draw the page.
    """

    name: str
    title: str
    about: str
    prepare: tuple[str, ...]
    write: str
    made: str
    recipes: tuple[str, ...]
    sources: tuple[str, ...]

    @property
    def commands(self) -> tuple[str, ...]:
        """All commands, in order."""
        return (*self.prepare, self.write)

    @property
    def path(self) -> Path:
        """The page's file in the gallery."""
        return FOLDER / f"{self.name}.html"


SPRINT = "modiste train sprint --seeds 3 --out runs/gallery/base"
PAGES = (
    Page(
        "report",
        "A report",
        "What a student hands in: the paper's network, trained for ten epochs on 1,500 images of each class. Accuracy "
        "with its interval, learning curves, the paper's figures beside the run's, confusion matrix, calibration, "
        "mistakes, and what the network sees.",
        (
            "modiste train paper --epochs 10 --data.images-per-class 1500 --out runs/gallery/paper",
            "modiste evaluate runs/gallery/paper --split test",
        ),
        'modiste report runs/gallery/paper --title "The paper, on fewer images" --author "A student"',
        "paper/report.html",
        ("paper",),
        (*REPORTS, "reports/views/*.py", "reports/run.html"),
    ),
    Page(
        "reproduction",
        "The reproduction",
        "Every claim of the paper beside what is measured. This is the quick form, with one seed, few images and few "
        "epochs; the [record](../../records/reproduction/README.md) is the long one.",
        (),
        "modiste reproduce --quick --seeds 1 --out runs/gallery/reproduction",
        "reproduction/reproduction.html",
        ("paper", "paper-text", "inception"),
        (*REPORTS, "reports/reproduction.html", "reproduction/*.py"),
    ),
    Page(
        "comparison",
        "A comparison",
        "Is a smaller network as good? Three seeds of two recipes: intervals, verdict, curves, classes, and the images "
        "that only one of them gets right.",
        (SPRINT, "modiste train sprint --seeds 3 --model.hidden 32 --out runs/gallery/smaller"),
        "modiste report runs/gallery/base/sprint-0 runs/gallery/base/sprint-1 runs/gallery/base/sprint-2 "
        "runs/gallery/smaller/sprint-0 runs/gallery/smaller/sprint-1 runs/gallery/smaller/sprint-2 "
        '--title "Is a smaller network as good?" --out runs/gallery/comparison.html',
        "comparison.html",
        ("sprint",),
        (*REPORTS, "reports/comparison.html", "evaluation/comparison.py"),
    ),
    Page(
        "audit",
        "An audit of Fashion-MNIST",
        "Images that occur twice, and labels that are likely wrong, found among its 60,000 training images.",
        (),
        "modiste data audit --out runs/gallery/audit",
        "audit/audit.html",
        ("sprint",),
        (
            "reports/page.py",
            "reports/style.py",
            "reports/base.html",
            "reports/audit.html",
            "audits/*.py",
            "data/duplicates.py",
        ),
    ),
    Page(
        "classifier",
        "A classifier in one file",
        "Drop a picture of a garment, paste it, photograph it or draw it. The network runs inside the page: nothing is "
        "sent anywhere.",
        (SPRINT,),
        "modiste export runs/gallery/base/sprint-0 --to html --out runs/gallery/classifier.html",
        "classifier.html",
        ("sprint",),
        (
            *("exports/one_file.py", "exports/onnx_graph.py", "exports/page/*", "serving/page/*"),
            *("photo/opening.py", "photo/background.py", "photo/separation.py", "photo/garment.py"),
        ),
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pages", nargs="*", metavar="PAGE", help="build these alone, even if they are up to date")
    parser.add_argument("--check", action="store_true", help="build nothing; fail if a page is stale")
    options = parser.parse_args()
    if unknown := set(options.pages) - {page.name for page in PAGES}:
        parser.error(f"{', '.join(unknown)}: expected {', '.join(page.name for page in PAGES)}")
    if options.check:
        sys.exit("\n".join(faults(read_manifest())) or 0)
    for page in PAGES:
        built = read_manifest()
        if page.name in options.pages if options.pages else any(faults_of(page, built.get(page.name, {}))):
            storage.write_json(FOLDER / MANIFEST, {**built, page.name: build(page)})
    storage.write_text(FOLDER / "README.md", overview(read_manifest()))


def read_manifest() -> dict[str, Any]:
    """Return what is known of each page that was built, by its name."""
    path = FOLDER / MANIFEST
    return dict(storage.read_json(path)) if path.exists() else {}


def faults(built: dict[str, Any]) -> Iterator[str]:
    """Yield a line for each page that is stale, and for the gallery's README."""
    for page in PAGES:
        for fault in faults_of(page, built.get(page.name, {})):
            yield f"docs/gallery/{page.name}.html: {fault}; run: make gallery"
    readme = FOLDER / "README.md"
    if not readme.exists() or readme.read_text(encoding="utf-8") != overview(built):
        yield "docs/gallery/README.md: differs from benchmarks/gallery.py; run: make gallery"


def faults_of(page: Page, built: dict[str, Any]) -> Iterator[str]:
    """Yield what has changed since a page was built.

    Args:
        page: The page.
        built: What the manifest says of it; empty if it was never built.
    """
    if not page.path.exists():
        yield "missing"
        return
    names = {"commands": "its commands", "recipes": "its recipes", "sources": "the source that draws it"}
    for field, value in state(page).items():
        if built.get(field) != value:
            yield f"stale, {names[field]} changed"
    content = page.path.read_bytes()
    if built.get("page") != hashlib.sha256(content).hexdigest():
        yield "changed by hand"
    if len(content) > MOST_BYTES:
        yield f"expected at most {MOST_BYTES:,} bytes, found {len(content):,}"


def state(page: Page) -> dict[str, Any]:
    """Return what a page follows from: its commands, and the hashes of its recipes and of its source files."""
    recipes = {name: to_plain(RECIPES[name]()) for name in page.recipes}
    return {
        "commands": list(page.commands),
        "recipes": hashlib.sha256(json.dumps(recipes, sort_keys=True).encode()).hexdigest(),
        "sources": hash_of_files(sorted({path for pattern in page.sources for path in SOURCE.glob(pattern)})),
    }


def hash_of_files(paths: list[Path]) -> str:
    """Return one hash of the names and contents of files below ``src/modiste``."""
    found = hashlib.sha256()
    for path in paths:
        name, content = path.relative_to(SOURCE).as_posix(), hashlib.sha256(path.read_bytes()).hexdigest()
        found.update(f"{name} {content}\n".encode())
    return found.hexdigest()


def build(page: Page) -> dict[str, Any]:
    """Run a page's commands, put the page into the gallery, and return what the manifest says of it."""
    before = state(page)
    prepared = RUNS / f"{page.name}.json"  # so that a second build does not evaluate on test again
    kept = {"commands": list(page.prepare), "recipes": before["recipes"]}
    if not prepared.exists() or storage.read_json(prepared) != kept:
        for command in page.prepare:
            run(command)
        storage.write_json(prepared, kept)
    run(page.write)
    content = with_origin((RUNS / page.made).read_text(encoding="utf-8"), page)
    storage.write_text(page.path, content)
    return {
        **before,
        "page": hashlib.sha256(content.encode()).hexdigest(),
        "bytes": len(content.encode()),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
    }


def run(command: str) -> None:
    """Run a command of Modiste from the root of the checkout; stop with its status if it fails."""
    print(command, flush=True)
    status = subprocess.run([sys.executable, "-m", *shlex.split(command)], cwd=ROOT, check=False).returncode
    if status:
        sys.exit(status)


def with_origin(content: str, page: Page) -> str:
    """Return a page with the commands that made it in its footer."""
    commands = ", ".join(f"<code>{html.escape(command)}</code>" for command in page.commands)
    assert content.count("</footer>") == 1
    return content.replace("</footer>", f"<p>Part of the gallery. Made by: {commands}.</p></footer>")


def overview(built: dict[str, Any]) -> str:
    """Return the gallery's README."""
    parts = [
        "# Gallery",
        "Finished pages that Modiste has written. Each is one HTML file that loads nothing else: download and open it. "
        "`make gallery` builds them again. A test fails when a page no longer follows from its recipes and its source.",
    ]
    for page in PAGES:
        found = built.get(page.name, {})
        size = f"{found.get('bytes', 0) / 1e6:.2f} MB"
        origin = f"[Open {page.name}.html]({page.name}.html), {size}, built on {found.get('date')}."
        commands = "\n".join(page.commands)
        parts += [f"## {page.title}", page.about, origin, f"```\n{commands}\n```"]
    return "\n\n".join(part if part.startswith("```") else wrapped(part) for part in parts) + "\n"


def wrapped(text: str) -> str:
    """Return a paragraph in lines of at most 120 characters."""
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    main()
