"""``modiste search``."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from modiste.cli.arguments import complain, explain, named_recipe, parse_beside
from modiste.cli.streams import say, silence
from modiste.cli.workers import PlaceOptions
from modiste.errors import RecipeError

if TYPE_CHECKING:
    from modiste.search.plan import Plan
    from modiste.search.trial import TrialOutcome


@dataclass(frozen=True, kw_only=True)
class _SearchOptions(PlaceOptions):
    trials: int = 16
    """How many recipes to train."""
    out: Path | None = None
    """Folder of the search; runs/search-NAME if not given."""
    sampler: Literal["tpe", "random", "grid"] = "tpe"
    """tpe learns from earlier trials, random does not, grid tries every combination in turn."""
    prune: Literal["none", "median"] = "none"
    """Stop trials that are below the median of earlier ones after as many epochs."""
    sampler_seed: int = 0
    """Seed of what the search draws; --seed is that of training."""
    trial_minutes: float = 0.0
    """End a trial that takes longer, and count it as failed; 0 waits for each."""
    storage: str | None = None
    """postgresql://USER@HOST/DATABASE, where several drivers on several machines share one search."""
    study: str | None = None
    """Name of the search in that storage; the recipe's if not given."""
    drivers: int = 1
    """How many drivers will share the storage; times --workers, it says how many trials run at once: tpe goes by it."""


def search(words: list[str]) -> None:
    """Train many recipes from a space, compare them on validation, and keep the best.

    modiste search RECIPE SPACE [SPACE ...] [--trials N] [--out DIR] [--epochs N] ...

    RECIPE is a name (see `modiste recipes`) or a .toml or .json file. SPACE is a field and what it may become:
    'optimizer.learning_rate=log(1e-4,1e-1)', 'model.dropout=uniform(0,0.5)', 'epochs=integer(2,6)',
    'batch_size=choice(64,128,256)'; or a .toml or .json file of such. The shell needs the quotes.
    Every field of the recipe is a flag. Kill it whenever you like: the same command goes on.
    """
    texts = _space(words[1:])
    if not words or words[0].startswith("-") or not texts:
        complaint = "expected a recipe and a space: modiste search RECIPE SPACE; see modiste search --help"
        more = "modiste search paper x --help lists the recipe's flags too."
        explain(search, words, complaint, _SearchOptions, "modiste search RECIPE SPACE", more)
    recipe, flags = named_recipe(words[0]), words[1 + len(texts) :]
    recipe, options = parse_beside(_SearchOptions(), recipe, flags, f"modiste search {recipe.name}")
    from modiste.search import outcomes
    from modiste.search.plan import Plan
    from modiste.search.search import search as run
    from modiste.search.space import read

    out = options.out or Path("runs") / f"search-{recipe.name}"
    workers = options.make_workers(out)
    if options.drivers < 1:
        raise RecipeError(f"--drivers: expected at least 1, found {options.drivers}")
    plan = Plan(
        recipe=recipe,
        space=read(texts),
        trials=options.trials,
        sampler=options.sampler,
        prune=options.prune,
        seed=options.sampler_seed,
        lag=options.workers * options.drivers,
        trial_minutes=options.trial_minutes,
    )
    store = None
    if options.storage:
        from modiste.search.postgres import PostgresStore

        store = PostgresStore(options.storage, options.study or recipe.name)
    on_outcome = (lambda _new, _all: None) if options.quiet else _ProgressTable(plan).tell
    with silence(options.quiet):
        found = run(
            plan,
            out,
            workers=workers,
            at_once=options.workers,
            store=store,
            device=options.device,
            data_folder=options.data_folder,
            on_outcome=on_outcome,
        )
    best = outcomes.best(found)
    if best is None:
        complain(f"no trial of the search in {out} ran to its end; see {out / outcomes.TABLE_FOR_PEOPLE}", 1)
    if not options.quiet:
        say(
            f"best: trial {best.number}, {best.accuracy:.2%} on validation, {_shown(best.values)}",
            f"table in {out / outcomes.TABLE_FOR_PEOPLE}; next: modiste train {out / outcomes.BEST}",
        )


def _space(words: list[str]) -> list[str]:
    """Return the words in front of the first flag."""
    return words[: next((place for place, word in enumerate(words) if word.startswith("-")), len(words))]


class _ProgressTable:
    """A row for every trial that ends, the columns as wide as what is known beforehand."""

    def __init__(self, plan: "Plan") -> None:
        self._plan = plan
        self._fields = [dimension.field for dimension in plan.dimensions()]
        names = [field.rpartition(".")[2] for field in self._fields]
        self._widths = [max(10, len(name)) for name in names]
        self._digits = 2 * len(str(plan.trials)) + 4
        say(self._row(f"{'done':>{self._digits}}", "trial", "validation", "best so far", names, ""))

    def tell(self, new: "TrialOutcome", every: Mapping[int, "TrialOutcome"]) -> None:
        """Print the new trial's row."""
        from modiste.search.outcomes import best

        leader = best(every.values())
        done = f"{len(every)} of {self._plan.trials}"
        accuracy = new.state if new.accuracy is None or new.state == "pruned" else f"{new.accuracy:.2%}"
        ahead = f"{leader.accuracy:.2%}" if leader else ""
        values = [_figure(new.values[field]) for field in self._fields]
        say(self._row(f"{done:>{self._digits}}", str(new.number), accuracy, ahead, values, new.reason))

    def _row(self, done: str, trial: str, accuracy: str, ahead: str, values: list[str], reason: str) -> str:
        chosen = "".join(f"  {value:>{width}}" for value, width in zip(values, self._widths, strict=True))
        return f"{done}  {trial:>5}  {accuracy:>10}  {ahead:>11}{chosen}  {reason}".rstrip()


def _figure(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _shown(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {_figure(value)}" for name, value in values.items())
