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

    def settings(self) -> Settings:
        """Return the settings of the benchmarks among these options."""
        return Settings(**{item.name: getattr(self, item.name) for item in fields(Settings)})


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
    from modiste.benchmarks.run import all_names, report_failures, run_benchmarks
    from modiste.reports.benchmark import write_benchmarks

    options.register_networks()
    settings = options.settings()
    names = all_names(settings) if options.name == "all" else [options.name]
    failed: dict[str, Exception] | None = {} if options.name == "all" else None
    found = run_benchmarks(
        names, options.runs, settings, device=options.device, data_folder=options.data_folder, failed=failed
    )
    for one in found:
        say(*repr(one).splitlines(), "")
    if found:
        say(write_benchmarks(found, options.out, f"benchmark-{options.name}", failed or {}))
    if failed:
        report_failures(failed)
        sys.exit(FAILED)
