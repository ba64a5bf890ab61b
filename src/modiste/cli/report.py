"""``modiste report`` and ``modiste figures``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from modiste.cli.arguments import DataFolderOption, named_recipe, parse
from modiste.cli.streams import say


@dataclass(frozen=True, kw_only=True)
class _ReportOptions(DataFolderOption):
    run: Path
    """Folder of a finished run."""


def report(words: list[str]) -> None:
    """Write a finished run's report, one HTML file, into its folder."""
    options: _ReportOptions = parse(_ReportOptions, words, "modiste report")
    from modiste.report.report import write_report

    say(write_report(options.run, data_folder=options.data_folder))


@dataclass(frozen=True, kw_only=True)
class _FiguresOptions(DataFolderOption):
    out: Path = Path("figures")
    """Folder to write them to."""
    run: Path | None = None
    """Folder of a finished run; without one, its learning curves (figure 5) and what its network sees are left out."""
    recipe: str | None = None
    """Recipe whose network and augmentation are shown; the run's if not given, without a run the paper's."""
    format: Literal["png", "svg", "pdf"] = "png"
    """File format."""


def figures(words: list[str]) -> None:
    """Draw the five figures of the paper, what augmentation does, and what a run's network sees."""
    options: _FiguresOptions = parse(_FiguresOptions, words, "modiste figures")
    from modiste.report.figures import write_figures

    written = write_figures(
        options.out,
        recipe=None if options.recipe is None else named_recipe(options.recipe),
        run=options.run,
        data_folder=options.data_folder,
        format=options.format,
    )
    say(*written)
    if options.run is None:
        say("figure 5, the learning curves, needs a run: modiste figures --run DIR")
