"""Code that is not Modiste's: how a recipe names a network, a loss or an augmentation, and how the code is found again.

A recipe holds a reference: the import path, and the beginning of a hash of the source. The hash of an object covers its
numbers too. Reading a recipe or a run never imports that code. A person names it, with ``register``, an argument of
``modiste.train`` or a flag.
"""

import hashlib
import importlib
import inspect
import logging
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from copyreg import dispatch_table
from functools import cache, partial
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
PLAIN = (type(None), bool, int, float, complex, str, bytes)
"""Types of values that are written alike in every process."""

_registered: dict[str, Any] = {}


def register(code: Any, kind: str = "network") -> str:
    """Make code available in this process to recipes that name it, and return its reference.

    Args:
        code: As ``reference_to`` takes it, or an import path.
        kind: ``network``, ``loss`` or ``augmentation``.

    Raises:
        RecipeError: As ``reference_to``, or an import path leads nowhere.
    """
    found = import_code(code) if isinstance(code, str) else code
    reference = reference_to(found, kind)
    _make_known(reference, found)
    return reference


def register_for_runs(code: Any, kind: str = "network") -> None:
    """Make code available in this process to runs that name it, also to those of earlier versions.

    They have other references to objects. Such a run may name what ``reference_to`` refuses.

    Args:
        code: A class, a function, any other object that can be called, or an import path.
        kind: ``network``, ``loss`` or ``augmentation``.

    Raises:
        RecipeError: The code is a lambda, or an import path leads nowhere.
    """
    found = import_code(code) if isinstance(code, str) else code
    _make_known(_earlier_reference(found), found)
    with suppress(RecipeError):
        _make_known(reference_to(found, kind), found)


def _make_known(reference: str, code: Any) -> None:
    _registered.pop(reference, None)  # the newest stands last
    _registered[reference] = code


def find(reference: str, kind: str) -> Any:
    """Return the registered code that a recipe names.

    Code of the same name counts too, with a warning: its source or its numbers have changed since, or it lies in
    another module now.

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
        "%s takes the place of %s: its source or a number is not that of the run, and results may differ",
        known,
        reference,
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


def reference_to(code: Any, kind: str = "network") -> str:
    """Return the reference to code.

    The path of a ``functools.partial`` is that of its function; that of any other object is that of its class. The hash
    covers what Python would rebuild the object from in another process: arguments, attributes, weights. Only of a
    network that has been built it covers the structure alone, because the run keeps the weights.

    Args:
        code: A class, a function, or an object that can be called.
        kind: ``network``, ``loss`` or ``augmentation``.

    Raises:
        RecipeError: The code cannot be called or has no name; or Python could not rebuild it in another process, or it
            holds itself.
    """
    if not callable(code):
        raise RecipeError(
            f"{kind}: expected a class, a function or an object to call, found a {type(code).__qualname__}"
        )
    if has_name(code):
        return _reference(code)
    if kind == "network" and _is_module(code):
        return _reference(type(code), repr(code))
    try:
        return _reference(_called(code), _written(code))
    except RecipeError:
        raise
    except Exception as error:  # the object's own code may run, and may raise anything
        reason = (str(error).splitlines() or ["no reason is given"])[0]
        raise RecipeError(
            f"{kind}: expected values that another process can rebuild, found a {type(code).__qualname__}: {reason}; "
            "give a function, or a class whose attributes are plain values"
        ) from error


def _earlier_reference(code: Any) -> str:
    """Return the reference that earlier versions wrote: to an object by its class and ``repr``."""
    is_named = has_name(code) or inspect.ismethod(code)
    return _reference(code) if is_named else _reference(type(code), repr(code))


def has_name(code: Any) -> bool:
    """Return whether code is a class or a function, and no method of an object or ``functools.partial``."""
    is_of_object = inspect.ismethod(code) and not inspect.isclass(code.__self__)
    is_named = inspect.isroutine(code) or inspect.isclass(code)
    return is_named and not (is_of_object or isinstance(code, partial))  # from Python 3.14 on, a partial is a routine


def _called(code: Any) -> Any:
    """Return the class or function whose source an object runs when it is called."""
    if inspect.ismethod(code):
        return code.__func__
    return code.func if isinstance(code, partial) and has_name(code.func) else type(code)


def _reference(named: Any, rest: str = "") -> str:
    """Return the reference to a class or a function; the hash covers its source and ``rest``."""
    name = named.__qualname__
    if "<lambda>" in name:
        raise RecipeError("own code: expected a class or a function with a name, found a lambda; give it a name")
    digest = hashlib.sha256((_source(named) + rest).encode()).hexdigest()[:HASH_DIGITS]
    return f"{_path(named)}{SEPARATOR}{digest}"


def _written(value: Any) -> str:
    """Return a value as text that is the same in every process. An object is what ``pickle`` would rebuild it from."""
    kind = type(value)
    if kind in PLAIN:
        return repr(value)
    if has_name(value):
        return _path(value) if _is_of_a_library(value) else _reference(value)
    if kind in (list, tuple):
        return f"{kind.__name__}({', '.join(map(_written, value))})"
    if isinstance(value, set | frozenset):
        return f"{kind.__name__}({', '.join(sorted(map(_written, value)))})"
    if kind is dict:
        return f"dict({', '.join(sorted(map(_written, value.items())))})"
    if _is_tensor(value):
        value = value.detach().contiguous().cpu()
        return (
            f"{value.dtype} {tuple(value.shape)} {_hash(value.view(-1).view(sys.modules['torch'].uint8).numpy().data)}"
        )
    if _is_array(value):
        return f"{value.dtype} {value.shape} {_hash(value.tobytes())}"
    if _is_module(value):
        return _written((kind, _parts(value)))
    reduce = dispatch_table.get(kind)
    found: Any = value.__reduce_ex__(4) if reduce is None else reduce(value)  # TypeError if nothing could rebuild it
    if isinstance(found, str):  # the name of one that is there in every process
        return found
    return _written([list(one) if hasattr(one, "__next__") else one for one in found])


def _path(named: Any) -> str:
    return f"{named.__module__}:{named.__qualname__}"


def _is_of_a_library(named: Any) -> bool:
    """Return whether code is Python's own or a library's, whose source differs between versions."""
    package = str(named.__module__).partition(".")[0]
    return package in sys.stdlib_module_names or package in ("numpy", *LIBRARIES)


def _hash(content: Any) -> str:
    return hashlib.sha256(content).hexdigest()


def _is_tensor(value: Any) -> bool:
    torch = sys.modules.get("torch")  # without which there is none: nothing here imports it
    return torch is not None and isinstance(value, torch.Tensor)


def _is_array(value: Any) -> bool:
    numpy = sys.modules.get("numpy")
    is_plain = numpy is not None and (type(value) is numpy.ndarray or isinstance(value, numpy.generic))
    return is_plain and not value.dtype.hasobject


def _is_module(code: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(code, torch.nn.Module)


def _parts(module: Any) -> dict[str, Any]:
    """Return the attributes of a module with its parameters, buffers and modules, but not what every module has."""
    of_every_module = vars(sys.modules["torch"].nn.Module())
    own = {name: value for name, value in vars(module).items() if name not in of_every_module}
    tensors = {**dict(module.named_parameters(recurse=False)), **dict(module.named_buffers(recurse=False))}
    return {**own, **tensors, **dict(module.named_children())}


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
    names = {parameter.name for parameter in parameters_of(code)}
    return {name: value for name, value in offered.items() if name in names}


def parameters_of(code: Callable[..., Any]) -> tuple[inspect.Parameter, ...]:
    """Return the parameters of code; none if Python cannot tell, as of compiled code such as ``torch.dist``."""
    try:
        return tuple(inspect.signature(code).parameters.values())
    except (TypeError, ValueError):  # not callable, or compiled
        return ()


_HEXADECIMAL = frozenset("0123456789abcdef")


def _source(code: Any) -> str:
    """Return the source text of a class or function; its name if the source is not at hand, as in an interpreter."""
    try:
        return inspect.getsource(code)
    except (OSError, TypeError):
        return str(code.__qualname__)
