"""Train recipes with and without one change, compare them on validation, and write ``records/trials``.

    python benchmarks/trials.py [TRIAL ...] [--seeds 2]

Without names all trials run. The command can be killed at any moment; the same command resumes. Trials that were not
named keep their rows. The test set is never opened.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

import modiste
from modiste.runs.run_folder import Run
from record import Record, describe_machine, parser, provenance, rows, seconds


@dataclass(frozen=True)
class Trial:
    """A change of a recipe, to be compared with the recipe as it is.

    Attributes:
        name: of the trial; part of its folders' names.
        about: what is changed, and who published it.
        base: the recipe that is changed.
        fields: the changed fields, by their paths.
    """

    name: str
    about: str
    base: str = "sprint-94"
    fields: Mapping[str, Any] = field(default_factory=dict)


TRIALS: tuple[Trial, ...] = ()
"""In the order of the record's rows."""


def main() -> None:
    arguments = parser(__doc__, "records/trials")
    arguments.add_argument("names", nargs="*", metavar="TRIAL", choices=[[], *(one.name for one in TRIALS)])
    arguments.add_argument("--seeds", type=int, default=2)
    arguments.add_argument("--runs", type=Path, default=Path("runs/trials"))
    options = arguments.parse_args()
    record = Record(options.out)
    for trial in TRIALS:
        if not options.names or trial.name in options.names:
            found = measure(trial, options.seeds, options.runs)
            earlier = record.read() or {"trials": {}}
            save(record, provenance() | {"trials": earlier["trials"] | {trial.name: found}})
            print(f"{trial.name}: {found['verdict']}", flush=True)


def measure(trial: Trial, seeds: int, folder: Path) -> dict[str, Any]:
    """Train both sides, and return their validation accuracies, seconds and comparison."""
    plain = train(trial.base, trial.base, {}, seeds, folder)
    changed = train(trial.name, trial.base, trial.fields, seeds, folder)
    contrast = modiste.compare([run.folder for run in (*changed, *plain)]).contrasts[0]
    return {
        "about": trial.about,
        "base": trial.base,
        "fields": dict(trial.fields),
        "seeds": seeds,
        "base_accuracies": [run.picked.validation_accuracy for run in plain],
        "accuracies": [run.picked.validation_accuracy for run in changed],
        "difference": contrast.difference.difference,
        "interval": list(contrast.difference.interval),
        "cost": mean(map(seconds, changed)) / mean(map(seconds, plain)),
        "verdict": contrast.verdict,
    }


def train(name: str, recipe: str, fields: Mapping[str, Any], seeds: int, folder: Path) -> list[Run]:
    """Train a recipe with changed fields for each seed, unless that is done, and return the runs."""
    return [modiste.train(recipe, folder / f"{name}-{seed}", seed=seed, quiet=True, **fields) for seed in range(seeds)]


def save(record: Record, content: Mapping[str, Any]) -> None:
    """Write the figures of all trials as JSON, and as a page."""
    record.save(content, page(content))


def page(content: Mapping[str, Any]) -> str:
    """Return the page of the record."""
    table = rows(line(name, one) for name, one in content["trials"].items())
    return (
        "# Trials\n\n"
        "Changes of a recipe, each compared with the recipe as it is, on validation. The test set was not opened.\n"
        "The difference is in points of accuracy; its interval takes seeds and images for samples. The cost is the\n"
        "ratio of training times. A change is *better* or *worse* if the interval excludes 0.\n\n"
        f"Made by `{content['command']}`.\n\n"
        "| trial | fields | recipe | seeds | before | after | difference | 95 % interval | cost | outcome |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
        f"{table}\n\n{describe_machine(content['machine'])}\n"
    )


def line(name: str, one: Mapping[str, Any]) -> Sequence[object]:
    """Return a trial's row of the table."""
    low, high = one["interval"]
    return (
        f"{name}: {one['about']}",
        ", ".join(f"`{path} {value}`" for path, value in one["fields"].items()),
        f"`{one['base']}`",
        one["seeds"],
        f"{mean(one['base_accuracies']):.2%}",
        f"{mean(one['accuracies']):.2%}",
        f"{100 * one['difference']:+.2f}",
        f"{100 * low:+.2f} to {100 * high:+.2f}",
        f"{one['cost']:.1f}",
        outcome(low, high),
    )


def outcome(low: float, high: float) -> str:
    """Return what the interval of a difference says about the change."""
    if low > 0:
        return "**better**"
    return "**worse**" if high < 0 else "no difference shown"


if __name__ == "__main__":
    main()
