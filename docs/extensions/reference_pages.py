"""Writes the reference: every public name of the library, and the help of every command, from the code itself."""

import contextlib
import importlib
import inspect
import io
import os
from pathlib import Path
from types import ModuleType
from typing import Any

from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer

import modiste
from modiste.cli.main import COMMANDS, main

COLUMNS = "84"
"""Width of the commands' help."""
RETURNED = {  # what public functions return and take, which has no public name of its own
    "modiste.evaluation.assessment": ("Assessment", "ClassScores"),
    "modiste.evaluation.comparison": ("Comparison", "Contrast"),
    "modiste.evaluation.fitted_ensemble": ("FittedEnsemble",),
    "modiste.evaluation.averaging": ("AveragingComparison", "Averaged"),
    "modiste.data.dataset": ("Development", "ImageSet"),
    "modiste.inference.answers": ("FileAnswer",),
    "modiste.exports.export": ("Exported",),
    "modiste.monitoring.drift": ("Drift", "Shift"),
}


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the writing of the pages, before Sphinx looks for pages."""
    app.connect("builder-inited", write_pages)
    return {"parallel_read_safe": True}


def write_pages(app: Sphinx) -> None:
    """Write the pages that have changed, into a folder that holds nothing else."""
    folder = Path(app.srcdir) / "docs" / "reference"
    folder.mkdir(exist_ok=True)
    for path in set(folder.iterdir()) - {folder / f"{name}.rst" for name in PAGES}:
        path.unlink()  # of an earlier version
    for name, write in PAGES.items():
        text = write()
        path = folder / f"{name}.rst"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def functions_page() -> str:
    """Return the page of the library's public names, and of the estimator."""
    public = [directive(f"modiste.{name}", getattr(modiste, name)) for name in modiste.__all__ if name[0] != "_"]
    return "\n\n".join(
        [
            heading("Functions and classes", "="),
            "``import modiste`` loads nothing heavy: each name is imported on first use. "
            "``modiste.__version__`` is the version.",
            *public,
            heading("scikit-learn", "-"),
            ".. autoclass:: modiste.sklearn.ModisteClassifier\n   :members:\n"
            "   :exclude-members: set_fit_request, set_score_request",
            "",
        ]
    )


def classes_page() -> str:
    """Return the page of the classes of what public functions return and take."""
    paths = [(module, name) for module, names in RETURNED.items() for name in names]
    found = [directive(f"{module}.{name}", getattr(importlib.import_module(module), name)) for module, name in paths]
    return "\n\n".join([heading("What functions take and return", "="), *found, ""])


def directive(path: str, value: object) -> str:
    """Return the autodoc directive for a public name."""
    if isinstance(value, ModuleType):
        shown = "\n\n".join(directive(f"{path}.{name}", getattr(value, name)) for name in value.__all__)
        return f".. automodule:: {path}\n\n{shown}"
    if inspect.isclass(value):
        if issubclass(value, BaseException):
            return f".. autoexception:: {path}\n   :show-inheritance:"
        return f".. autoclass:: {path}\n   :members:\n   :inherited-members: object, PathLike, ABC, Displayed"
    return f".. autofunction:: {path}" if callable(value) else data(path)


def data(path: str) -> str:
    """Return the description of a public name that is a table, with the docstring that stands beneath it."""
    module, name = modiste._LOCATIONS[path.rpartition(".")[2]]
    lines = ModuleAnalyzer.for_module(module).find_attr_docs()["", name]
    return f".. py:data:: {path}\n\n" + "\n".join(f"   {line}" for line in lines)


def commands_page() -> str:
    """Return the page of the commands in reStructuredText: what each prints for ``--help``."""
    parts = [heading("Commands", "="), literal(printed([]))]
    for name in COMMANDS:
        parts += [heading(f"modiste {name}", "-"), literal(printed([name, "--help"]))]
    parts += [
        heading("Fields of a recipe", "-"),
        "``modiste train paper --help-all``; other recipes have other networks.",
    ]
    return "\n\n".join([*parts, literal(printed(["train", "paper", "--help-all"])), ""])


def printed(arguments: list[str]) -> str:
    """Return what the command prints to standard output."""
    os.environ["COLUMNS"] = COLUMNS
    stream = io.StringIO()
    with contextlib.redirect_stdout(stream), contextlib.suppress(SystemExit):
        main(arguments)
    return stream.getvalue()


def heading(text: str, line: str) -> str:
    """Return a heading."""
    return f"{text}\n{line * len(text)}"


def literal(text: str) -> str:
    """Return a block that is shown as it is."""
    return ".. code-block:: text\n\n" + "\n".join(f"   {line}".rstrip() for line in text.splitlines())


PAGES = {"functions": functions_page, "classes": classes_page, "commands": commands_page}
"""Sphinx reads them in the order of their names, and must read the classes first: where a module is described first
decides how its source links back, and there its objects have their full names."""
