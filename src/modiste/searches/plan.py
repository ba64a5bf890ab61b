"""The plan of a search. It is stored in the search's folder, so that only the same command can continue the search."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from modiste.errors import RunError
from modiste.recipes.plain import Part, build, demand, differences, to_plain
from modiste.recipes.recipe import Recipe, as_stored, from_stored
from modiste.runs import storage
from modiste.searches import space
from modiste.searches.space import Space

PLAN = "search.json"
Stored = TypeVar("Stored", bound=Part)
"""A plan of a search, or of other work in a folder."""


@dataclass(frozen=True, kw_only=True)
class Plan(Part):
    """A search: everything that determines its results, but not where its trials run."""

    recipe: Recipe
    """The recipe that each trial changes."""
    space: tuple[str, ...]
    """The searched fields: FIELD=log(1e-4,1e-1), FIELD=uniform(0,0.5), FIELD=integer(1,4) or FIELD=choice(64,128)."""
    trials: int = 16
    """Number of trials."""
    sampler: Literal["tpe", "random", "grid"] = "tpe"
    """Tree-structured Parzen estimator (Bergstra et al., 2011), random values, or every combination in order."""
    prune: Literal["none", "median"] = "none"
    """Whether to stop a trial whose validation accuracy is below the median of earlier trials after the same epoch."""
    seed: int = 0
    """Seed of the sampler; the seed of training is a field of the recipe."""
    lag: int = 2
    """Trial k is chosen from the outcomes of trials 0 to k - lag. So at most ``lag`` trials run at the same time, on
    all machines together."""
    trial_minutes: float = 0.0
    """A trial that takes longer is ended and counts as failed; 0 for no limit."""

    def check(self) -> None:
        self.at_least(1, "trials", "lag")
        self.at_least(0, "trial_minutes")
        dimensions = self.dimensions()
        points = space.grid_size(dimensions) if self.sampler == "grid" else self.trials
        demand(self.trials <= points, "trials", f"at most the {points} points of the grid", self.trials)

    def dimensions(self) -> Space:
        """Return the space as dimensions; RecipeError if it does not fit the recipe."""
        return space.parse(self.space, self.recipe)


def claim(path: Path, now: Stored, *, grows: str, noun: str) -> Stored:
    """Write a plan into a new folder, or check it against the plan that the folder has. One number may increase.

    Args:
        path: Path of the plan's file. A new folder must be empty.
        now: The plan.
        grows: Name of the field that may increase, for example the number of trials.
        noun: Names the content of the folder in messages.

    Returns:
        The plan as the version that began it carries it out; see ``as_begun``.

    Raises:
        RunError: The folder has another plan, or other files.
    """
    plan, plain = check(path, now, grows=grows, noun=noun)
    storage.write_json(path, plain)
    return plan


def check(path: Path, now: Stored, *, grows: str, noun: str) -> tuple[Stored, dict[str, Any]]:
    """Check a plan as ``claim`` does and write nothing; return the plan, and the plain data to write to ``path``."""
    if not path.exists():
        if others := sorted(item.name for item in path.parent.iterdir() if not item.name.startswith(".")):
            raise RunError(
                f"{path.parent}: not a {noun}'s folder and not empty ({others[0]}); choose another with --out"
            )
        return now, to_plain(now)
    stored = storage.read_json(path)
    plan, changes = as_begun(stored, now, grows=grows)
    if changes:
        raise RunError(
            f"{path.parent}: holds another {noun} ({'; '.join(changes)}); "
            "give the command that started it, or another --out"
        )
    return plan, grown(stored, plan, grows=grows)


def as_begun(stored: Any, now: Stored, *, grows: str) -> tuple[Stored, list[str]]:
    """Return a plan as the version that stored it carries it out, and what differs, except an increase of ``grows``.

    Fields of the recipe that the stored plan lacks were added later. They have the value of that version's runs, so
    that all trials of a search are trained alike.

    Args:
        stored: The stored plan as plain data.
        now: The plan to continue it with.
        grows: Name of the field that may increase.

    Raises:
        RecipeError: ``stored`` is no plan.
    """
    before: Any = build(type(now), stored)
    wanted: Any = now
    if isinstance(now, Plan):
        before = replace(before, recipe=from_stored(stored["recipe"]))
        wanted = replace(now, recipe=as_stored(now.recipe, stored["recipe"]))
    changes = differences(replace(before, **{grows: getattr(now, grows)}), wanted)
    if getattr(now, grows) < getattr(before, grows):
        changes.append(f"{grows}: {getattr(before, grows)} became {getattr(now, grows)}")
    return wanted, changes


def grown(stored: Any, plan: Part, *, grows: str) -> dict[str, Any]:
    """Return a stored plan with the new number. Fields that it lacks stay out: they show which version began it."""
    return {**stored, grows: getattr(plan, grows)}
