"""``modiste compare``."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modiste.cli.arguments import USAGE, MeasureOptions, complain, parse, print_json
from modiste.cli.streams import say

if TYPE_CHECKING:
    from modiste.evaluation.comparison import Comparison, Contrast, Side


@dataclass(frozen=True, kw_only=True)
class _CompareOptions(MeasureOptions):
    runs: tuple[Path, ...]
    """Folders of finished runs; runs that differ only in the seed are compared as one recipe."""


def compare(arguments: list[str]) -> None:
    """Compare finished runs: how much they differ, how certain that is, and on which images.

    Examples:
      modiste compare runs/paper runs/sprint
      modiste compare runs/base-* runs/wide-* --split test
    """
    options = parse(_CompareOptions, arguments, "modiste compare", compare)
    if not options.runs:
        complain("which runs? modiste compare DIR DIR ...; see modiste compare --help", USAGE)
    from modiste.api.results import compare as compare_runs

    options.register_networks()
    result = compare_runs(options.runs, **options.keyword_arguments())
    if options.json:
        print_json(result.as_plain())
    else:
        _show_comparison(result)


def _show_comparison(result: "Comparison") -> None:
    say(f"{result.split}, {result.images:,} images")
    width = max(len(side.name) for side in result.sides)
    for side in result.sides:
        _show_side(side, width)
    for contrast in result.contrasts:
        _show_contrast(contrast)
    if not result.contrasts:
        say(
            "",
            "one recipe: the interval is of its mean over seeds, on these images",
            "to compare, add runs of another recipe",
        )
    share = result.wrong_in_all / result.wrong_in_any if result.wrong_in_any else 0
    say(
        "",
        f"of {result.wrong_in_any:,} images that some run gets wrong, all runs get {result.wrong_in_all:,} wrong "
        f"({share:.0%})",
    )


def _show_side(side: "Side", width: int) -> None:
    from modiste.evaluation.statistics import Spread

    seeds = ", ".join(map(str, side.seeds))
    accuracy = Spread(side.mean, side.deviation, side.interval)
    say(f"{side.name:{width}}  {accuracy}  seed{'s'[: len(side.seeds) > 1]} {seeds}")


def _show_contrast(contrast: "Contrast") -> None:
    say("", contrast.verdict)
    if len(contrast.seeds) == 1:
        say("    one seed of each: this holds for these two runs; train more seeds to compare their recipes")
    else:
        say(f"    over seeds {', '.join(map(str, contrast.seeds))}, with seeds and images both taken as samples")
    if contrast.recipe_differences:
        say(f"    from {contrast.first} to {contrast.second}: {'; '.join(contrast.recipe_differences)}")
    shares = [(name, share) for name, share in contrast.per_class.items() if share is not None]
    most = sorted(shares, key=lambda item: -abs(item[1]))[:3]
    say(f"    largest by class, in points: {', '.join(f'{name} {100 * share:+.1f}' for name, share in most)}")
    alone = (contrast.first, contrast.first_alone), (contrast.second, contrast.second_alone)
    for name, images in alone:
        shown = ", ".join(map(str, images[:8])) + (", ..." if len(images) > 8 else "")
        say(f"    {len(images):,} images that {name} alone gets right{f': {shown}' if images else ''}")
