"""Code that is not Modiste's: how a recipe names a network, a loss or an augmentation, and how the code is found again.

A recipe holds a reference: the import path, and the beginning of the hash of the source. Reading a recipe or a run
never imports that code. A person names it, with ``register``, an argument of ``modiste.train`` or a flag.
"""

import hashlib
import importlib
import inspect
import logging
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from modiste.errors import ModisteError, RecipeError, RunError

HASH_DIGITS = 16
SEPARATOR = "@"
"""Between import path and hash in a reference: ``package.module:Net@0123456789abcdef``."""
FLAGS = {"network": "--network MODULE:NAME", "loss": "--loss MODULE:NAME", "augmentation": "--augment MODULE:NAME"}
"""How the command line names each kind of code."""
LIBRARIES = ("torch", "modiste")
"""Packages whose lines a message does not name: the fault lies in the code that calls them."""

_registered: dict[str, Any] = {}


def register(code: Any) -> str:
    """Make code available in this process to recipes that name it, and return its reference.

    Args:
        code: A class, a function, a network that has been built, or an import path.

    Raises:
        RecipeError: The code has no name to find it by, such as a lambda, or an import path leads nowhere.
    """
    found = import_code(code) if isinstance(code, str) else code
    reference = reference_to(found)
    _registered.pop(reference, None)  # the newest stands last
    _registered[reference] = found
    return reference


def find(reference: str, kind: str) -> Any:
    """Return the registered code that a recipe names.

    Code of the same name counts too, with a warning: its source has changed since, or lies in another module now.

    Args:
        reference: As a recipe holds it.
        kind: ``network``, ``loss`` or ``augmentation``, for the message.

    Raises:
        RunError: This process does not have the code.
    """
    if reference in _registered:
        return _registered[reference]
    for known, code in reversed(_registered.items()):
        if name_in(known) == name_in(reference):
            _warn_once(reference, known)
            return code
    raise RunError(
        f"{path_in(reference)}: this {kind} is not part of Modiste, and files never import code; "
        f"name it: {FLAGS[kind]}, or in Python {kind}=..."
    )


@cache
def _warn_once(reference: str, known: str) -> None:
    logging.getLogger(__name__).warning(
        "%s takes the place of %s: the source is not that of the run, and results may differ", known, reference
    )


def import_code(path: str) -> Any:
    """Import what a person named: ``package.module:Net``. Modules in the current folder are found too.

    Raises:
        RecipeError: The path is malformed, or the module or name does not exist.
    """
    module_name, _, name = path.partition(":")
    if not all(part.isidentifier() for part in [*module_name.split("."), *name.split(".")]):
        raise RecipeError(f"{path}: expected MODULE:NAME, such as my_networks:Net")
    here = str(Path.cwd())
    sys.path.append(here)  # at the end: a file of this folder takes the place of no installed package
    try:
        with faults_named(path, f"the module {module_name} cannot be imported"):
            found = importlib.import_module(module_name)
    finally:  # the same text may stand elsewhere too, first above all, and the module may have changed the list
        sys.path[:] = [entry for entry in sys.path if entry is not here]
    for part in name.split("."):
        if not hasattr(found, part):
            raise RecipeError(f"{path}: {module_name} has no {name}")
        found = getattr(found, part)
    return found


def reference_to(code: Any) -> str:
    """Return the reference to code; RecipeError if it has no name.

    For a network that has been built, the path is that of its class, and the hash covers its structure.
    """
    named = code if inspect.isroutine(code) or inspect.isclass(code) else type(code)
    name = named.__qualname__
    if "<lambda>" in name:
        raise RecipeError("own code: expected a class or a function with a name, found a lambda; give it a name")
    content = _source(named) + ("" if named is code else repr(code))
    digest = hashlib.sha256(content.encode()).hexdigest()[:HASH_DIGITS]
    return f"{named.__module__}:{name}{SEPARATOR}{digest}"


def is_reference(text: str) -> bool:
    """Return whether a text has the form of a reference."""
    path, separator, digest = text.rpartition(SEPARATOR)
    return bool(separator and path.partition(":")[2]) and len(digest) == HASH_DIGITS and set(digest) <= _HEXADECIMAL


def path_in(reference: str) -> str:
    """Return the import path in a reference."""
    return reference.rpartition(SEPARATOR)[0]


def name_in(reference: str) -> str:
    """Return the last part of the name in a reference, such as ``Net``."""
    return path_in(reference).rpartition(":")[2].rpartition(".")[2]


@contextmanager
def faults_named(name: str, what: str) -> Iterator[None]:
    """Turn whatever code raises in the block into a RecipeError that names it, and the line at fault.

    Args:
        name: Import path of the code.
        what: What it failed to do.
    """
    try:
        yield
    except ModisteError:
        raise
    except Exception as error:
        line = (str(error) or "no message").splitlines()[0]
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if not _is_of_libraries(frame.filename)]
        place = f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""
        raise RecipeError(f"{name}: {what}: {type(error).__name__}: {line}{place}") from error


def _is_of_libraries(file: str) -> bool:
    """Return whether a file belongs to an imported package of LIBRARIES."""
    packages = (sys.modules.get(library) for library in LIBRARIES)
    folders = (folder for package in packages for folder in getattr(package, "__path__", ()))
    return any(Path(file).is_relative_to(folder) for folder in folders)


def accepted_arguments(code: Callable[..., Any], offered: dict[str, Any]) -> dict[str, Any]:
    """Return those of the offered keyword arguments that the code has parameters for."""
    try:
        parameters = inspect.signature(code).parameters
    except (TypeError, ValueError):
        return {}
    return {name: value for name, value in offered.items() if name in parameters}


_HEXADECIMAL = frozenset("0123456789abcdef")


def _source(code: Any) -> str:
    """Return the source text of a class or function; its name if the source is not at hand, as in an interpreter."""
    try:
        return inspect.getsource(code)
    except (OSError, TypeError):
        return str(code.__qualname__)
