"""``modiste search``."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from modiste.cli.arguments import (
    WorkerOptions,
    complain,
    help_or_complain,
    named_recipe,
    parse_with_recipe,
    split_flags,
)
from modiste.cli.command_help import asks_for_help
from modiste.cli.streams import say, silence
from modiste.errors import RecipeError

if TYPE_CHECKING:
    from modiste.recipes.recipe import Recipe
    from modiste.searches.plan import Plan
    from modiste.searches.trial import TrialOutcome


@dataclass(frozen=True, kw_only=True)
class _SearchOptions(WorkerOptions):
    trials: int = 16
    """Number of recipes to train."""
    out: Path | None = None
    """Folder of the search; by default runs/search-NAME."""
    sampler: Literal["tpe", "random", "grid"] = "tpe"
    """tpe learns from earlier trials, random does not, grid tries every combination in turn."""
    prune: Literal["none", "median"] = "none"
    """median: stop a trial that is below the median of earlier trials after the same number of epochs."""
    sampler_seed: int = 0
    """Seed of the sampler; --seed is that of training."""
    trial_minutes: float = 0.0
    """End a trial that takes longer, and count it as failed; 0 sets no limit."""
    storage: str | None = None
    """postgresql://USER@HOST/DATABASE, through which drivers on several machines share one search."""
    study: str | None = None
    """Name of the search in that storage; by default the recipe's."""
    track: tuple[str, ...] = ()
    """Also record every trial with these trackers: tensorboard, mlflow, wandb; see docs/tracking.md."""
    drivers: int = 1
    """Drivers that share the storage; drivers times --workers trials run at once, and tpe depends on that number."""


def search(arguments: list[str]) -> None:
    """Train many recipes from a search space, compare them on validation, and keep the best.

    modiste search RECIPE SPACE [SPACE ...] [--trials N] [--out DIR] [--epochs N] ...

    RECIPE is a name (see `modiste recipes`) or a .toml or .json file. SPACE is a field with its possible values:
    'optimizer.learning_rate=log(1e-4,1e-1)', 'model.dropout=uniform(0,0.5)', 'epochs=integer(2,6)',
    'batch_size=choice(64,128,256)'; or a .toml or .json file of such. The shell needs the quotes.
    Every field of the recipe is a flag. A search may be killed at any time: the same command continues it.

    Examples:
      modiste search sprint 'optimizer.learning_rate=log(1e-3,1e-1)' --trials 16
      modiste search mlp 'batch_size=choice(64,128)' 'epochs=integer(2,6)' --sampler grid
    """
    from modiste.recipes.recipe import Recipe

    positional, flags = split_flags(arguments, _SearchOptions, Recipe)
    if len(positional) < 2 - asks_for_help(arguments):  # with a recipe alone, help lists its flags
        complaint = "expected a recipe and a space: modiste search RECIPE SPACE; see modiste search --help"
        more = "modiste search paper --help lists the recipe's flags too."
        help_or_complain(search, arguments, complaint, _SearchOptions, "modiste search RECIPE SPACE", more)
    name, *spaces = positional
    recipe, options = parse_with_recipe(_SearchOptions(), named_recipe(name), flags, f"modiste search {name}", search)
    from modiste.api.studies import search_folder

    out = options.out or search_folder(recipe)
    found = _run_search(recipe, spaces, options, out)
    _report_best(found, out, quiet=options.quiet)


def _run_search(recipe: "Recipe", spaces: list[str], options: _SearchOptions, out: Path) -> "list[TrialOutcome]":
    """Start or continue the search in the folder ``out``; return the outcomes of all trials."""
    from modiste.searches.search import search as run

    workers = options.worker_factory(out)
    plan = _make_plan(recipe, spaces, options)
    store = None
    if options.storage:
        from modiste.searches.postgres import PostgresStore

        store = PostgresStore(options.storage, options.study or recipe.name)
    on_outcome = (lambda _new, _all: None) if options.quiet else _ProgressTable(plan).add
    with silence(options.quiet):
        return run(
            plan,
            out,
            workers=workers,
            at_once=options.workers,
            store=store,
            device=options.device,
            data_folder=options.data_folder,
            on_outcome=on_outcome,
            track=options.track,
        )


def _make_plan(recipe: "Recipe", spaces: list[str], options: _SearchOptions) -> "Plan":
    from modiste.searches.plan import Plan
    from modiste.searches.space import read

    if options.drivers < 1:
        raise RecipeError(f"--drivers: expected at least 1, found {options.drivers}")
    return Plan(
        recipe=recipe,
        space=read(spaces),
        trials=options.trials,
        sampler=options.sampler,
        prune=options.prune,
        seed=options.sampler_seed,
        lag=options.workers * options.drivers,
        trial_minutes=options.trial_minutes,
    )


def _report_best(found: "list[TrialOutcome]", out: Path, *, quiet: bool) -> None:
    """Print the best trial; leave with code 1 if no trial is complete."""
    from modiste.searches import outcomes

    best = outcomes.best(found)
    if best is None:
        complain(f"no trial of the search in {out} ran to its end; see {out / outcomes.TABLE_FOR_PEOPLE}", 1)
    if not quiet:
        say(
            f"best: trial {best.number}, {best.accuracy:.2%} on validation, {_format_values(best.values)}",
            f"table in {out / outcomes.TABLE_FOR_PEOPLE}; next: modiste train {out / outcomes.BEST}",
        )


class _ProgressTable:
    """Prints a row for every trial that ends; the widths of the columns are fixed at the start."""

    def __init__(self, plan: "Plan") -> None:
        self._plan = plan
        self._fields = [dimension.field for dimension in plan.dimensions()]
        names = [field.rpartition(".")[2] for field in self._fields]
        self._widths = [max(10, len(name)) for name in names]
        self._digits = 2 * len(str(plan.trials)) + 4
        say(self._row(f"{'done':>{self._digits}}", "trial", "validation", "best so far", names, ""))

    def add(self, new: "TrialOutcome", known: Mapping[int, "TrialOutcome"]) -> None:
        """Print the row of a new trial; ``known`` are all outcomes so far, the new one included."""
        from modiste.searches.outcomes import best

        leader = best(known.values())
        done = f"{len(known)} of {self._plan.trials}"
        accuracy = new.state if new.accuracy is None or new.state == "pruned" else f"{new.accuracy:.2%}"
        ahead = f"{leader.accuracy:.2%}" if leader else ""
        values = [_format(new.values[field]) for field in self._fields]
        say(self._row(f"{done:>{self._digits}}", str(new.number), accuracy, ahead, values, new.reason))

    def _row(self, done: str, trial: str, accuracy: str, ahead: str, values: list[str], reason: str) -> str:
        chosen = "".join(f"  {value:>{width}}" for value, width in zip(values, self._widths, strict=True))
        return f"{done}  {trial:>5}  {accuracy:>10}  {ahead:>11}{chosen}  {reason}".rstrip()


def _format(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _format_values(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {_format(value)}" for name, value in values.items())
