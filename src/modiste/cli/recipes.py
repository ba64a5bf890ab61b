"""``modiste recipes``."""

import shutil
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modiste.cli.arguments import parse
from modiste.cli.streams import say

if TYPE_CHECKING:
    from modiste.recipes.claims import Measured
    from modiste.recipes.recipe import Recipe

HEADINGS = ("recipe", "parameters", "accuracy", "time", "on", "what for")
UNKNOWN = "-"
UNDEFINED_WIDTH = (120, 24)
"""Columns and lines of an output that is no terminal."""


@dataclass(frozen=True)
class _RecipesOptions:
    name: tuple[str, ...]
    """Recipe to describe: its settings, its claims and its guide; without one, all are listed."""


def recipes(arguments: list[str]) -> None:
    """List the named recipes: what each is for, its size, and what was measured; or describe one.

    modiste recipes [NAME ...]

    The accuracy is that on test, the time that of training; the records of the repository have both.

    Examples:
      modiste recipes
      modiste recipes sprint
    """
    options = parse(_RecipesOptions, arguments, "modiste recipes", recipes)
    from modiste.recipes.named import get

    found = [get(name) for name in options.name]
    say(*(line for recipe in found for line in _description(recipe)) if found else _table())


def _table() -> Iterator[str]:
    """Yield a row for each recipe, below the headings."""
    from modiste.recipes.claims import measured

    rows = [HEADINGS, *(_row(name, known) for name, known in measured().items())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
    start = sum(widths) + 2 * len(widths)
    columns = max(start + 20, shutil.get_terminal_size(UNDEFINED_WIDTH).columns)
    for name, *cells, purpose in rows:
        numbers = [f"{cell:>{width}}" for cell, width in zip(cells[:3], widths[1:4], strict=True)]
        head = "  ".join([f"{name:{widths[0]}}", *numbers, f"{cells[3]:{widths[4]}}"])
        first, *more = textwrap.wrap(purpose, columns - start - 1)
        yield from [f"{head}  {first}", *(" " * start + line for line in more)]
    yield from ["", "modiste recipes NAME describes one; modiste train NAME trains it"]


def _row(name: str, known: "Measured") -> tuple[str, ...]:
    accuracy = UNKNOWN if known.accuracy is None else f"{known.accuracy:.2%}"
    machine = (known.machine or UNKNOWN).removeprefix("NVIDIA ").partition(" 80GB")[0]
    return name, f"{known.parameters:,}", accuracy, known.time or UNKNOWN, machine, purpose(name)


def purpose(name: str) -> str:
    """Return what a recipe is for: the beginning of its docstring, up to a colon or the first figure."""
    import inspect

    from modiste.recipes.named import RECIPES

    first = (inspect.getdoc(RECIPES[name]) or "").partition("\n\n")[0].replace("\n", " ")
    return first.partition(": ")[0].partition(". ")[0].rstrip(".")


def _description(recipe: "Recipe") -> Iterator[str]:
    """Yield what is known of one recipe: its docstring, figures, claims, settings and guide."""
    import inspect

    from modiste.recipes.claims import CLAIMS, measured
    from modiste.recipes.named import RECIPES

    yield from [recipe.name, *(f"    {line}".rstrip() for line in _lines(inspect.getdoc(RECIPES[recipe.name])))]
    yield ""
    yield from _measured(measured()[recipe.name])
    for claim in CLAIMS[recipe.name]:
        yield f"goal: {claim.figure}" if claim.is_goal else f"published: {claim}"
    yield from [f"network: {recipe.model.KIND}, see docs/models/{recipe.model.KIND}.md", ""]
    yield from ["settings that differ from the defaults", *(f"  --{setting}" for setting in _settings(recipe))]
    yield from ["", f"modiste train {recipe.name} --help lists every flag"]


def _lines(text: str | None) -> list[str]:
    return (text or "").splitlines()


def _measured(known: "Measured") -> Iterator[str]:
    yield f"parameters: {known.parameters:,} for ten classes"
    if known.accuracy is not None:
        seeds = f"{known.seeds} seed{'s'[: known.seeds != 1]}"
        yield (
            f"measured: {known.accuracy:.2%} on test, mean of {seeds}, trained in {known.time} on {known.machine} "
            f"(records/{known.record}/README.md)"
        )


def _settings(recipe: "Recipe") -> Iterator[str]:
    """Yield the flags, with their values, that make a recipe of the defaults and its network's kind."""
    from modiste.cli.flags import flags_of
    from modiste.recipes.recipe import Recipe

    network: Any = type(recipe.model)
    usual = Recipe(name=recipe.name, model=network())
    for flag, before in zip(flags_of(recipe), flags_of(usual), strict=True):
        if flag.is_switch and flag.default != before.default:
            yield flag.name if flag.default else flag.variants()[-1]
        elif flag.default != before.default:
            values = flag.default if isinstance(flag.default, tuple) else (flag.default,)
            yield " ".join([flag.name, *map(str, values)])
