"""The flags of a command, read from its dataclasses: names, help, values; and what a mistyped one may have meant.

Help, shell completion and the hints for mistakes use this description. It needs neither tyro nor torch.
"""

import ast
import dataclasses
import difflib
import functools
import inspect
import itertools
import types
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

ALIASES = {"lr": "optimizer.learning-rate", "learning-rate": "optimizer.learning-rate"}
"""Short names of flags, for commands that have the flag and none of the short name."""
HELP_FLAGS = ("-h", "--help", "--help-all")


@dataclass(frozen=True)
class Flag:
    """A flag, or a positional argument.

    Attributes:
        name: Without dashes in front, such as ``optimizer.learning-rate``.
        kind: Type of the value.
        about: The docstring of its field.
        default: Its default; MISSING for a positional argument.
    """

    name: str
    kind: Any
    about: str
    default: Any

    @property
    def is_positional(self) -> bool:
        """Whether it is given by position: fields without a default are."""
        return self.default is dataclasses.MISSING

    @property
    def is_switch(self) -> bool:
        """Whether it takes no value: ``--name`` switches on, ``--no-name`` off."""
        return self.kind is bool

    @property
    def is_list(self) -> bool:
        """Whether it takes several values."""
        return get_origin(self.kind) is tuple

    @property
    def choices(self) -> tuple[str, ...]:
        """The values that it may have, without an empty one; empty if they cannot be listed."""
        return tuple(filter(None, self._literals))

    @property
    def _literals(self) -> tuple[str, ...]:
        kinds = get_args(self.kind) if get_origin(self.kind) in (Union, types.UnionType) else (self.kind,)
        return tuple(str(one) for kind in kinds if get_origin(kind) is Literal for one in get_args(kind))

    @property
    def count(self) -> int | None:
        """How many values a list takes; None for any number, and for what is no list."""
        kinds = get_args(self.kind)
        return len(kinds) if self.is_list and Ellipsis not in kinds else None

    def may_be(self, text: str) -> bool:
        """Return whether a text is one of the listed values, or stands for no value where there may be none."""
        return text in self._literals or (text == "None" and type(None) in get_args(self.kind))

    @property
    def is_path(self) -> bool:
        """Whether its value is the path of a file or folder."""
        return Path in (self.kind, *get_args(self.kind))

    @property
    def numbers(self) -> set[type]:
        """The kinds of numbers, int and float, that its value may be, or each of its values."""
        return {int, float} & {self.kind, *get_args(self.kind)}

    @property
    def placeholder(self) -> str:
        """What stands for the value in help, such as ``N``; empty for a switch."""
        if self.is_switch:
            return ""
        if self.choices:
            return "|".join(self.choices)
        inner = [kind for kind in get_args(self.kind) if kind not in (type(None), Ellipsis)] or [self.kind]
        letter = {int: "N", float: "X", Path: "PATH"}.get(inner[0], "TEXT")
        return f"{letter} ..." if self.is_list else letter

    def variants(self) -> tuple[str, ...]:
        """Return every spelling without its dashes: the name, its aliases, and for a switch the negation."""
        head, _, tail = self.name.rpartition(".")
        off = f"{head}.no-{tail}" if head else f"no-{tail}"
        short = tuple(alias for alias, name in ALIASES.items() if name == self.name)
        return (self.name, *short, *([off] if self.is_switch else []))


def flags_of(part: Any, prefix: str = "") -> list[Flag]:
    """Return the flags of a dataclass, or of an instance, whose values are then the defaults; nested ones included.

    Where a field may hold one of several dataclasses, an instance has the flags of its own, a class those of all.

    Args:
        part: The dataclass or instance.
        prefix: Put before every name, with a point at its end.

    Example:
        >>> from modiste.recipes.recipe import ScheduleRecipe
        >>> [flag.name for flag in flags_of(ScheduleRecipe(), "schedule.")][:3]
        ['schedule.shape', 'schedule.warm-up', 'schedule.final-factor']
    """
    kind = part if isinstance(part, type) else type(part)
    hints, about = get_type_hints(kind), field_docs(kind)
    found: dict[str, Flag] = {}
    for item in dataclasses.fields(kind):
        name = prefix + item.name.replace("_", "-")
        inside = _inside(part, item, hints[item.name])
        for flag in (
            [flag for one in inside for flag in flags_of(one, f"{name}.")]
            if inside
            else [Flag(name, hints[item.name], about.get(item.name, ""), _default(part, item))]
        ):
            found.setdefault(flag.name, flag)
    return list(found.values())


def _inside(part: Any, item: "dataclasses.Field[Any]", hint: Any) -> list[Any]:
    """Return the dataclasses that a field holds or may hold; an empty list for a plain field."""
    if not isinstance(part, type):
        value = getattr(part, item.name)
        return [value] if dataclasses.is_dataclass(value) else []
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return [kind for kind in kinds if dataclasses.is_dataclass(kind)]


def _default(part: Any, item: "dataclasses.Field[Any]") -> Any:
    if not isinstance(part, type):
        return getattr(part, item.name)
    return item.default if item.default_factory is dataclasses.MISSING else item.default_factory()


@functools.cache
def field_docs(kind: type) -> dict[str, str]:
    """Return the docstring of each field of a dataclass, those of its bases included."""
    inherited = {name: text for base in reversed(kind.__mro__[1:]) for name, text in _own_docs(base).items()}
    return inherited | _own_docs(kind)


def _own_docs(kind: type) -> dict[str, str]:
    return {} if kind.__module__ == "builtins" else _docs_of_file(inspect.getfile(kind)).get(kind.__name__, {})


@functools.cache
def _docs_of_file(path: str) -> dict[str, dict[str, str]]:
    """Return the docstrings of fields in a source file, by class and field."""
    body = ast.parse(Path(path).read_text(encoding="utf-8")).body
    return {item.name: dict(_documented(item.body)) for item in body if isinstance(item, ast.ClassDef)}


def _documented(body: Sequence[ast.stmt]) -> Iterator[tuple[str, str]]:
    """Yield the name and the docstring of each field that is followed by one."""
    for item, after in itertools.pairwise(body):
        text = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else None
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and isinstance(text, str):
            yield item.target.id, inspect.cleandoc(text)


def split(arguments: Sequence[str], flags: Iterable[Flag]) -> tuple[list[str], list[str]]:
    """Separate positional arguments from flags, which may stand anywhere.

    Args:
        arguments: Arguments of a command line; after ``--`` there are no flags.
        flags: That the command has. A switch takes no value, a list takes all up to the next flag (a list of numbers
            all numbers), every other flag one.

    Returns:
        The positional arguments, and the flags with their values.
    """
    known = {name: flag for flag in flags for name in flag.variants()}
    positional: list[str] = []
    chosen: list[str] = []
    remaining = list(arguments)
    while remaining:
        argument = remaining.pop(0)
        if argument == "--":
            return positional + remaining, chosen
        if not _is_flag(argument):
            positional.append(argument)
            continue
        chosen.append(argument)
        if "=" not in argument and argument not in HELP_FLAGS:
            for _ in range(_values(known.get(_name(argument)), remaining)):
                chosen.append(remaining.pop(0))
    return positional, chosen


def _values(flag: Flag | None, remaining: Sequence[str]) -> int:
    """Return how many of the remaining arguments are values of a flag; an unknown flag is taken to have one."""
    before = remaining[: remaining.index("--")] if "--" in remaining else remaining
    if flag is None or not (flag.is_switch or flag.is_list):
        return min(1, len(before))
    if flag.is_switch:
        return 0
    ends = (n for n, one in enumerate(before) if _is_flag(one) or (flag.numbers and not _is_number(one, (float,))))
    return next(ends, len(before))


def _is_flag(argument: str) -> bool:
    return argument in HELP_FLAGS or (argument.startswith("--") and argument != "--")


def _is_number(text: str, kinds: Iterable[type]) -> bool:
    """Return whether a text is a number of one of these kinds: int, float."""
    for kind in kinds:
        with suppress(ValueError):
            kind(text)
            return True
    return False


def _name(argument: str) -> str:
    """Return the name of a flag as ``Flag`` has it, from ``--Name_of=value``."""
    return argument.removeprefix("--").partition("=")[0].replace("_", "-")


def correct(arguments: Sequence[str], flags: Sequence[Flag], program: str) -> list[str]:
    """Return the arguments with aliases and underscores in flags replaced by the flags' own names.

    Args:
        arguments: Arguments of a command line.
        flags: That the command has.
        program: The command as messages show it.

    Raises:
        LookupError: One is no flag of the command, and the message names the most similar; or its value cannot be; or
            a list stands there twice, of which the first would be lost.
    """
    known = {name: flag for flag in flags if not flag.is_positional for name in flag.variants()}
    corrected: list[str] = []
    lists: set[str] = set()
    remaining = list(arguments)
    while remaining and remaining[0] != "--":
        argument = remaining.pop(0)
        name, equals, value = _name(argument), *argument.partition("=")[1:]
        if argument in HELP_FLAGS or not _looks_like_flag(argument):
            corrected.append(argument)
        elif argument.startswith("--") and name in known:
            flag = known[name]
            if flag.name in lists:
                raise LookupError(f"--{flag.name}: given twice; give it once, with all its values behind it")
            if flag.is_list:
                lists.add(flag.name)
            _check_value(flag, value if equals else next(iter(remaining), None), is_joined=bool(equals))
            if flag.is_list:
                _check_list(flag, [value] if equals else list(itertools.takewhile(_is_value, remaining)))
            full = ALIASES.get(name, name) if flag.name == ALIASES.get(name) else name
            corrected.append(f"--{full}{equals}{value}")
        else:
            raise LookupError(f"no flag {argument.partition('=')[0]} in {program}; {suggest(name, flags, program)}")
    return corrected + remaining


def _check_value(flag: Flag, value: str | None, *, is_joined: bool) -> None:
    """Raise LookupError unless a flag has a value that can be.

    A flag of a single value needs a listed one, or a number. A list may be empty if that changes it, or if its values
    are numbers.

    Args:
        flag: Any flag.
        value: What follows it; None for nothing.
        is_joined: Whether an equals sign joins the two, so that the value may begin as a flag does.
    """
    if flag.is_switch and is_joined:
        on, *_, off = flag.variants()
        raise LookupError(
            f"--{flag.name}: expected no value, found {value or 'nothing'}; --{on} switches it on, --{off} off"
        )
    if flag.is_switch or (flag.is_list and (flag.numbers or flag.default)):
        return
    if value in (None, "--") or (not is_joined and _looks_like_flag(value)):
        found = "nothing" if value in (None, "--") else f"the flag {value}"
        raise LookupError(f"--{flag.name}: expected {flag.placeholder}, found {found}")
    if flag.is_list:
        return
    choices = flag.choices
    if choices and not flag.may_be(value):
        similar = difflib.get_close_matches(value, choices, n=1)
        hint = f"; did you mean {similar[0]}?" if similar else ""
        raise LookupError(f"--{flag.name}: expected {' or '.join(choices)}, found {value or 'nothing'}{hint}")
    _check_numbers(flag, [value])


def _check_list(flag: Flag, values: Sequence[str]) -> None:
    """Raise LookupError if a list has too few or too many values, or one that is no number where it takes numbers."""
    _check_numbers(flag, values)
    if flag.count not in (None, len(values)):
        raise LookupError(f"--{flag.name}: expected {flag.count} values, found {' '.join(values) or 'nothing'}")


def _check_numbers(flag: Flag, values: Iterable[str]) -> None:
    """Raise LookupError if the flag takes numbers and one of these values is none, unless it stands for no value."""
    wanted = flag.numbers
    for value in values if wanted else ():
        if not (_is_number(value, wanted) or flag.may_be(value)):
            expected = "a number" if float in wanted else "a whole number"
            name = flag.name.upper() if flag.is_positional else f"--{flag.name}"
            raise LookupError(f"{name}: expected {expected}, found {value}")


def given(arguments: Iterable[str], flags: Iterable[Flag]) -> list[Flag]:
    """Return the flags that stand among the arguments of a command line."""
    known = {name: flag for flag in flags for name in flag.variants()}
    names = (_name(argument) for argument in arguments if argument.startswith("--"))
    return [known[name] for name in names if name in known]


def check_positional(positional: Sequence[str], flags: Iterable[Flag], program: str) -> None:
    """Raise LookupError if there are too few or too many positional arguments."""
    wanted = [flag for flag in flags if flag.is_positional]
    if len(positional) > len(wanted) and not any(flag.is_list for flag in wanted):
        raise LookupError(f"{program}: {positional[len(wanted)]} is one argument too many; see {program} --help")
    single = [flag for flag in wanted if not flag.is_list]
    if len(positional) < len(single):
        raise LookupError(f"{program}: expected {single[len(positional)].name.upper()}; see {program} --help")
    for flag in wanted:
        if flag.is_list:
            _check_numbers(flag, positional[len(single) :])


def as_positional(positional: Sequence[str], flags: Iterable[Flag]) -> list[str]:
    """Return positional arguments with ``./`` before a path that begins as a flag does, but not before a number."""
    numbers = {kind for flag in flags if flag.is_positional for kind in flag.numbers}
    is_plain = (not one.startswith("-") or one == "-" or _is_number(one, numbers) for one in positional)
    return [one if plain else f"./{one}" for one, plain in zip(positional, is_plain, strict=True)]


def _is_value(argument: str) -> bool:
    return argument != "--" and not _looks_like_flag(argument)


def _looks_like_flag(argument: str) -> bool:
    """Return whether an argument begins as a flag does; ``-``, which stands for standard input, and -1 do not."""
    return argument.startswith("-") and argument.lstrip("-")[:1].isalpha()


def suggest(name: str, flags: Iterable[Flag], program: str) -> str:
    """Return a hint: the flags whose last part is ``name``, else the most similar one, else how to list them all."""
    name = name.lstrip("-")
    known = [spelling for flag in flags if not flag.is_positional for spelling in flag.variants()]
    ends = {one.rpartition(".")[2]: one for one in reversed(known)}
    similar = [name] if name in known else [one for one in known if one.rpartition(".")[2] == name.rpartition(".")[2]]
    if not similar:
        by_text = {**ends, **dict(zip(known, known, strict=True))}
        similar = [by_text[one] for one in difflib.get_close_matches(name, list(by_text), n=1)]
    if not similar:
        return f"{program} --help lists them"
    return f"did you mean {' or '.join(f'--{one}' for one in similar)}?"
