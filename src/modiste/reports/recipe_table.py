"""The fields of a recipe as a report shows them: those that were changed, the ten that matter most, and all."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from modiste.recipes import named
from modiste.recipes.plain import to_plain
from modiste.recipes.recipe import Recipe

MAIN = (
    "data.source",
    "model.kind",
    "epochs",
    "batch_size",
    "optimizer.name",
    "optimizer.learning_rate",
    "schedule.shape",
    "precision",
    "seed",
    "pick",
)
"""The ten fields that a report always shows."""
TOP = "training"
"""Name of the part that holds the fields outside every other part."""


@dataclass(frozen=True)
class Field:
    """One field of a recipe.

    Attributes:
        name: Its name.
        value: Its value in this run.
        usual: Its value in the recipe of the same name; None if that is the same, empty if it has no such field.
    """

    name: str
    value: str
    usual: str | None


def usual_name(recipe: Recipe) -> str:
    """Return what a recipe is compared with, in words."""
    return f"the built-in recipe {recipe.name}" if recipe.name in named.RECIPES else "the defaults"


def recipe_parts(recipe: Recipe) -> dict[str, list[Field]]:
    """Return the fields of every part of a recipe, compared with the built-in recipe of the same name.

    A recipe with another name is compared with the defaults.
    """
    usual = named.RECIPES[recipe.name]() if recipe.name in named.RECIPES else Recipe(name=recipe.name)
    before, plain = to_plain(usual), to_plain(recipe)
    nested = {name: _compare(part, before[name]) for name, part in plain.items() if isinstance(part, Mapping)}
    return {TOP: _compare(plain, before), **nested}


def changed_fields(parts: Mapping[str, list[Field]]) -> list[Field]:
    """Return the fields that differ from the usual recipe, named by their path, such as ``model.dropout``."""
    return [field for field in _by_path(parts) if field.usual is not None]


def main_fields(parts: Mapping[str, list[Field]]) -> list[Field]:
    """Return the fields in ``MAIN`` that have their usual value, named by their path."""
    return [field for field in _by_path(parts) if field.name in MAIN and field.usual is None]


def _by_path(parts: Mapping[str, list[Field]]) -> list[Field]:
    return [
        replace(field, name=field.name if part == TOP else f"{part}.{field.name}")
        for part, fields in parts.items()
        for field in fields
    ]


def _compare(part: Mapping[str, Any], before: Mapping[str, Any]) -> list[Field]:
    return [
        Field(name, as_text(value), _usual(name, value, before))
        for name, value in part.items()
        if not isinstance(value, Mapping)
    ]


def _usual(name: str, value: Any, before: Mapping[str, Any]) -> str | None:
    """Return the usual value of a field as text; None if it is ``value``, or lets the machine choose it."""
    if name not in before:
        return ""
    usual = before[name]
    chosen_by_machine = name == "precision" and usual == "auto"
    return None if usual == value or chosen_by_machine else as_text(usual)


def as_text(value: Any) -> str:
    """Return a plain value as text for a reader."""
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
