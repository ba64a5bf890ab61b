"""``modiste search``."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from modiste.cli.arguments import (
    OwnCodeOptions,
    WorkerOptions,
    complain,
    help_or_complain,
    named_recipe,
    parse_with_recipe,
    split_flags,
    with_own_code,
)
from modiste.cli.command_help import asks_for_help
from modiste.cli.streams import say, silence

if TYPE_CHECKING:
    from modiste.api.studies import SearchResult


@dataclass(frozen=True, kw_only=True)
class _SearchOptions(OwnCodeOptions, WorkerOptions):
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
      modiste search sprint 'optimizer.learning_rate=log(1e-3,1e-1)' --network my_networks:Net
    """
    from modiste.recipes.recipe import Recipe

    positional, flags = split_flags(arguments, _SearchOptions, Recipe)
    if len(positional) < 2 - asks_for_help(arguments):  # with a recipe alone, help lists its flags
        complaint = "expected a recipe and a space: modiste search RECIPE SPACE; see modiste search --help"
        more = "modiste search paper --help lists the recipe's flags too."
        help_or_complain(search, arguments, complaint, _SearchOptions, "modiste search RECIPE SPACE", more)
    name, *spaces = positional
    recipe, options = parse_with_recipe(_SearchOptions(), named_recipe(name), flags, f"modiste search {name}", search)
    from modiste.api.studies import search as run

    with silence(options.quiet):
        found = run(
            with_own_code(recipe, options, flags),
            spaces,
            options.out,
            trials=options.trials,
            sampler=options.sampler,
            prune=options.prune,
            sampler_seed=options.sampler_seed,
            workers=options.workers,
            **options.cluster,
            trial_minutes=options.trial_minutes,
            storage=options.storage,
            study=options.study,
            drivers=options.drivers,
            device=options.device,
            data_folder=options.data_folder,
            track=options.track,
            quiet=options.quiet,
        )
    _report_best(found, quiet=options.quiet)


def _report_best(found: "SearchResult", *, quiet: bool) -> None:
    """Print the best trial; leave with code 1 if no trial is complete."""
    from modiste.recipes.own_code import FLAGS
    from modiste.searches import outcomes
    from modiste.searches.outcomes import as_text

    table = found.folder / outcomes.TABLE_FOR_PEOPLE
    if found.best is None or found.recipe is None:
        complain(f"no trial of the search in {found.folder} ran to its end; see {table}", 1)
    if not quiet:
        values = ", ".join(f"{name} {as_text(value)}" for name, value in found.best.values.items())
        flags = "".join(f" {FLAGS[kind].split()[0]} {path}" for kind, path in found.recipe.own_code.items())
        say(
            f"best: trial {found.best.number}, {found.best.accuracy:.2%} on validation, {values}",
            f"table in {table}; next: modiste train {found.folder / outcomes.BEST}{flags}",
        )
