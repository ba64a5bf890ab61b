"""What a search is: plain data, kept in its folder, so that the same command goes on and another one is refused."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from modiste.errors import RunError
from modiste.recipes.plain import Part, build, demand, differences, to_plain
from modiste.recipes.recipe import Recipe
from modiste.runs import storage
from modiste.search import space
from modiste.search.space import Space

PLAN = "search.json"


@dataclass(frozen=True, kw_only=True)
class Plan(Part):
    """A search, but for where its trials run."""

    recipe: Recipe
    """What every trial starts from."""
    space: tuple[str, ...]
    """What may be chosen, as FIELD=log(1e-4,1e-1), FIELD=uniform(0,0.5), FIELD=integer(1,4) or FIELD=choice(64,128)."""
    trials: int = 16
    """How many recipes are trained."""
    sampler: Literal["tpe", "random", "grid"] = "tpe"
    """Tree-structured Parzen estimator (Bergstra et al., 2011), drawing at random, or every combination in turn."""
    prune: Literal["none", "median"] = "none"
    """Whether a trial stops whose validation accuracy is below the median of earlier ones after as many epochs."""
    seed: int = 0
    """Seed of the sampler; that of training is the recipe's."""
    lag: int = 2
    """A trial is chosen by the outcomes of those that were begun so many before it: so many may run at once, on all
    machines together."""
    trial_minutes: float = 0.0
    """A trial that takes longer is ended and counts as failed; 0 waits for each to end by itself."""

    def check(self) -> None:
        self.at_least(1, "trials", "lag")
        self.at_least(0, "trial_minutes")
        dimensions = self.dimensions()
        points = space.grid_size(dimensions) if self.sampler == "grid" else self.trials
        demand(self.trials <= points, "trials", f"at most the {points} points of the grid", self.trials)

    def dimensions(self) -> Space:
        """Return the space as dimensions; RecipeError when it is not one of the recipe."""
        return space.parse(self.space, self.recipe)


def claim(path: Path, now: Part, *, grows: str, noun: str) -> None:
    """Enter a plan of work into a new folder, or check it against the folder's own, of which one number may grow.

    Args:
        path: of the plan's file; nothing else may lie in its folder when it is new.
        now: the plan.
        grows: name of the field that may be larger than before, as the number of trials.
        noun: what the folder holds, for a person.

    Raises RunError when the folder holds another one, or something else.
    """
    if path.exists():
        if changes := changes_of(build(type(now), storage.read_json(path)), now, grows=grows):
            raise RunError(
                f"{path.parent}: holds another {noun} ({'; '.join(changes)}); "
                "give the command that started it, or another --out"
            )
    elif strangers := sorted(item.name for item in path.parent.iterdir() if not item.name.startswith(".")):
        raise RunError(
            f"{path.parent}: not a {noun}'s folder and not empty ({strangers[0]}); choose another with --out"
        )
    storage.write_json(path, to_plain(now))


def changes_of(before: Any, now: Any, *, grows: str) -> list[str]:
    """Name what differs between two plans, but for the field that may grow."""
    changes = differences(replace(before, **{grows: getattr(now, grows)}), now)
    if getattr(now, grows) < getattr(before, grows):
        changes.append(f"{grows}: {getattr(before, grows)} became {getattr(now, grows)}")
    return changes
