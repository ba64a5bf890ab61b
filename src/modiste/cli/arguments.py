"""From the words of a command line to typed options, and the ways a command answers a script or complains."""

import math
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, TypeVar

from modiste.cli.streams import guarded, say, warn
from modiste.errors import ModisteError
from modiste.recipes.recipe import Recipe

Options = TypeVar("Options")
Fields = TypeVar("Fields")
USAGE = 2
"""Exit code when a command was given wrongly."""


@dataclass(frozen=True)
class NoOptions:
    """Nothing to choose."""


@dataclass(frozen=True, kw_only=True)
class DataFolderOption:
    """Where the data lie on this machine."""

    data_folder: Path | None = None
    """Folder of Fashion-MNIST, if not a usual place; or of other data that have moved from where the recipe says."""


@dataclass(frozen=True, kw_only=True)
class MeasureOptions(DataFolderOption):
    """On which images and how finished runs are measured."""

    split: Literal["validation", "test"] = "validation"
    """Images to measure on; test is the sealed set, and every look at it is counted."""
    weights: Literal["picked", "last"] = "picked"
    """The weights that validation picked, or those of the last epoch."""
    json: bool = False
    """Print JSON."""
    device: str = "auto"
    """auto, cpu, cuda ..."""

    def choices(self) -> dict[str, Any]:
        """Return what the functions that measure call these."""
        names = ("split", "weights", "device", "data_folder")
        return {name: getattr(self, name) for name in names}


def parse(kind: Any, words: list[str], program: str, **options: Any) -> Any:
    """Return the words as options of type ``kind``, whose help and faults ``program`` signs."""
    import tyro

    config = (tyro.conf.PositionalRequiredArgs, tyro.conf.AvoidSubcommands)
    try:
        with guarded():  # a stranger's recipe is shown among the defaults
            return tyro.cli(kind, args=words, prog=program, config=config, **options)
    except ModisteError as error:
        complain(str(error), USAGE)


def source_first(words: list[str]) -> list[str]:
    """Return the words with their first, where it is no flag, as the value of --source.

    Flags may be written as training has them: --data.side is --side.
    """
    short = ["--" + word.removeprefix("--data.") if word.startswith("--data.") else word for word in words]
    return ["--source", *short] if short and not short[0].startswith("-") else short


def parse_beside(options: Options, part: Fields, words: list[str], program: str) -> tuple[Fields, Options]:
    """Return a recipe or a part of one, every field of which is a flag, and a command's own options, from mixed words.

    ``part`` and ``options`` say what is meant where the words do not.
    """
    import tyro

    bare = tyro.conf.arg(name="")
    kind = tuple[Annotated[type(options), bare], Annotated[type(part), bare]]  # type: ignore[misc, valid-type]
    chosen, changed = parse(kind, words, program, default=(options, part))
    return changed, chosen


def named_recipe(name: str) -> Recipe:
    """Return the recipe of this name, or of this .toml or .json file."""
    from modiste.recipes.named import get
    from modiste.recipes.recipe import load

    return load(Path(name)) if name.endswith((".toml", ".json")) else get(name)


def print_json(plain: Any) -> None:
    """Answer a script."""
    print(as_json(plain), flush=True)


def as_json(plain: Any) -> str:
    """Return JSON in ASCII; numbers that are not finite, which it does not know, are null."""
    import json

    return json.dumps(_finite(plain), indent=2, allow_nan=False)


def _finite(plain: Any) -> Any:
    if isinstance(plain, dict):
        return {key: _finite(value) for key, value in plain.items()}
    if isinstance(plain, (list, tuple)):
        return [_finite(value) for value in plain]
    return None if isinstance(plain, float) and not math.isfinite(plain) else plain


def explain(
    command: Callable[..., None], words: list[str], complaint: str, options: Any, program: str, *more: str
) -> NoReturn:
    """Print what a command says of itself, ``more``, and its options, where the words ask for help; else complain."""
    if "-h" not in words and "--help" not in words:
        complain(complaint, USAGE)
    say(*(line.removeprefix("    ") for line in (command.__doc__ or "").splitlines()), *more, "")
    parse(options, ["--help"], program)
    sys.exit(0)


def flags_last(words: list[str], options: type) -> tuple[list[str], list[str]]:
    """Return the words that are neither flags nor their values, and the others, whatever their order.

    Args:
        words: of a command line; behind ``--`` there are no flags.
        options: a dataclass; its fields of type ``bool`` are flags without a value.
    """
    alone = {field.name for field in fields(options) if field.type is bool}
    named: list[str] = []
    flags: list[str] = []
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        if word == "--":
            return named + waiting, flags
        if not word.startswith("--") and word != "-h":
            named.append(word)
            continue
        flags.append(word)
        if "=" not in word and word not in ("-h", "--help") and _field(word) not in alone and waiting:
            flags.append(waiting.pop(0))
    return named, flags


def _field(flag: str) -> str:
    return flag.removeprefix("--").removeprefix("no-").replace("-", "_")


def complain(message: str, code: int) -> NoReturn:
    """Tell a person what is wrong and leave with ``code``."""
    if speaks():
        warn(f"modiste: {message}")
    sys.exit(code)


def speaks() -> bool:
    """Tell whether this process is to say anything: of those that torchrun started only the first."""
    return "TORCHELASTIC_RUN_ID" not in os.environ or os.environ["RANK"] == "0"
