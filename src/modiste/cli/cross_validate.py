"""``modiste cross-validate``."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modiste.cli.arguments import (
    USAGE,
    OwnCodeOptions,
    complain,
    help_or_complain,
    named_recipe,
    parse_with_recipe,
    print_json,
    split_flags,
    warn_of_idle,
    with_own_code,
)
from modiste.cli.streams import say, silence

if TYPE_CHECKING:
    from modiste.recipes.recipe import Recipe
    from modiste.training.cross_validation import CrossValidation


@dataclass(frozen=True, kw_only=True)
class _CrossValidateOptions(OwnCodeOptions):
    folds: int = 10
    """Parts of the training and validation images; each is held out once."""
    out: Path | None = None
    """Folder of the runs, one a fold, and of the result; by default runs/NAME-folds."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 ..."""
    track: tuple[str, ...] = ()
    """Also record every fold with these trackers: tensorboard, mlflow, wandb; see docs/tracking.md."""
    json: bool = False
    """Print JSON."""
    quiet: bool = False
    """Print only errors and the result."""


def cross_validate(arguments: list[str]) -> None:
    """Train a recipe once for each fold, and give the mean accuracy on the folds held out.

    modiste cross-validate RECIPE [--folds N] [--out DIR] ...

    RECIPE is a name (see `modiste recipes`) or a .toml or .json file. Every field of the recipe is a flag. The test set
    stays closed. The command may be killed at any time: the same command continues it.

    Examples:
      modiste cross-validate sprint
      modiste cross-validate mlp --folds 5 --epochs 2
      modiste cross-validate sprint --network my_networks:Net
    """
    from modiste.recipes.recipe import Recipe

    positional, flags = split_flags(arguments, _CrossValidateOptions, Recipe)
    if not positional:
        complaint = "expected a recipe: modiste cross-validate RECIPE; see modiste cross-validate --help"
        more = "modiste cross-validate sprint --help lists the recipe's flags too."
        program = "modiste cross-validate RECIPE"
        help_or_complain(cross_validate, arguments, complaint, _CrossValidateOptions, program, more)
    name, *surplus = positional
    if surplus:
        complain(f"expected one recipe, found {name} and {surplus[0]}; see modiste cross-validate --help", USAGE)
    program = f"modiste cross-validate {name}"
    recipe, options = parse_with_recipe(_CrossValidateOptions(), named_recipe(name), flags, program, cross_validate)
    recipe = with_own_code(recipe, options, flags)
    if not options.quiet:
        warn_of_idle(recipe, flags)
    result = _run(recipe, options)
    if options.json:
        print_json(result.as_plain())
    else:
        _show(result)


def _run(recipe: "Recipe", options: _CrossValidateOptions) -> "CrossValidation":
    from modiste.api.studies import cross_validate as run

    with silence(options.quiet):
        return run(
            recipe,
            options.out,
            folds=options.folds,
            device=options.device,
            data_folder=options.data_folder,
            track=options.track,
            quiet=options.quiet,
        )


def _show(result: "CrossValidation") -> None:
    accuracies = " ".join(f"{accuracy:.2%}" for accuracy in result.accuracies)
    say(
        f"{result.recipe}, {result.folds} folds of {result.images:,} training and validation images",
        f"accuracy on the folds held out: {accuracies}",
        f"mean {result.spread}, {result.seconds:.0f} s, in {result.folder}",
        "the folds share training images; the interval allows for that by the correction of Nadeau and Bengio (2003)",
    )
