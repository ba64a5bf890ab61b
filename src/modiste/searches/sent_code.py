"""Code that is not Modiste's in the processes that run trials, which import it by name."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modiste.data import sources
from modiste.data.locations import FASHION_MNIST
from modiste.errors import DataError, RecipeError
from modiste.recipes import own_code
from modiste.recipes.recipe import Recipe


@dataclass(frozen=True)
class SentCode:
    """Import paths, ``package.module:Name``, of what a worker imports before it runs a trial.

    The driver makes it of code that a person has named there, so no file decides what is imported.

    Attributes:
        code: Paths of a network, a loss and an augmentation.
        source: Path of the class of a kind of data source, called without arguments; empty for Modiste's own kinds.
    """

    code: tuple[str, ...] = ()
    source: str = ""

    def load(self) -> None:
        """Import everything and make it known in this process; RecipeError if it cannot be found here."""
        for path in self.code:
            own_code.register(path)
        if self.source:
            source = own_code.import_code(self.source)()
            if sources.added(source.name) is None:
                sources.add(source)


NO_CODE = SentCode()
"""For trials of Modiste's own code."""


def sent_code(recipe: Recipe, data_folder: Path | None = None) -> SentCode:
    """Return what the workers need for trials of a recipe; nothing for one that is Modiste's alone.

    Args:
        recipe: Recipe of the search.
        data_folder: See ``load_dataset``.

    Raises:
        RunError: The recipe names code that nobody has named in this process.
        RecipeError: A worker could not import the code: it belongs to a notebook or a script, or has been built.
    """
    references = recipe.own_references.items()
    code = tuple(_path(own_code.find(reference, kind), kind) for kind, reference in references)
    return SentCode(code, _source_path(recipe.data.source, data_folder))


def _source_path(source: str, data_folder: Path | None) -> str:
    """Return the import path of the class of an added kind of source if it reads these data, else empty text."""
    if source == FASHION_MNIST:
        return ""
    with suppress(DataError):  # the data may lie on the workers' machines alone
        found, _ = sources.locate(source, data_folder)
        if sources.added(found.name) is not None:
            path = _path(type(found), "data source")
            with own_code.faults_named(path, "cannot be made without arguments, as a worker makes it"):
                type(found)()
            return path
    return ""


def _path(code: Any, kind: str) -> str:
    """Return the path by which a worker imports a class or a function; RecipeError if it cannot."""
    if not own_code.has_name(code):
        raise RecipeError(
            f"{kind}: expected a class or a function, which the workers of a search import by name, found a "
            f"{type(code).__name__} that has been built"
        )
    path = f"{code.__module__}:{code.__qualname__}"
    if code.__module__ in ("__main__", "__mp_main__") or "<locals>" in path:
        raise RecipeError(
            f"{kind} {path}: cannot be imported by the workers of a search; put it at the top level of a file beside "
            f"your program, such as my_code.py, and name it my_code:{code.__name__}"
        )
    if own_code.reference_to(own_code.import_code(path)) != own_code.reference_to(code):
        raise RecipeError(f"{kind} {path}: that name leads to other code now; restart Python, or give it another name")
    return path
