"""``modiste report``, ``modiste show`` and ``modiste figures``."""

import webbrowser
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from modiste.cli.arguments import USAGE, RunOptions, complain, named_recipe, parse
from modiste.cli.streams import say, warn


@dataclass(frozen=True, kw_only=True)
class _ReportOptions(RunOptions):
    runs: tuple[Path, ...]
    """Folders of runs; several, which have finished, are compared on one page."""
    split: Literal["validation", "test"] = "validation"
    """With several runs: the images to compare on; test only where every run was evaluated on test already."""
    out: Path | None = None
    """File of the page; by default report.html in the run's folder. Here it is comparison.html for several runs, and
    NAME-unfinished.html for a run that has not finished."""
    title: str = ""
    """Heading of the page; by default the name of the recipe."""
    author: str = ""
    """Name of who hands the report in."""
    open: bool = False
    """Open the page in the browser."""


def report(arguments: list[str]) -> None:
    """Write the report of a run, or one page that compares several finished ones: one HTML file.

    The report of a run that was stopped, or still trains, is of its newest saved state, and says so at its top.

    Examples:
      modiste report runs/paper --open
      modiste report runs/paper --author "Ada Lovelace" --title "Homework 3"
      modiste report runs/paper runs/sprint
    """
    options = parse(_ReportOptions, arguments, "modiste report", report)
    if not options.runs:
        complain("which run? modiste report DIR [DIR ...]; see modiste report --help", USAGE)
    if len(options.runs) == 1 and options.split == "test":
        complain("--split test: expected several runs, found one; leave it out: the page has both splits", USAGE)
    from modiste.api.results import report as write

    options.register_networks()
    keywords = {name: getattr(options, name) for name in ("split", "out", "title", "author", "data_folder")}
    path = write(options.runs if len(options.runs) > 1 else options.runs[0], **keywords)
    say(path)
    if options.open:
        _open(path)


def _open(path: Path) -> None:
    """Open a file in the browser; say so if there is none."""
    if not webbrowser.open(path.resolve().as_uri()):
        warn(f"modiste: no browser was found; open {path} yourself")


@dataclass(frozen=True, kw_only=True)
class _ShowOptions(RunOptions):
    run: Path
    """Folder of a finished run."""
    images: tuple[int, ...]
    """Numbers of images, from 0, as modiste compare and modiste report print them."""
    split: Literal["validation", "test"] = "validation"
    """The images to draw; test only where the run was evaluated on test already."""
    out: Path | None = None
    """File of the drawing, .png, .svg or .pdf; by default images.png in the run's folder."""
    open: bool = False
    """Open the drawing in the browser."""


def show(arguments: list[str]) -> None:
    """Draw images by their numbers, with class, answer and probabilities.

    Examples:
      modiste show runs/paper 14 38 52
    """
    options = parse(_ShowOptions, arguments, "modiste show", show)
    if not options.images:
        complain("which images? modiste show DIR NUMBER ...; see modiste show --help", USAGE)
    from modiste.reports.shown_images import write_images

    options.register_networks()
    path, answers = write_images(
        options.run, options.images, split=options.split, out=options.out, data_folder=options.data_folder
    )
    say(*answers, path)
    if options.open:
        _open(path)


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
