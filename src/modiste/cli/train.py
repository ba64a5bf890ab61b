"""``modiste train``."""

import time
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from modiste.cli.arguments import DataFolderOption, help_or_complain, is_first_process, named_recipe, parse_with_recipe
from modiste.cli.streams import say, silence, warn
from modiste.errors import RecipeError
from modiste.recipes.recipe import Recipe

if TYPE_CHECKING:
    from modiste.api.run import Run
    from modiste.training.choice import Effort
    from modiste.training.tracking import Listener


@dataclass(frozen=True, kw_only=True)
class _TrainOptions(DataFolderOption):
    out: Path | None = None
    """Run folder; by default runs/NAME, or runs/NAME-2 and so on if that holds a finished run or another recipe."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 ..."""
    transfer_from: str | None = None
    """Weights to start from: a finished run's folder, a .safetensors file, or hub:OWNER/NAME; see docs/hub.md."""
    network: str | None = None
    """A network of your own in place of the recipe's, MODULE:NAME: a class or function; see docs/python.md."""
    loss: str | None = None
    """A loss of your own in place of the objective, MODULE:NAME."""
    augment: str | None = None
    """An augmentation of your own after the recipe's, MODULE:NAME."""
    tensorboard: bool = False
    """Also write TensorBoard events into the run folder."""
    quiet: bool = False
    """Print only errors."""
    effort: Literal["", "fast", "better", "best"] = ""
    """With a FOLDER: how long training may take; for 3,000 photographs one, two or ten minutes on two cores."""


def train(arguments: list[str]) -> None:
    """Train a recipe into a run folder, or continue a run that was stopped.

    modiste train RECIPE [--epochs N] [--seed S] [--out DIR] ...
    modiste train FOLDER [--effort fast|better|best] ...

    RECIPE is a name (see `modiste recipes`) or a .toml or .json file. Every field of the recipe is a flag. For a FOLDER
    of class folders, or a .csv list of pictures, a recipe is chosen by looking at them.
    """
    if not arguments or arguments[0].startswith("-"):
        from modiste.recipes.named import RECIPES

        complaint = "a recipe or a folder comes first: modiste train RECIPE [options]; see modiste train --help"
        more = (f"Recipes: {', '.join(RECIPES)}.", "modiste train paper --help lists the recipe's flags too.")
        help_or_complain(train, arguments, complaint, _TrainOptions, "modiste train RECIPE", *more)
    program = f"modiste train {arguments[0]}"
    if _is_data(arguments[0]):
        recipe, options = _choose_recipe(arguments[0], arguments[1:], program)
    else:
        recipe, options = parse_with_recipe(_TrainOptions(), named_recipe(arguments[0]), arguments[1:], program)
        if options.effort:
            raise RecipeError(f"--effort: expected with a folder, found with the recipe {recipe.name}; leave it out")
    quiet = options.quiet or not is_first_process()
    started = time.perf_counter()
    run = _train(recipe, options, quiet)
    if not quiet:
        _report(run, time.perf_counter() - started)


def _is_data(name: str) -> bool:
    """Return whether a folder or a list of pictures stands where a recipe's name is expected."""
    from modiste.recipes.named import RECIPES

    return name not in RECIPES and (name.lower().endswith(".csv") or Path(name).is_dir())


def _choose_recipe(source: str, arguments: list[str], program: str) -> tuple[Recipe, _TrainOptions]:
    """Choose a recipe for the data set at ``source`` and say which; flags in ``arguments`` change its fields."""
    from modiste.training.choice import choose_recipe

    choice = choose_recipe(source, _effort(arguments))
    recipe, options = parse_with_recipe(_TrainOptions(), choice.recipe, arguments, program)
    if not options.quiet and is_first_process():
        warn(
            f"{recipe.name}, because of {choice.reason}; choose otherwise: modiste train RECIPE --data.source {source}"
        )
    return recipe, options


def _effort(arguments: Sequence[str]) -> "Effort":
    """Return the value of ``--effort``, which is needed before the recipe, and so before all flags are known."""
    from modiste.training.choice import WITH_BACKBONE

    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--effort", nargs="?")
    found = parser.parse_known_args(arguments)[0].effort
    return next((effort for effort in WITH_BACKBONE if effort == found), "fast")


def _train(recipe: Recipe, options: _TrainOptions, quiet: bool) -> "Run":
    from modiste.api.own import with_own_code
    from modiste.api.training import train as train_run
    from modiste.training.free_folder import free_folder
    from modiste.training.transfer.source import locate

    with silence(quiet):
        recipe = with_own_code(recipe, network=options.network, loss=options.loss, augmentation=options.augment)
        source = locate(options.transfer_from, quiet=quiet) if options.transfer_from else None
        if source:
            recipe = replace(recipe, transfer=replace(recipe.transfer, source=source.sha256))
        out = options.out or free_folder(recipe, options.device)
        return train_run(
            recipe,
            out,
            device=options.device,
            data_folder=options.data_folder,
            transfer_from=source,
            listeners=_listeners(options, out),
            quiet=quiet,
        )


def _listeners(options: _TrainOptions, out: Path) -> "list[Listener]":
    from modiste.training.tracking import TensorBoardLog

    return [TensorBoardLog(out)] if options.tensorboard and is_first_process() else []


def _report(run: "Run", seconds: float) -> None:
    low, high = run.accuracy_interval
    best = run.picked
    say(
        f"validation accuracy {best.validation_accuracy:.2%} (95 % interval {low:.2%} to {high:.2%}), "
        f"epoch {best.epoch}, {seconds:.0f} s, in {run.folder}",
        f"next: modiste evaluate {run.folder} --split test; modiste report {run.folder}",
    )
