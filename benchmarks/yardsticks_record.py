"""Train recipes with several seeds, measure all by every yardstick on test, and write ``records/benchmarks``.

    python benchmarks/yardsticks_record.py [--recipes paper sprint] [--seeds 3] [--against PATH ...] [--labels FILE]

The command can be killed at any moment; the same command resumes. Recipes are trained whole. Each run's test set is
opened once by each call that gets as far as the yardsticks.
"""

from collections.abc import Sequence
from pathlib import Path

import modiste
from modiste.benchmarks.result import Benchmark
from modiste.display import Table
from record import Record, describe_machine, parser, provenance, rows


def main() -> None:
    arguments = parser(__doc__, "records/benchmarks")
    arguments.add_argument("--recipes", nargs="+", default=["paper", "sprint"])
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--runs", type=Path, default=Path("runs/yardsticks"))
    arguments.add_argument("--against", nargs="*", default=[])
    arguments.add_argument("--labels", type=Path, default=None)
    options = arguments.parse_args()
    folders = [options.runs / f"{name}-{seed}" for name in options.recipes for seed in range(options.seeds)]
    for folder in folders:
        name, _, seed = folder.name.rpartition("-")
        modiste.train(name, folder, seed=int(seed), quiet=True)
    found = modiste.benchmark_all(folders, against=tuple(options.against), labels=options.labels)
    write_record(options.out, found)
    print(f"{options.out}/README.md")


def write_record(out: Path, found: Sequence[Benchmark]) -> None:
    """Write the figures of every run as JSON, and the main figures as a page."""
    first = provenance()
    plain = first | {"benchmarks": [one.as_plain() for one in found]}
    parts = [part(one) for one in found]
    heading = (
        "# Yardsticks beyond accuracy\n\n"
        f"Made by `{first['command']}`. [What they measure](../../docs/benchmarks.md).\n"
        "Beside several seeds stands the standard deviation, beside a single run the 95 % interval.\n\n"
        f"{describe_machine(first['machine'])}"
    )
    Record(out).save(plain, "\n\n".join([heading, *parts]) + "\n")


def part(one: Benchmark) -> str:
    """Return the section of one benchmark, with what others have published."""
    published = [(other.what, other.figure, other.source) for other in one.published]
    tables = [as_markdown(one.table())]
    if published:
        tables.append(as_markdown(Table("", published, ("published", "figure", "source"))))
    return "\n\n".join([f"## {one.title}", one.about, *tables])


def as_markdown(table: Table) -> str:
    """Return a table in Markdown, with its notes beneath."""
    lines = rows([table.header, ["---"] * len(table.header), *table.rows])
    return "\n\n".join([lines, *(f"{note}." for note in table.notes)])


if __name__ == "__main__":
    main()
