"""Parse command-line arguments into typed options, print JSON, and report wrong usage; options that commands share."""

import math
import sys
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, TypeVar

from modiste.cli import command_help, flags
from modiste.cli.streams import escaped_output, say, warn
from modiste.errors import ModisteError

if TYPE_CHECKING:
    from modiste.recipes.recipe import Recipe


Options = TypeVar("Options")
Fields = TypeVar("Fields")
Command = Callable[[list[str]], None]
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
class OwnCodeOptions(DataFolderOption):
    """Options of the commands that train with code which is not Modiste's."""

    network: str | None = None
    """A network of your own in place of the recipe's, MODULE:NAME: a class or function; see docs/python.md."""
    loss: str | None = None
    """A loss of your own in place of the objective, MODULE:NAME."""
    augment: str | None = None
    """An augmentation of your own after the recipe's, MODULE:NAME."""

    @property
    def own_code(self) -> dict[str, Any]:
        """The three by the names that the functions take them by."""
        return {"network": self.network, "loss": self.loss, "augmentation": self.augment}


@dataclass(frozen=True, kw_only=True)
class RunOptions(DataFolderOption):
    """Options of the commands that read finished runs."""

    network: str = ""
    """MODULE:NAME of the runs' network if it is not part of Modiste; several with commas between them."""

    def register_networks(self) -> None:
        """Import the networks that are named, for the runs that need them; RecipeError if that is impossible."""
        from modiste.recipes import own_code

        for path in filter(None, self.network.split(",")):
            own_code.register_for_runs(path)


@dataclass(frozen=True, kw_only=True)
class MeasureOptions(RunOptions):
    """Options of the commands that measure finished runs."""

    split: Literal["validation", "test"] = "validation"
    """Images to measure on; test is the held-out test set, and every evaluation on it is counted."""
    weights: Literal["picked", "last", "snapshots"] = "picked"
    """picked: the weights that validation selected; last: those of the last epoch; snapshots: all cycles' together."""
    json: bool = False
    """Print JSON."""
    device: str = "auto"
    """auto, cpu, cuda ..."""

    def keyword_arguments(self) -> dict[str, Any]:
        """Return split, weights, device and data folder by name, for the functions that measure."""
        names = ("split", "weights", "device", "data_folder")
        return {name: getattr(self, name) for name in names}


def parse(kind: type[Options], arguments: list[str], program: str, command: Command | None = None) -> Options:
    """Return the arguments as an instance of a dataclass; print help, or leave with code 2 if they are wrong.

    Args:
        kind: The dataclass; fields without a default are positional arguments.
        arguments: What follows the command's name; flags and positional arguments in any order.
        program: The command as help and messages show it, such as ``modiste report``.
        command: The command's function, whose docstring begins the help.
    """
    if command_help.asks_for_help(arguments):
        _show_help(arguments, program, command, kind)
    parsed: Options = _parse(kind, _in_order(arguments, flags.flags_of(kind), program), program)
    return parsed


def parse_with_recipe(
    options: Options, part: Fields, arguments: list[str], program: str, command: Command | None = None
) -> tuple[Fields, Options]:
    """Parse a command's own options together with a recipe, or a part of one, whose fields are flags too.

    Args:
        options: The command's options; these values are the defaults.
        part: The recipe or part of a recipe; these values are the defaults.
        arguments: Flags of both, in any order.
        program: The command as help and messages show it.
        command: The command's function, whose docstring begins the help.

    Returns:
        The recipe or part, and the options.
    """
    wanted = [argument for argument in arguments if argument not in flags.HELP_FLAGS]
    if wanted:
        import tyro

        bare = tyro.conf.arg(name="")
        kind = tuple[Annotated[type(options), bare], Annotated[type(part), bare]]  # type: ignore[misc, valid-type]
        known = [*flags.flags_of(options), *flags.flags_of(part)]
        options, part = _parse(kind, _in_order(wanted, known, program), program, default=(options, part))
    if command_help.asks_for_help(arguments):
        _show_help(arguments, program, command, options, part)
    return part, options


def warn_of_idle(recipe: "Recipe", arguments: list[str]) -> None:
    """Print a line for each flag among the arguments that has no effect with the recipe."""
    warn(*command_help.idle(recipe, flags.given(arguments, flags.flags_of(recipe))))


def with_own_code(recipe: "Recipe", options: OwnCodeOptions, arguments: list[str]) -> "Recipe":
    """Return the recipe with the code that the options name; fields that the arguments set stay as they are set."""
    if not any(options.own_code.values()):
        return recipe
    from modiste.api import own
    from modiste.recipes.plain import flatten, to_plain
    from modiste.system.processes import importing_torch

    values = dict(flatten(to_plain(recipe)))
    paths = {flag.name.replace("-", "_") for flag in flags.given(arguments, flags.flags_of(recipe))}
    with importing_torch():  # which the module of a network imports
        return own.with_own_code(recipe, **options.own_code, **{path: values[path] for path in paths})


def _parse(kind: Any, arguments: list[str], program: str, **options: Any) -> Any:
    """Return the arguments as tyro reads them; leave with code 2 where it finds a fault."""
    import tyro

    config = (tyro.conf.PositionalRequiredArgs, tyro.conf.AvoidSubcommands)
    printed = StringIO()
    try:
        # messages show the recipe's values, and its file may come from anybody
        with redirect_stderr(printed), escaped_output():
            return tyro.cli(kind, args=arguments, prog=program, config=config, **options)
    except ModisteError as error:
        complain(_with_flag(error, arguments), USAGE)
    except SystemExit as stop:
        refusal = _refusal(stop)
        if refusal:
            complain(_with_flag(refusal, arguments), USAGE)
        sys.stderr.write(printed.getvalue())
        raise


def _refusal(stop: SystemExit) -> ModisteError | None:
    """Return the error of a recipe's part that made tyro stop, whose own line says more than tyro's box around it."""
    error = stop.__context__
    while error:
        if isinstance(error, ModisteError):
            return error
        error = error.__context__
    return None


def _with_flag(error: ModisteError, arguments: list[str]) -> str:
    """Return a message about a field, such as ``learning_rate: ...``, that begins with its flag if only one fits."""
    field, colon, rest = str(error).partition(":")
    given = {one.partition("=")[0] for one in arguments if one.startswith("--")}
    fitting = [flag for flag in given if flag.lstrip("-").rpartition(".")[2].replace("-", "_") == field]
    return f"{fitting[0]}:{rest}" if colon and len(fitting) == 1 else str(error)


def _in_order(arguments: list[str], known: list[flags.Flag], program: str) -> list[str]:
    """Return the arguments with the positional ones first and with corrected flags; leave with 2 for an unknown one."""
    try:
        positional, chosen = flags.split(flags.correct(arguments, known, program), known)
        flags.check_positional(positional, known, program)
    except LookupError as error:
        complain(str(error), USAGE)
    return flags.as_positional(positional, known) + chosen


def _show_help(
    arguments: list[str], program: str, command: Command | None, options: Any, part: Any = None, *more: str
) -> NoReturn:
    """Print the help of a command, and leave with 0."""
    about, complete = (command and command.__doc__) or "", "--help-all" in arguments
    say(*command_help.render(program, about, options, part, complete=complete, more=more))
    sys.exit(0)


def source_as_flag(arguments: list[str], options: type, part: type) -> list[str]:
    """Return the arguments with a positional one as ``--source``; leave with code 2 if there are several.

    Flags may also be written as ``modiste train`` has them: ``--data.side`` is ``--side``.

    Args:
        arguments: What follows the command's name.
        options: The dataclass of the command's options.
        part: The dataclass of the recipe's part.
    """
    short = ["--" + item.removeprefix("--data.") if item.startswith("--data.") else item for item in arguments]
    sources, chosen = split_flags(short, options, part)
    if len(sources) > 1:
        complain(f"expected one folder or list of pictures, found {' and '.join(sources)}", USAGE)
    return [*(part for source in sources for part in ("--source", source)), *chosen]


def named_recipe(name: str) -> "Recipe":
    """Return the recipe with this name, or from this .toml or .json file."""
    from modiste.recipes.named import find

    return find(name)


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
    command: Command, arguments: list[str], complaint: str, options: Any, program: str, *more: str
) -> NoReturn:
    """If the arguments ask for help, print it and leave with 0; else print the complaint and leave with 2.

    Args:
        command: The command's function; its docstring begins the help.
        arguments: What follows the command's name.
        complaint: What is wrong with them unless they ask for help.
        options: The dataclass of the command's options, whose help follows.
        program: The command as help and messages show it.
        more: Lines between the docstring and the options.
    """
    if not command_help.asks_for_help(arguments):
        complain(complaint, USAGE)
    _show_help(arguments, program, command, options, None, *more)


def split_flags(arguments: list[str], *kinds: type) -> tuple[list[str], list[str]]:
    """Separate positional arguments from flags, which may stand anywhere.

    Args:
        arguments: Arguments of a command line; after ``--`` there are no flags.
        kinds: Dataclasses whose fields are the flags.

    Returns:
        The positional arguments, and the flags with their values.
    """
    return flags.split(arguments, [flag for kind in kinds for flag in flags.flags_of(kind)])


def complain(message: str, code: int) -> NoReturn:
    """Print one line that says what is wrong, on standard error, and leave with ``code``."""
    from modiste.system.processes import is_first_process

    if is_first_process():
        warn(f"modiste: {message}")
    sys.exit(code)


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

    @property
    def cluster(self) -> dict[str, Any]:
        """The options of the Ray cluster by name."""
        return {name: getattr(self, name) for name in ("ray", "trial_cpus", "trial_gpus")}
