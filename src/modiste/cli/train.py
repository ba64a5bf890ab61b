"""``modiste train``."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from modiste.cli.arguments import DataFolderOption, explain, named_recipe, parse_beside, speaks
from modiste.cli.streams import say, silence
from modiste.errors import RecipeError
from modiste.recipes.recipe import Recipe

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class _TrainOptions(DataFolderOption):
    out: Path | None = None
    """Run folder; runs/NAME if not given, runs/NAME-2 and so on when that holds another or a finished run."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 ..."""
    transfer_from: str | None = None
    """Weights to begin from: a finished run's folder, a .safetensors file, or hub:OWNER/NAME; see docs/hub.md."""
    tensorboard: bool = False
    """Also write TensorBoard events into the run folder."""
    quiet: bool = False
    """Say nothing but faults."""


def train(words: list[str]) -> None:
    """Train a recipe into a run folder, or go on where that was stopped.

    modiste train RECIPE [--epochs N] [--seed S] [--out DIR] ...

    RECIPE is a name (see `modiste recipes`) or a .toml or .json file. Every field of the recipe is a flag.
    """
    if not words or words[0].startswith("-"):
        from modiste.recipes.named import RECIPES

        complaint = "the recipe comes first: modiste train RECIPE [options]; see modiste train --help"
        more = (f"Recipes: {', '.join(RECIPES)}.", "modiste train paper --help lists the recipe's flags too.")
        explain(train, words, complaint, _TrainOptions, "modiste train RECIPE", *more)
    recipe = named_recipe(words[0])
    recipe, options = parse_beside(_TrainOptions(), recipe, words[1:], f"modiste train {recipe.name}")
    from dataclasses import replace

    from modiste.training import trainer
    from modiste.training.tracking import ConsoleLog, Listener, TensorBoardLog
    from modiste.training.transfer.source import locate

    quiet = options.quiet or not speaks()
    with silence(quiet):
        source = locate(options.transfer_from, quiet=quiet) if options.transfer_from else None
        if source:
            recipe = replace(recipe, transfer=replace(recipe.transfer, source=source.sha256))
        out = options.out or _free_folder(recipe, options.device)
        listeners: list[Listener] = [] if quiet else [ConsoleLog()]
        if options.tensorboard and speaks():
            listeners.append(TensorBoardLog(out))
        outcome = trainer.train(
            recipe,
            out,
            device=options.device,
            data_folder=options.data_folder,
            transfer_from=source,
            listeners=listeners,
        )
    if not quiet:
        low, high = outcome.interval
        best = outcome.picked
        say(
            f"validation accuracy {best.validation_accuracy:.2%} (95 % interval {low:.2%} to {high:.2%}), "
            f"epoch {best.epoch}, {outcome.seconds:.0f} s, in {out}",
            f"next: modiste evaluate {out} --split test; modiste report {out}",
        )


def _free_folder(recipe: Recipe, device: str) -> Path:
    """Name the folder of a run that goes on with this very recipe, or else one that is not taken."""
    from modiste import machine

    place = machine.choose_device(device)
    return next(folder for folder in _folders(recipe.name) if _is_free(folder, recipe, place))


def _folders(name: str) -> Iterator[Path]:
    yield Path("runs") / name
    for number in count(2):
        yield Path("runs") / f"{name}-{number}"


def _is_free(folder: Path, recipe: Recipe, device: "torch.device") -> bool:
    """Tell whether a run of the recipe can begin or go on in the folder; yes where training will say why it cannot."""
    from modiste.runs import manifest, run_folder

    try:
        if not folder.exists():
            return True
    except OSError:  # the name is too long, or the folder of all runs is closed
        return True
    try:
        if not (folder / run_folder.RECIPE).exists():
            return not run_folder.strangers(folder)
        return not (folder / manifest.NAME).exists() and _holds(folder / run_folder.RECIPE, recipe, device)
    except PermissionError:
        return False
    except OSError:
        return True


def _holds(path: Path, recipe: Recipe, device: "torch.device") -> bool:
    from modiste import machine
    from modiste.recipes.recipe import load

    try:
        return load(path) == machine.settle_precision(recipe, device, path)
    except RecipeError:
        return False
