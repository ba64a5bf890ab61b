"""Train recipes with several seeds, measure all by every yardstick on test, and write ``records/benchmarks``.

    python benchmarks/yardsticks_record.py [--recipes paper sprint] [--seeds 3] [--precision bfloat16]
        [--against PATH ...] [--labels FILE]

The command can be killed at any moment; the same command goes on. Runs lie in ``--runs`` as NAME-SEED; those that are
finished are taken as they are. What was measured of a recipe is kept in ``--runs`` as NAME.json while its runs have the
same weights. Recipes of earlier calls with the same seeds and settings stay in the record while their runs stay, with
the same weights. A call opens the test set once for each run that it still has to measure. The mean corruption error
needs ``paper`` among the recipes. The exit code is 1 if a yardstick failed.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any, get_args

import modiste
from modiste.benchmarks import corruptions
from modiste.benchmarks.result import Benchmark, Figure, RunFigures, from_plain
from modiste.benchmarks.run import BENCHMARKS, all_names, each_benchmark, report_failures
from modiste.benchmarks.settings import Settings
from modiste.display import Table
from modiste.errors import RunError
from modiste.recipes.recipe import Precision
from modiste.runs import storage
from modiste.runs.run_folder import WEIGHTS, open_run
from record import Record, describe_machine, parser, provenance, rows, this_command


def main() -> None:
    arguments = parser(__doc__, "records/benchmarks")
    arguments.add_argument("--recipes", nargs="+", default=["paper", "sprint"])
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--precision", choices=get_args(Precision), help="of training; each recipe's own by default")
    arguments.add_argument("--runs", type=Path, default=Path("runs/yardsticks"))
    arguments.add_argument("--against", nargs="*", default=[])
    arguments.add_argument("--labels", type=Path, default=None)
    options = arguments.parse_args()
    settings, failed = Settings(against=tuple(options.against), labels=options.labels), dict[str, Exception]()
    fields = {"precision": options.precision} if options.precision else {}
    for name in options.recipes:
        folders = [options.runs / f"{name}-{seed}" for seed in range(options.seeds)]
        for seed, folder in enumerate(folders):
            modiste.train(name, folder, seed=seed, quiet=True, **fields)
        measure(folders, settings, options.runs / f"{name}.json", failed)
        found = kept(options.runs, settings, options.seeds, named=options.recipes)
        write_record(options.out, joined(map(benchmarks_of, found)), [one["command"] for one in found])
    print(f"{options.out}/README.md")
    report_failures(failed)
    sys.exit(1 if failed else 0)


def measure(
    folders: Sequence[Path], settings: Settings, file: Path, failed: dict[str, Exception], **keywords: Any
) -> None:
    """Measure the runs of a recipe by what ``file`` does not hold yet, and add each result to the file.

    Args:
        folders: Folders of the runs, one for each seed.
        settings: Settings of the yardsticks; results with other settings, or of other seeds or weights, are dropped.
        file: File of the results.
        failed: Gets the error of each yardstick that fails.
        keywords: ``device`` and ``data_folder``, as ``each_benchmark`` takes them.
    """
    models = [weights_of(folder) for folder in folders]
    stated: dict[str, Any] = {"settings": plain(settings), "seeds": len(folders), "models": models}
    content = storage.read_json(file) if file.exists() else {}
    if {key: content.get(key) for key in stated} != stated:
        content = stated | {"command": this_command(), "benchmarks": {}}
    missing = [name for name in all_names(settings) if name not in content["benchmarks"]]
    for one in each_benchmark(missing, folders, settings, failed=failed, **keywords) if missing else ():
        content["benchmarks"][one.name] = one.as_plain()
        storage.write_json(file, content)


def kept(runs: Path, settings: Settings, seeds: int, named: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return the content of each file of a recipe that was measured with these settings, on the runs that are there.

    Recipes in ``named`` need no runs: the same call measures them again if theirs are new.
    """
    found = []
    for file in sorted(runs.glob("*.json")):
        content = storage.read_json(file)
        if (content["settings"], content["seeds"]) != (plain(settings), seeds):
            continue
        models = [weights_of(runs / f"{file.stem}-{seed}") for seed in range(seeds)]
        if file.stem in named or content.get("models") == models:
            found.append(content)
        else:
            print(f"{file}: left out, as its runs are gone or have other weights; name {file.stem} to measure it again")
    return found


def weights_of(folder: Path) -> str | None:
    """Return the hash of a finished run's weights; None if there is no such run."""
    try:
        return open_run(folder).files[WEIGHTS["picked"]]
    except RunError:
        return None


def benchmarks_of(content: Mapping[str, Any]) -> list[Benchmark]:
    """Return the results in the content of a recipe's file."""
    return [with_texts(from_plain(result)) for result in content["benchmarks"].values()]


def with_texts(one: Benchmark) -> Benchmark:
    """Return a result with its yardstick's texts and published figures as they are now."""
    yardstick = BENCHMARKS[one.name]
    return replace(one, title=yardstick.title, about=yardstick.about, published=yardstick.published)


def plain(settings: Settings) -> dict[str, str]:
    """Return the settings as JSON keeps them."""
    return {name: str(value) for name, value in vars(settings).items()}


def joined(by_recipe: Iterable[Iterable[Benchmark]]) -> list[Benchmark]:
    """Return each yardstick once, with the runs of all recipes."""
    found = dict[str, Benchmark]()
    for one in (one for benchmarks in by_recipe for one in benchmarks):
        before = found.get(one.name)
        if before is None:
            found[one.name] = one
            continue
        groups = {name: tuple(len(before.runs) + number for number in group) for name, group in one.groups.items()}
        found[one.name] = replace(before, runs=before.runs + one.runs, groups=before.groups | groups)
    if "corruptions" in found:
        found["corruptions"] = with_corruption_errors(found["corruptions"])
    return [found[name] for name in all_names(Settings(labels=Path())) if name in found]


def with_corruption_errors(found: Benchmark) -> Benchmark:
    """Return the corruptions with the mean corruption error of every run, if runs of the baseline are among them."""
    accuracies = [run.details["accuracy"] for run in found.runs]
    pairs = zip(found.runs, accuracies, strict=True)
    baseline = [one for run, one in pairs if run.recipe == corruptions.BASELINE]
    errors = [corruptions.relative_errors(one, baseline) for one in accuracies]
    return replace(found, runs=tuple(map(with_error, found.runs, errors)))


def with_error(run: RunFigures, errors: Mapping[str, float]) -> RunFigures:
    figures = {name: one for name, one in run.figures.items() if name != corruptions.MEAN_ERROR}
    if errors:
        figures[corruptions.MEAN_ERROR] = Figure(mean(errors.values()))
    return replace(run, figures=figures, details=run.details | {"corruption_error": dict(errors)})


def write_record(out: Path, found: Sequence[Benchmark], commands: Iterable[str]) -> None:
    """Write the figures of every run as JSON, and the main figures as a page.

    Args:
        out: Folder of the record.
        found: What was measured.
        commands: The commands that measured it, one for each recipe.
    """
    first, each = provenance(), sorted(set(commands))
    made_by = ",\n".join(f"`{command}`" for command in each)
    content = first | {"commands": each, "benchmarks": [one.as_plain() for one in found]}
    parts = [part(one) for one in found]
    heading = (
        "# Yardsticks beyond accuracy\n\n"
        f"Made by\n{made_by}.\n[What they measure](../../docs/benchmarks.md).\n"
        "Beside several seeds stands the standard deviation, beside a single run the 95 % interval.\n\n"
        f"{describe_machine(first['machine'])}"
    )
    Record(out).save(content, "\n\n".join([heading, *parts]) + "\n")


def part(one: Benchmark) -> str:
    """Return the section of one benchmark, with what others have published."""
    published = [(other.what, other.figure, other.source) for other in one.published]
    tables = [as_markdown(turned(one.table()))]
    tables += [as_markdown(more(one)) for name, more in MORE.items() if name == one.name]
    if published:
        tables.append(as_markdown(Table("", published, ("published", "figure", "source"))))
    return "\n\n".join([f"## {one.title}", one.about, *tables])


def scores(one: Benchmark) -> Table:
    """Return every score's figures against every other set, as means over the seeds of each recipe."""
    rows = [
        [recipe, other, score, *(f"{mean(row[key] for row in seeds):.2%}" for key in SCORES)]
        for recipe, group in one.groups.items()
        for other, by_score in one.runs[group[0]].details["by_set"].items()
        for score in by_score
        for seeds in [[one.runs[place].details["by_set"][other][score] for place in group]]
    ]
    return Table(
        "",
        rows,
        ("recipe", "set", "score", *SCORES.values()),
        ["; ".join(f"{n}: {v}" for n, v in one.settings.items())],
    )


def expected(one: Benchmark) -> Table:
    """Return the coverage that is expected beside the divisions that check it, as means over the seeds."""
    rows = []
    for recipe, group in one.groups.items():
        for method, first in one.runs[group[0]].details.items():
            shares = [one.runs[place].details[method]["divisions_within_interval"] for place in group]
            low, high = first["expected_interval"]
            rows.append([recipe, method, f"{low:.2%} to {high:.2%}", f"{mean(shares):.1%}"])
    return Table("", rows, ("recipe", "sets", "coverage expected", "divisions of validation as expected"))


SCORES = {"auroc": "AUROC", "false_positive_rate": "FPR at 95%", "average_precision": "AUPR"}
MORE = {"ood": scores, "conformal": expected}
"""Further tables of some yardsticks."""


def turned(table: Table) -> Table:
    """Return a table with a column for each recipe, of which there are few, in place of a row."""
    header, *cells = zip(table.header, *table.rows, strict=True)
    return Table(table.title, cells, header, table.notes)


def as_markdown(table: Table) -> str:
    """Return a table in Markdown, with its notes beneath."""
    lines = rows([table.header, ["---"] * len(table.header), *table.rows])
    return "\n\n".join([lines, *(f"{note}." for note in table.notes)])


if __name__ == "__main__":
    main()
