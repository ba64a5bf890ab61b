"""The space of a search: for each searched field of the recipe, a range or a list of values."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modiste.errors import RecipeError
from modiste.recipes.plain import demand, flatten, nearest, to_plain
from modiste.recipes.recipe import Recipe, from_plain, read_table

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

FORM = "FIELD=log(LOW,HIGH), uniform(LOW,HIGH), integer(LOW,HIGH) or choice(VALUE,VALUE,...)"
KINDS = ("log", "uniform", "integer", "choice")
LARGEST_GRID = 100_000


@dataclass(frozen=True)
class Dimension:
    """One searched field and its possible values.

    Attributes:
        field: Dotted name of a recipe's field, for example ``optimizer.learning_rate``.
        kind: ``log`` and ``uniform`` draw a number from a range, ``integer`` a whole number, ``choice`` from a list.
        values: The ends of the range, or the list.
        whole: Whether the field holds whole numbers, so that ``log`` draws whole numbers.
    """

    field: str
    kind: str
    values: tuple[Any, ...]
    whole: bool = False

    def distribution(self) -> "BaseDistribution":
        """Return Optuna's distribution for this dimension."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.kind == "choice":
            return CategoricalDistribution([_as_category(value) for value in self.values])
        if self.kind == "integer" or self.whole:
            return IntDistribution(self.values[0], self.values[1], log=self.kind == "log")
        return FloatDistribution(self.values[0], self.values[1], log=self.kind == "log")

    def drawn(self, value: Any) -> Any:
        """Return the field's value for a value that Optuna drew."""
        if self.kind != "choice":
            return value
        return self.values[[_as_category(one) for one in self.values].index(value)]

    def category(self, value: Any) -> Any:
        """Return Optuna's value for the field's value; Optuna represents lists as text."""
        return _as_category(value) if self.kind == "choice" else value

    def points(self) -> Sequence[Any]:
        """Return all possible values; RecipeError if there are infinitely many."""
        if self.kind == "choice":
            return self.values
        if self.kind == "integer":
            return range(self.values[0], self.values[1] + 1)
        raise RecipeError(f"{self.field}: a grid needs a finite number of values; expected choice or integer")


Space = tuple[Dimension, ...]


def parse(texts: Iterable[str], recipe: Recipe) -> Space:
    """Parse a space and check its values with the recipe.

    Args:
        texts: Texts of the form ``FIELD=KIND(...)``, for example ``optimizer.learning_rate=log(1e-4,1e-1)``.
        recipe: That has the fields.

    Raises:
        RecipeError: A text has another form, the recipe has no such field, a field appears twice, or a value is not
            valid for its field.
    """
    known = {name: value for name, value in flatten(to_plain(recipe)) if not name.endswith(".kind")}
    space = tuple(_fit(_dimension(text), recipe, known) for text in texts)
    if not space:
        raise RecipeError(f"the space is empty; expected at least one field: {FORM}")
    names = [dimension.field for dimension in space]
    for name in names:
        if names.count(name) > 1:
            raise RecipeError(f"{name}: appears twice in the space; give each field once")
    return space


def read(arguments: Iterable[str]) -> tuple[str, ...]:
    """Return the texts of a space from command-line arguments, reading the files among them.

    A .toml or .json file maps field names, nested as in a recipe or dotted, to texts such as ``log(1e-4,1e-1)``.

    Args:
        arguments: Each a text ``FIELD=KIND(...)`` or the name of a file.

    Raises:
        RecipeError: A file cannot be read.
    """
    texts: list[str] = []
    for argument in arguments:
        if argument.endswith((".toml", ".json")):
            table = read_table(Path(argument))
            demand(isinstance(table, Mapping), argument, "a table of fields", table)
            texts += [f"{field}={text}" for field, text in flatten(table)]
        else:
            texts.append(argument)
    return tuple(texts)


def apply(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """Return the recipe with these values in these fields; RecipeError if a value is not valid."""
    plain = to_plain(recipe)
    for field, value in values.items():
        *parts, name = field.split(".")
        inner = plain
        for part in parts:
            inner = inner[part]
        inner[name] = value
    return from_plain(plain)


def grid(space: Space, number: int) -> dict[str, Any]:
    """Return the values of one point of the grid; the last field varies fastest."""
    values = {}
    for dimension in reversed(space):
        points = dimension.points()
        number, index = divmod(number, len(points))
        values[dimension.field] = points[index]
    return {dimension.field: values[dimension.field] for dimension in space}


def grid_size(space: Space) -> int:
    """Return the number of points of the grid; RecipeError if it is above LARGEST_GRID."""
    size = prod(len(dimension.points()) for dimension in space)
    if size > LARGEST_GRID:
        raise RecipeError(f"the grid has {size:,} points; expected at most {LARGEST_GRID:,}; narrow the space")
    return size


def _dimension(text: str) -> Dimension:
    """Parse one dimension, without the recipe."""
    match = re.fullmatch(r"\s*([\w.-]+)\s*=\s*(\w+)\((.*)\)\s*", text)
    if match is None:
        raise RecipeError(f"{text!r}: expected {FORM}")
    field, kind, inside = match[1].replace("-", "_"), match[2], match[3]
    if kind not in KINDS:
        raise RecipeError(f"{field}: {kind!r} is unknown; {nearest(kind, KINDS)}")
    values = tuple(_value(part) for part in _split(inside))
    if kind == "choice":
        if not values or len({json.dumps(value) for value in values}) < len(values):
            raise RecipeError(f"{field}: expected different values to choose from, found {inside!r}")
        return Dimension(field, kind, values)
    wanted = int if kind == "integer" else (int, float)
    numbers = all(isinstance(value, wanted) and not isinstance(value, bool) for value in values)
    if len(values) != 2 or not numbers or not values[0] < values[1]:
        raise RecipeError(f"{field}: expected {kind}(LOW,HIGH) with LOW below HIGH, found {inside!r}")
    if kind == "log" and values[0] <= 0:
        raise RecipeError(f"{field}: expected log(LOW,HIGH) with LOW above 0, found {inside!r}")
    return Dimension(field, kind, values)


def _fit(dimension: Dimension, recipe: Recipe, known: Mapping[str, Any]) -> Dimension:
    """Return the dimension with ``whole`` set from the recipe; RecipeError if the field or a value is not valid."""
    name = dimension.field
    if name not in known:
        raise RecipeError(f"{name}: no such field of {recipe.name}; {nearest(name, known)}")
    whole = type(known[name]) is int
    if whole and dimension.kind == "uniform":
        raise RecipeError(f"{name}: holds whole numbers; expected integer(LOW,HIGH), log(LOW,HIGH) or choice(...)")
    for value in dimension.values:
        apply(recipe, {name: value})
    return replace(dimension, whole=whole)


def _split(inside: str) -> list[str]:
    """Split at the commas outside brackets."""
    return [part.strip() for part in re.split(r",(?![^\[]*\])", inside) if part.strip()]


def _value(text: str) -> Any:
    """Return a JSON value, or the text itself if it is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _as_category(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list) else value
