"""Parse command-line arguments into typed options, print JSON, and report wrong usage; options that commands share."""

import math
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, TypeVar

from modiste.cli.streams import escaped_output, say, warn
from modiste.errors import ModisteError, RecipeError
from modiste.recipes.recipe import Recipe

if TYPE_CHECKING:
    from modiste.searches.workers import MakeWorkers


Options = TypeVar("Options")
Fields = TypeVar("Fields")
USAGE = 2
"""Exit code for wrong usage of a command."""


@dataclass(frozen=True)
class NoOptions:
    """A command without options."""


@dataclass(frozen=True, kw_only=True)
class DataFolderOption:
    """The folder of the data on this machine."""

    data_folder: Path | None = None
    """Folder of Fashion-MNIST, if not a usual one; or of other data that have moved since the recipe named them."""


@dataclass(frozen=True, kw_only=True)
class RunOptions(DataFolderOption):
    """Options of the commands that read finished runs."""

    network: str = ""
    """MODULE:NAME of the runs' network if it is not part of Modiste; several with commas between them."""

    def register_networks(self) -> None:
        """Import the networks that are named, for the runs that need them; RecipeError if that is impossible."""
        from modiste.recipes import own_code

        for path in filter(None, self.network.split(",")):
            own_code.register(path)


@dataclass(frozen=True, kw_only=True)
class MeasureOptions(RunOptions):
    """Options of the commands that measure finished runs."""

    split: Literal["validation", "test"] = "validation"
    """Images to measure on; test is the held-out test set, and every evaluation on it is counted."""
    weights: Literal["picked", "last"] = "picked"
    """picked: the weights that validation selected; last: those of the last epoch."""
    json: bool = False
    """Print JSON."""
    device: str = "auto"
    """auto, cpu, cuda ..."""

    def keyword_arguments(self) -> dict[str, Any]:
        """Return split, weights, device and data folder by name, for the functions that measure."""
        names = ("split", "weights", "device", "data_folder")
        return {name: getattr(self, name) for name in names}


def parse(kind: Any, arguments: list[str], program: str, **options: Any) -> Any:
    """Return the arguments as an instance of ``kind``; print help or leave with code 2 where tyro finds a fault.

    Args:
        kind: a dataclass, or any other type that tyro can parse.
        arguments: what follows the command's name.
        program: the command as help and messages show it, such as ``modiste train``.
        options: passed on to ``tyro.cli``.
    """
    import tyro

    config = (tyro.conf.PositionalRequiredArgs, tyro.conf.AvoidSubcommands)
    try:
        with escaped_output():  # help shows the recipe's values as defaults, and its file may come from anybody
            return tyro.cli(kind, args=arguments, prog=program, config=config, **options)
    except ModisteError as error:
        complain(str(error), USAGE)


def source_as_flag(arguments: list[str]) -> list[str]:
    """Return the arguments with a first one that is not a flag as ``--source FIRST``.

    Flags may also be written as ``modiste train`` has them: ``--data.side`` is ``--side``.
    """
    short = ["--" + item.removeprefix("--data.") if item.startswith("--data.") else item for item in arguments]
    return ["--source", *short] if short and not short[0].startswith("-") else short


def parse_with_recipe(options: Options, part: Fields, arguments: list[str], program: str) -> tuple[Fields, Options]:
    """Parse a command's own options together with a recipe, or a part of one, whose fields are flags too.

    Args:
        options: the command's options; these values are the defaults.
        part: the recipe or part of a recipe; these values are the defaults.
        arguments: flags of both, in any order.
        program: the command as help and messages show it.

    Returns:
        The recipe or part, and the options.
    """
    import tyro

    bare = tyro.conf.arg(name="")
    kind = tuple[Annotated[type(options), bare], Annotated[type(part), bare]]  # type: ignore[misc, valid-type]
    chosen, changed = parse(kind, arguments, program, default=(options, part))
    return changed, chosen


def named_recipe(name: str) -> Recipe:
    """Return the recipe with this name, or from this .toml or .json file."""
    from modiste.recipes.named import get
    from modiste.recipes.recipe import load

    return load(Path(name)) if name.endswith((".toml", ".json")) else get(name)


def print_json(plain: Any) -> None:
    """Print plain data as JSON on standard output."""
    print(as_json(plain), flush=True)


def as_json(plain: Any) -> str:
    """Return plain data as ASCII JSON; JSON has no infinity and no NaN, so they become null."""
    import json

    return json.dumps(_finite(plain), indent=2, allow_nan=False)


def _finite(plain: Any) -> Any:
    if isinstance(plain, dict):
        return {key: _finite(value) for key, value in plain.items()}
    if isinstance(plain, (list, tuple)):
        return [_finite(value) for value in plain]
    return None if isinstance(plain, float) and not math.isfinite(plain) else plain


def help_or_complain(
    command: Callable[..., None], arguments: list[str], complaint: str, options: Any, program: str, *more: str
) -> NoReturn:
    """If the arguments ask for help, print it and leave with 0; else print the complaint and leave with 2.

    Args:
        command: the command's function; its docstring begins the help.
        arguments: what follows the command's name.
        complaint: what is wrong with them unless they ask for help.
        options: the dataclass of the command's options, whose help follows.
        program: the command as help and messages show it.
        more: lines between the docstring and the options.
    """
    if "-h" not in arguments and "--help" not in arguments:
        complain(complaint, USAGE)
    say(*(line.removeprefix("    ") for line in (command.__doc__ or "").splitlines()), *more, "")
    parse(options, ["--help"], program)
    sys.exit(0)


def split_flags(arguments: list[str], options: type) -> tuple[list[str], list[str]]:
    """Separate positional arguments from flags, which may stand anywhere.

    Args:
        arguments: of a command line; after ``--`` there are no flags.
        options: a dataclass; its fields of type ``bool`` are flags without a value.

    Returns:
        The positional arguments, and the flags with their values.
    """
    without_value = {field.name for field in fields(options) if field.type is bool}
    positional: list[str] = []
    flags: list[str] = []
    remaining = list(arguments)
    while remaining:
        argument = remaining.pop(0)
        if argument == "--":
            return positional + remaining, flags
        if not argument.startswith("--") and argument != "-h":
            positional.append(argument)
            continue
        flags.append(argument)
        alone = "=" in argument or argument in ("-h", "--help") or _field_name(argument) in without_value
        if remaining and not alone:
            flags.append(remaining.pop(0))
    return positional, flags


def _field_name(flag: str) -> str:
    return flag.removeprefix("--").removeprefix("no-").replace("-", "_")


def complain(message: str, code: int) -> NoReturn:
    """Print one line that says what is wrong, on standard error, and leave with ``code``."""
    if is_first_process():
        warn(f"modiste: {message}")
    sys.exit(code)


def is_first_process() -> bool:
    """Return whether this process may print: of the processes that torchrun started, only the first may."""
    return "TORCHELASTIC_RUN_ID" not in os.environ or os.environ["RANK"] == "0"


@dataclass(frozen=True, kw_only=True)
class WorkerOptions(DataFolderOption):
    """Options of every command that trains many runs."""

    workers: int = 2
    """Runs to train at once, each in a process with its share of the cores."""
    ray: str | None = None
    """Train on a Ray cluster: auto joins this machine's or starts one for this command, HOST:PORT joins that one."""
    trial_cpus: float = 1.0
    """Cores, and threads, of each run on the Ray cluster."""
    trial_gpus: float = 0.0
    """GPUs of each run on the Ray cluster; with 0.25, four runs share one."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 ..."""
    quiet: bool = False
    """Print only errors."""

    def worker_factory(self, out: Path) -> "MakeWorkers":
        """Return a function that makes the workers of runs collected in ``out``; RecipeError for a wrong number."""
        if self.workers < 1:
            raise RecipeError(f"--workers: expected at least 1, found {self.workers}")
        if self.ray is None:
            from modiste.searches.workers import Processes

            return partial(Processes, self.workers)
        from modiste.searches.ray_cluster import RayWorkers, Share

        return partial(RayWorkers, self.ray, out, Share(self.trial_cpus, self.trial_gpus))
