"""What a search is: plain data, kept in its folder, so that the same command goes on and another one is refused."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from modiste import storage
from modiste.errors import RunError
from modiste.plain import Part, build, demand, differences, to_plain
from modiste.recipe import Recipe
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
    """A trial is chosen by the outcomes of those that were begun so many before it: so many may run at once."""

    def check(self) -> None:
        self.at_least(1, "trials", "lag")
        points = space.grid_size(self.dimensions()) if self.sampler == "grid" else self.trials
        demand(self.trials <= points, "trials", f"at most the {points} points of the grid", self.trials)

    def dimensions(self) -> Space:
        """Return the space as dimensions; RecipeError when it is not one of the recipe."""
        return space.parse(self.space, self.recipe)


def claim(folder: Path, plan: Plan) -> None:
    """Enter the plan into a new folder, or check it against the folder's own; more trials than before are welcome.

    Raises RunError when the folder holds another search, or something else.
    """
    path = folder / PLAN
    if path.exists():
        before: Plan = build(Plan, storage.read_json(path))
        changes = differences(replace(before, trials=plan.trials), plan)
        if plan.trials < before.trials:
            changes.append(f"trials: {before.trials} became {plan.trials}")
        if changes:
            raise RunError(
                f"{folder}: holds another search ({'; '.join(changes)}); "
                "give the command that started it, or another --out"
            )
    elif strangers := sorted(item.name for item in folder.iterdir() if not item.name.startswith(".")):
        raise RunError(f"{folder}: not a search's folder and not empty ({strangers[0]}); choose another with --out")
    storage.write_json(path, to_plain(plan))
