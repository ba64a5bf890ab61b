"""``modiste benchmark``."""

import sys
from dataclasses import dataclass, fields
from pathlib import Path

from modiste.benchmarks.settings import Settings
from modiste.cli.arguments import USAGE, RunOptions, complain, parse
from modiste.cli.streams import say

FAILED = 1
"""Exit code if a benchmark of ``all`` failed."""


@dataclass(frozen=True, kw_only=True)
class _BenchmarkOptions(RunOptions, Settings):
    name: str
    """corruptions, ood, conformal, robust, human or noise; all for those that need no file and no training."""
    runs: tuple[Path, ...]
    """Folders of finished runs; runs that differ only in the seed are taken together."""
    out: Path = Path()
    """Folder of the page and the JSON file, benchmark-NAME.html and benchmark-NAME.json."""
    device: str = "auto"
    """auto, cpu, cuda ..."""


def benchmark(arguments: list[str]) -> None:
    """Measure finished runs by a yardstick beyond accuracy; write a page with what others have published.

    modiste benchmark NAME RUN ... [--split validation]

    Examples:
      modiste benchmark corruptions runs/paper runs/sprint
      modiste benchmark ood runs/sprint --against mnist kmnist
      modiste benchmark all runs/sprint --split validation
    """
    options = parse(_BenchmarkOptions, arguments, "modiste benchmark", benchmark)
    if not options.runs:
        complain("which runs? modiste benchmark NAME RUN ...; see modiste benchmark --help", USAGE)
    from modiste.api import benchmarks
    from modiste.benchmarks.run import all_names

    options.register_networks()
    names = ("out", "device", "data_folder", *(item.name for item in fields(Settings)))
    keywords = {name: getattr(options, name) for name in names}
    wanted = all_names(options) if options.name == "all" else [options.name]
    if options.name == "all":
        found = benchmarks.benchmark_all(options.runs, **keywords)
    else:
        found = (benchmarks.benchmark(options.name, options.runs, **keywords),)
    for one in found:
        say(*repr(one).splitlines(), "")
    if found:
        say(options.out / f"benchmark-{options.name}.html")
    if len(found) < len(wanted):
        sys.exit(FAILED)
