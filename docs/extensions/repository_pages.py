"""Makes the pages of the repository, which hold no Sphinx syntax, into a site: its navigation, and links to folders."""

import re
from pathlib import Path, PurePosixPath
from posixpath import normpath
from typing import Any

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

PAGE = re.compile(r"\]\(([^)#:]+)\.(?:md|ipynb)\)")
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)#:]+)\)")
INDEX, RECORDS = "docs/index", "records/README"
GENERATED = {"Reference": ["docs/reference/functions", "docs/reference/commands"]}
"""Pages that a section of the index has on the site alone."""


def setup(app: Sphinx) -> dict[str, Any]:
    """Register what changes a page's text before Sphinx reads it, and the language of drawings."""
    app.connect("source-read", change)
    app.add_lexer("mermaid", TextLexer)  # GitHub draws these; the site shows their text
    return {"parallel_read_safe": True}


def change(app: Sphinx, page: str, source: list[str]) -> None:
    """Add the navigation to the index and the records, and unlink folders, which a site cannot show."""
    text = without_folders(source[0], Path(app.srcdir) / PurePosixPath(page).parent)
    if page == INDEX:
        text += navigation(text)
    if page == RECORDS:
        others = sorted(app.project.docnames)
        text += tree("", [name for name in others if name.startswith("records/") and name != RECORDS])
    source[0] = text


def without_folders(text: str, folder: Path) -> str:
    """Return a page's text in which a link to a folder leads to its README.md, or is plain text where it has none.

    So is a link to a file without an ending, which Sphinx takes for a page.
    """

    def changed(link: re.Match[str]) -> str:
        words, target = link.groups()
        if (folder / target / "README.md").exists():
            return f"[{words}]({target.rstrip('/')}/README.md)"
        return words if (folder / target).is_dir() or not PurePosixPath(target).suffix else link.group()

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
