"""``modiste train``."""

import time
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from modiste.cli.arguments import (
    USAGE,
    OwnCodeOptions,
    complain,
    help_or_complain,
    named_recipe,
    parse_with_recipe,
    split_flags,
    warn_of_idle,
    with_own_code,
)
from modiste.cli.command_help import asks_for_help
from modiste.cli.flags import flags_of, given
from modiste.cli.streams import say, silence, warn
from modiste.errors import MissingExtraError, RecipeError
from modiste.system.processes import importing_torch, is_first_process

if TYPE_CHECKING:
    from modiste.api.run import Run
    from modiste.recipes.recipe import Recipe
    from modiste.training.choice import Effort
    from modiste.training.transfer.source import Source

DATA_ENDINGS = (".csv", ".csv.gz", ".npz", ".parquet", ".jsonl")
"""Of files that may stand where a recipe's name is expected."""
RECIPE_OF_RUN = "recipe.json"
"""``run_folder.RECIPE``, whose module imports torch."""


@dataclass(frozen=True, kw_only=True)
class _TrainOptions(OwnCodeOptions):
    out: Path | None = None
    """Run folder; by default runs/NAME, or runs/NAME-2 and so on if that holds a finished run or another recipe."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 ..."""
    transfer_from: str | None = None
    """Weights to start from: a finished run's folder, a .safetensors file, or hub:OWNER/NAME; see docs/hub.md."""
    teacher: tuple[Path, ...] = ()
    """Finished runs to learn from beside the labels, on the same data and split; see docs/distillation.md."""
    continue_from: Path | None = None
    """A finished run to train on until it has --epochs epochs, in place of a recipe; for constant schedules."""
    seeds: str = ""
    """Train several seeds, each into OUT/NAME-SEED: 5 for 0 to 4, or 3,5,9 for these; --out is runs by default."""
    track: tuple[str, ...] = ()
    """Also record the run with these trackers: tensorboard, mlflow, wandb; see docs/tracking.md."""
    tensorboard: bool = False
    """The older name of --track tensorboard."""
    quiet: bool = False
    """Print only errors."""
    effort: Literal["", "fast", "better", "best"] = ""
    """With a FOLDER: how long training may take; for 3,000 photographs one, two or ten minutes on two cores."""


def train(arguments: list[str]) -> None:
    """Train a recipe into a run folder, or continue a run that was stopped.

    modiste train RECIPE [--epochs N] [--seed S] [--out DIR] ...
    modiste train RECIPE --seeds 5 ...
    modiste train FOLDER [--effort fast|better|best] ...
    modiste train --continue-from RUN --epochs N [--out DIR]

    RECIPE is a name (see `modiste recipes`) or a .toml or .json file. Every field of the recipe is a flag. For a FOLDER
    of class folders, or a file of images (.npz, .parquet, .csv), a recipe is chosen by looking at them.

    Examples:
      modiste train sprint
      modiste train paper --epochs 5 --seed 1 --out runs/mine
      modiste train sprint-94 --lr 0.008 --batch-size 256
      modiste train sprint --seeds 5 --track mlflow
      modiste train shop --effort better
      modiste train --continue-from runs/paper --epochs 60
    """
    from modiste.recipes.recipe import Recipe

    positional, flags = split_flags(arguments, _TrainOptions, Recipe)
    if not positional and _value(flags, "--continue-from") and not asks_for_help(flags):
        _continue(flags)
        return
    if not positional:
        from modiste.recipes.named import RECIPES

        complaint = "a recipe or a folder comes first: modiste train RECIPE [options]; see modiste train --help"
        more = (f"Recipes: {', '.join(RECIPES)}.", "modiste train paper --help lists the recipe's flags too.")
        help_or_complain(train, arguments, complaint, _TrainOptions, "modiste train RECIPE", *more)
    name = _single(positional)
    if _is_data(name):
        recipe, options = _choose_recipe(name, flags, f"modiste train {name}")
    else:
        recipe, options = _parse(named_recipe(name), flags, f"modiste train {name}")
        if options.effort:
            raise RecipeError(f"--effort: expected with a folder, found with the recipe {recipe.name}; leave it out")
    if options.continue_from:
        raise RecipeError(f"--continue-from: the run has a recipe; leave out {name}")
    quiet = options.quiet or not is_first_process()
    recipe = with_own_code(recipe, options, flags)
    if not quiet:
        warn_of_idle(_with_sources(recipe, options), flags)
    if options.seeds:
        _check_no_seed(recipe, flags)
        _train_seeds(recipe, options, quiet)
        return
    started = time.perf_counter()
    run = _train(recipe, options, quiet)
    if not quiet:
        _report(run, time.perf_counter() - started)


def _single(positional: Sequence[str]) -> str:
    """Return the recipe or folder; leave with code 2 if there are several, RecipeError for the folder of a run."""
    from modiste.recipes.named import RECIPES
    from modiste.runs import storage

    name, *surplus = positional
    if surplus:
        complain(f"expected one recipe or folder, found {name} and {surplus[0]}; see modiste train --help", USAGE)
    if name not in RECIPES and storage.is_folder(Path(name)) and storage.is_file(Path(name) / RECIPE_OF_RUN):
        raise RecipeError(
            f"{name}: expected a recipe or a folder of images, found the folder of a run; to train it on: "
            f"modiste train --continue-from {name} --epochs N; to repeat it: modiste train {name}/{RECIPE_OF_RUN}"
        )
    return name


def _check_no_seed(recipe: "Recipe", flags: Sequence[str]) -> None:
    """Raise RecipeError if ``--seed`` stands beside ``--seeds``."""
    if any(flag.name == "seed" for flag in given(flags, flags_of(recipe))):
        raise RecipeError("--seed: expected without --seeds, which names every seed; leave one of the two out")


def _parse(recipe: "Recipe", flags: list[str], program: str) -> "tuple[Recipe, _TrainOptions]":
    recipe, options = parse_with_recipe(_TrainOptions(), recipe, flags, program, train)
    if options.tensorboard:
        options = replace(options, track=(*options.track, "tensorboard"))
        if is_first_process():
            warn("--tensorboard is --track tensorboard now; it still works")
    return recipe, options


def _with_sources(recipe: "Recipe", options: _TrainOptions) -> "Recipe":
    """Return the recipe with stand-ins for the hashes of weights and teachers, which are found later."""
    changes: dict[str, Any] = {"transfer.source": "0" * 64} if options.transfer_from else {}
    changes |= {"distillation.teachers": ["0" * 64]} if options.teacher else {}
    return recipe.with_(**changes)


def _is_data(name: str) -> bool:
    """Return whether a folder or a file of data stands where a recipe's name is expected."""
    from modiste.recipes.named import RECIPES

    return name not in RECIPES and (name.lower().endswith(DATA_ENDINGS) or Path(name).is_dir())


def _choose_recipe(source: str, arguments: list[str], program: str) -> "tuple[Recipe, _TrainOptions]":
    """Choose a recipe for the data set at ``source`` and say which; flags in ``arguments`` change its fields."""
    with importing_torch():
        from modiste.training.choice import WITH_BACKBONE, choose_recipe

    wanted = _value(arguments, "--effort")  # needed before the recipe, and so before all flags are known
    effort: Effort = next((effort for effort in WITH_BACKBONE if effort == wanted), "fast")
    choice = choose_recipe(source, effort)
    recipe, options = _parse(choice.recipe, arguments, program)
    if recipe.data.source != choice.recipe.data.source:
        raise RecipeError(
            f"--data.source: expected with a recipe, found with {source}, which names the images itself; leave one of "
            "the two out"
        )
    if not options.quiet and is_first_process():
        warn(
            f"{recipe.name}, because of {choice.reason}; choose otherwise: modiste train RECIPE --data.source {source}"
        )
    return recipe, options


def _value(arguments: Sequence[str], flag: str) -> str | None:
    """Return the value of one flag among others that are not known yet; None without it."""
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(flag, flag.replace("-", "_").replace("__", "--", 1), dest="value", nargs="?")
    found: str | None = parser.parse_known_args(arguments)[0].value
    return found


def _continue(arguments: list[str]) -> None:
    """Train a finished run on; ``arguments`` are the flags of the command."""
    with importing_torch():
        from modiste.api.training import continue_run
    from modiste.recipes.plain import differences
    from modiste.runs.run_folder import open_run

    run = open_run(_value(arguments, "--continue-from") or "")
    recipe, options = _parse(run.recipe, arguments, "modiste train --continue-from RUN")
    for flag in ("seeds", "effort", "transfer_from"):
        if getattr(options, flag):
            complain(f"--{flag.replace('_', '-')} does not go with --continue-from, which trains one run on", USAGE)
    if changes := differences(replace(run.recipe, epochs=recipe.epochs), recipe):
        raise RecipeError(f"--continue-from: only --epochs may change, found {'; '.join(changes)}")
    started = time.perf_counter()
    with silence(options.quiet):
        longer = continue_run(
            run.folder,
            options.out,
            epochs=recipe.epochs,
            **options.own_code,
            device=options.device,
            data_folder=options.data_folder,
            teacher=options.teacher,
            track=options.track,
            quiet=options.quiet,
        )
    if not options.quiet:
        _report(longer, time.perf_counter() - started)


def _train(recipe: "Recipe", options: _TrainOptions, quiet: bool) -> "Run":
    from modiste.data.idx.idx_source import reading_ahead

    with reading_ahead(recipe.data.source, options.data_folder), silence(quiet):
        with importing_torch():
            from modiste.api.training import train as train_run
            from modiste.training.free_folder import free_folder
        recipe, source = _completed(recipe, options, quiet)
        out = options.out or free_folder(recipe, options.device)
        if not quiet and not options.out:
            _mention_shorter(recipe, out, options.device)
        return train_run(
            recipe,
            out,
            device=options.device,
            data_folder=options.data_folder,
            transfer_from=source,
            teacher=options.teacher,
            track=options.track,
            quiet=quiet,
        )


def _completed(recipe: "Recipe", options: _TrainOptions, quiet: bool) -> "tuple[Recipe, Source | None]":
    """Return the recipe with the hashes of teachers and weights to start from, and where these weights are."""
    from modiste.api.training import with_source, with_teachers

    recipe, _ = with_teachers(recipe, options.teacher)
    return with_source(recipe, options.transfer_from, quiet=quiet)


def _train_seeds(recipe: "Recipe", options: _TrainOptions, quiet: bool) -> None:
    """Train several seeds, and print each accuracy and their mean."""
    began = time.monotonic()
    with importing_torch():
        from modiste.api.training import train_seeds
        from modiste.training.free_folder import RUNS
    with silence(quiet):
        runs = train_seeds(
            recipe,
            _seeds(options.seeds),
            options.out or RUNS,
            device=options.device,
            data_folder=options.data_folder,
            transfer_from=options.transfer_from,
            teacher=options.teacher,
            track=options.track,
            quiet=quiet,
        )
    if not quiet:
        _report_seeds(runs, time.monotonic() - began)


def _seeds(text: str) -> list[int]:
    """Return the seeds that ``--seeds`` names: a number of them, or a list with commas."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts) or parts == ["0"]:
        raise RecipeError(f"--seeds: expected a number of seeds such as 5, or a list such as 3,5,9, found {text!r}")
    return list(range(int(parts[0]))) if len(parts) == 1 else [int(part) for part in parts]


def _report_seeds(runs: "list[Run]", seconds: float) -> None:
    """Print the validation accuracy of every seed, their mean, deviation and interval."""
    from modiste.evaluation.statistics import Spread, spread

    accuracies = [run.picked.validation_accuracy for run in runs]
    for run, accuracy in zip(runs, accuracies, strict=True):
        say(f"seed {run.recipe.seed}: validation accuracy {accuracy:.2%}, epoch {run.picked.epoch}, in {run.folder}")
    try:
        found = spread(accuracies)
    except MissingExtraError as error:  # the runs are there all the same
        warn(error)
        found = Spread(sum(accuracies) / len(accuracies), None, None)
    folders = " ".join(str(run.folder) for run in runs)
    say(
        f"mean of {len(runs)} seed{'s'[: len(runs) > 1]}: {found} on validation, {seconds:.0f} s",
        f"next: modiste evaluate {folders}",
    )


def _report(run: "Run", seconds: float) -> None:
    low, high = run.accuracy_interval
    best = run.picked
    say(
        f"validation accuracy {best.validation_accuracy:.2%} (95 % interval {low:.2%} to {high:.2%}), "
        f"epoch {best.epoch}, {seconds:.0f} s, in {run.folder}",
        f"next: modiste report {run.folder} --open; to compare: modiste report {run.folder} OTHER-RUN; "
        f"last of all: modiste evaluate {run.folder} --split test",
    )


def _mention_shorter(recipe: "Recipe", out: Path, device: str) -> None:
    """If a folder before ``out`` holds a finished run of fewer epochs of the recipe, print how to train that one on."""
    from modiste import machine
    from modiste.training.free_folder import folders
    from modiste.training.setup import can_continue

    settled = machine.settle_precision(recipe, machine.choose_device(device))
    for folder in takewhile(lambda folder: folder != out, folders(recipe.name)):
        if can_continue(folder, settled):
            warn(
                f"{folder} has fewer epochs of this recipe, and can be trained on: "
                f"modiste train --continue-from {folder} --epochs {recipe.epochs}"
            )
