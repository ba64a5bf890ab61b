"""Makes the pages of the repository, which hold no Sphinx syntax, into a site: its navigation and its links."""

import re
from collections.abc import Container
from pathlib import Path, PurePosixPath
from posixpath import normpath
from typing import Any

from sphinx.application import Sphinx

PAGE = re.compile(r"\]\(([^)#:]+)\.(?:md|ipynb)\)")
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)#:]+)\)")
INDEX, RECORDS = "docs/index", "records/README"
GENERATED = {"Reference": [f"docs/reference/{name}" for name in ("functions", "classes", "commands")]}
"""Pages that a section of the index has on the site alone."""


def setup(app: Sphinx) -> dict[str, Any]:
    """Register what changes a page's text before Sphinx reads it."""
    app.connect("source-read", change)
    return {"parallel_read_safe": True}


def change(app: Sphinx, page: str, source: list[str]) -> None:
    """Add the navigation to the index and the records, and mend links that a site cannot follow."""
    pages = app.project.docnames
    text = with_links_of_the_site(source[0], PurePosixPath(page).parent, Path(app.srcdir), pages)
    if page == INDEX:
        text += navigation(text)
    if page == RECORDS:
        text += tree("", [name for name in sorted(pages) if name.startswith("records/") and name != RECORDS])
    source[0] = text


def with_links_of_the_site(text: str, folder: PurePosixPath, root: Path, pages: Container[str]) -> str:
    """Return a page's text in which no link leads to what the site lacks.

    A link to a folder leads to its README.md. Where there is none, and for pages outside of the site, only the words of
    the link stay. Other files are copied to the site by Sphinx.

    Args:
        text: Text of the page.
        folder: Folder of the page, relative to the checkout.
        root: Root of the checkout.
        pages: Names of the site's pages, without their endings.
    """

    def changed(link: re.Match[str]) -> str:
        words, target = link.groups()
        path = PurePosixPath(normpath(folder / target))
        if (root / path).is_dir():
            target, path = f"{target.rstrip('/')}/README.md", path / "README.md"
        missing = path.suffix == ".md" and str(path.with_suffix("")) not in pages
        return words if missing else f"[{words}]({target})"

    return LINK.sub(changed, text)


def navigation(index: str) -> str:
    """Return a toctree for each section of the index, of the pages that the section links."""
    trees, seen = [], {INDEX}
    first, *sections = re.split(r"^## ", index, flags=re.MULTILINE)
    for section in [f"\n{first}", *sections]:
        name = section.partition("\n")[0]
        linked = [normpath(f"docs/{target}") for target in PAGE.findall(section)]
        pages = [page for page in dict.fromkeys([*GENERATED.get(name, []), *linked]) if page not in seen]
        seen.update(pages)
        trees.append(tree(name, pages))
    return "".join(trees)


def tree(caption: str, pages: list[str]) -> str:
    """Return a hidden toctree."""
    options = f":hidden:\n:caption: {caption}" if caption else ":hidden:"
    return "\n\n```{toctree}\n" + options + "\n\n" + "".join(f"/{page}\n" for page in pages) + "```\n"
