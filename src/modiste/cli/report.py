"""``modiste report`` and ``modiste figures``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from modiste.cli.arguments import RunOptions, named_recipe, parse
from modiste.cli.streams import say


@dataclass(frozen=True, kw_only=True)
class _ReportOptions(RunOptions):
    run: Path
    """Folder of a finished run."""


def report(arguments: list[str]) -> None:
    """Write the report of a finished run, one HTML file, into its folder.

    Examples:
      modiste report runs/paper
    """
    options = parse(_ReportOptions, arguments, "modiste report", report)
    from modiste.reports.report import write_report

    options.register_networks()
    say(write_report(options.run, data_folder=options.data_folder))


@dataclass(frozen=True, kw_only=True)
class _FiguresOptions(RunOptions):
    out: Path = Path("figures")
    """Folder for the figures."""
    run: Path | None = None
    """Folder of a finished run; without it, learning curves (figure 5) and views of the network are left out."""
    recipe: str | None = None
    """Recipe whose network and augmentation are shown; by default the run's, or the paper's without a run."""
    format: Literal["png", "svg", "pdf"] = "png"
    """File format."""


def figures(arguments: list[str]) -> None:
    """Draw the five figures of the paper, the effect of augmentation, and what a run's network sees.

    Examples:
      modiste figures --run runs/paper
      modiste figures --recipe photo --format pdf --out drawings
    """
    options = parse(_FiguresOptions, arguments, "modiste figures", figures)
    from modiste.reports.figures import write_figures

    options.register_networks()
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
