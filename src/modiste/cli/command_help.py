"""The help of a command: what it does, examples, and its flags with their defaults, the most used first.

Parts of a recipe that cannot matter fold into a line each, which says when they do; ``--help-all`` shows everything.
"""

import shutil
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from modiste.cli.flags import ALIASES, HELP_FLAGS, Flag, field_docs, flags_of

MOST_USED = ("epochs", "optimizer.learning-rate", "batch-size", "seed")
"""Fields of a recipe whose flags come first."""
WIDEST = 100
"""Most columns of help, on a wider terminal too."""
INDENT = 26
"""Columns before the text about a flag."""


@dataclass(frozen=True)
class Fold:
    """Flags of a recipe that matter only sometimes.

    Attributes:
        names: Names of the flags; one that ends in ``.*`` stands for all of a part.
        matter: Whether they matter for a recipe.
        when: When they do, as help says it.
    """

    names: tuple[str, ...]
    matter: Callable[[Any], bool]
    when: str

    def holds(self, name: str) -> bool:
        """Return whether the flag of this name is one of them."""
        return any(name == one or (one.endswith(".*") and name.startswith(one[:-1])) for one in self.names)


def _is_default(part: Any) -> bool:
    return bool(part == type(part)())


OF_PICTURES = (
    "data.pictures",
    "data.background",
    "data.side",
    "data.colour",
    "data.decoder",
    "data.test-fraction",
    "data.test-seed",
    "data.extra",
    "data.extra-classes",
    "data.extra-share",
)
OF_STEPS = (
    "batch-size",
    "ema-decay",
    "swa-start",
    "patience",
    "pick",
    "augmentation.mixup",
    "augmentation.cutmix",
    "augmentation.fmix",
    "optimizer.*",
    "schedule.*",
    "transfer.learning-rate-factor",
    "transfer.keep-statistics",
)
"""Flags for the steps of training. What changes single images is known to the detector of other pictures as well."""
FOLDS = (
    Fold(
        OF_STEPS,
        lambda recipe: recipe.epochs > 0,
        "with --epochs 1 or more",
    ),
    Fold(
        ("model.dropout",),
        lambda recipe: recipe.epochs > 0 or recipe.warm_start == "simclr",
        "with --epochs 1 or more, or --warm-start simclr",
    ),
    Fold(
        ("standardize",),
        lambda recipe: recipe.model.standardization() is None,
        "with another network than EfficientNet-Lite, which has a standardisation of its own",
    ),
    Fold(
        ("model.kernel-size",),
        lambda recipe: getattr(recipe.model, "stem", "single") == "single",
        "with --model.stem single",
    ),
    Fold(
        ("model.iterations",),
        lambda recipe: getattr(recipe.model, "routing", "agreement") == "agreement",
        "with --model.routing agreement",
    ),
    Fold(
        OF_PICTURES,
        lambda recipe: recipe.data.source != "fashion-mnist" or bool(recipe.data.extra),
        "with --data.source FOLDER of pictures, or --data.extra",
    ),
    Fold(
        ("data.subset-seed",),
        lambda recipe: recipe.data.images_per_class > 0,
        "with --data.images-per-class",
    ),
    Fold(
        ("data-pruning",),
        lambda recipe: recipe.epochs > 1,
        "with --epochs 2 or more: the first pass takes every image",
    ),
    Fold(
        ("ema-warm-up",),
        lambda recipe: recipe.ema_decay > 0,
        "with --ema-decay",
    ),
    Fold(
        ("by-class.*",),
        lambda recipe: not _is_default(recipe.by_class),
        "with --by-class.pair or --by-class.outliers: changes to the images of some classes",
    ),
    Fold(
        ("optimizer.momentum", "optimizer.nesterov"),
        lambda recipe: recipe.optimizer.name == "sgd",
        "with --optimizer.name sgd",
    ),
    Fold(
        ("optimizer.betas", "optimizer.epsilon"),
        lambda recipe: recipe.optimizer.name != "sgd",
        "with --optimizer.name adam or adamw",
    ),
    Fold(
        ("optimizer.sam-every", "optimizer.sam-adaptive"),
        lambda recipe: recipe.optimizer.sam_rho > 0,
        "with --optimizer.sam-rho",
    ),
    Fold(
        ("schedule.final-factor",),
        lambda recipe: recipe.schedule.shape in ("linear", "cosine", "one-cycle"),
        "with --schedule.shape linear, cosine or one-cycle",
    ),
    Fold(
        ("schedule.step-every", "schedule.step-factor"),
        lambda recipe: recipe.schedule.shape == "step",
        "with --schedule.shape step",
    ),
    Fold(
        ("pretraining.*",),
        lambda recipe: recipe.warm_start == "contrastive-divergence",
        "with --warm-start contrastive-divergence",
    ),
    Fold(
        ("self-supervised.*",),
        lambda recipe: recipe.warm_start == "simclr",
        "with --warm-start simclr",
    ),
    Fold(
        ("transfer.fresh", "transfer.learning-rate-factor", "transfer.rename"),
        lambda recipe: bool(recipe.transfer.source),
        "with --transfer-from",
    ),
    Fold(
        ("distillation.on", "distillation.weight", "distillation.temperature"),
        lambda recipe: bool(recipe.distillation.teachers),
        "with --teacher",
    ),
)


def idle(recipe: Any, flags: Iterable[Flag]) -> Iterator[str]:
    """Yield a line for each of some flags that has no effect with a recipe, which says when it would have one."""
    for flag in flags:
        fold = next((fold for fold in FOLDS if fold.holds(flag.name) and not fold.matter(recipe)), None)
        if fold is not None:
            yield f"--{flag.name} has no effect here, only {fold.when}"


def asks_for_help(arguments: Sequence[str]) -> bool:
    """Return whether a flag for help stands among the arguments."""
    return any(argument in HELP_FLAGS for argument in arguments)


def render(
    program: str, about: str, options: Any, part: Any = None, *, complete: bool = False, more: Iterable[str] = ()
) -> Iterator[str]:
    """Yield the lines of a command's help.

    Args:
        program: The command as help shows it.
        about: The docstring of the command's function.
        options: The dataclass of the command's own options, or an instance.
        part: A recipe, or a part of one, whose fields are flags too.
        complete: Whether to show what folds too.
        more: Lines after the docstring.
    """
    own = flags_of(options)
    fields = [] if part is None else flags_of(part)
    yield from (line.removeprefix("    ") for line in about.rstrip().splitlines())
    yield from more
    yield ""
    yield f"usage: {' '.join([program, *(flag.name.upper() for flag in own if flag.is_positional)])} [options]"
    folded = [] if complete else [fold for fold in _folds(part) if any(fold.holds(flag.name) for flag in fields)]
    shown = [flag for flag in fields if not any(fold.holds(flag.name) for fold in folded)]
    first = [flag for name in MOST_USED for flag in shown if flag.name == name]
    yield from _section("most used", first)
    yield from _section("arguments", [flag for flag in own if flag.is_positional])
    yield from ["", "options", *_entries([flag for flag in own if not flag.is_positional])]
    yield from _entry("-h, --help", "Show this help and exit.")
    yield from _parts(part, [flag for flag in shown if flag not in first])
    if folded:
        yield from ["", f"without effect here ({program} --help-all lists them)"]
        yield from _folded(folded, fields)


def _folds(part: Any) -> list[Fold]:
    """Return the folds of a recipe that do not matter for it; none for other parts."""
    return [fold for fold in FOLDS if not fold.matter(part)] if hasattr(part, "schedule") else []


def _folded(folds: Sequence[Fold], flags: Sequence[Flag]) -> Iterator[str]:
    """Yield what each fold holds, and when that matters. A flag of several folds counts for the first of them."""
    for fold in folds:
        names = [flag.name for flag in flags if fold.holds(flag.name)]
        flags = [flag for flag in flags if flag.name not in names]
        if names:
            yield from _entry(_summary(fold, names), fold.when)


def _summary(fold: Fold, names: Sequence[str]) -> str:
    """Return the names that a fold holds on one line: all of a part, or the first name and how many more."""
    if fold.names[0].endswith(".*"):
        return f"--{fold.names[0]} ({len(names)})"
    start = next(f"--{name}" for name in (*fold.names, *names) if name in names)
    return start if len(names) == 1 else f"{start} and {len(names) - 1} more"


def _parts(part: Any, flags: Sequence[Flag]) -> Iterator[str]:
    """Yield a section for each part of a recipe, the fields of the whole first."""
    kind: type = type(part)
    about = {} if part is None else field_docs(kind)
    heads = dict.fromkeys(flag.name.rpartition(".")[0] for flag in flags)
    for head in heads:
        title = about.get(head.replace("-", "_"), "").rstrip(".")
        members = [flag for flag in flags if flag.name.rpartition(".")[0] == head]
        yield from _section(f"{head}: {title[:1].lower()}{title[1:]}" if head else "training", members)


def _section(title: str, flags: Sequence[Flag]) -> Iterator[str]:
    if flags:
        yield from ["", title, *_entries(flags)]


def _entries(flags: Sequence[Flag]) -> Iterator[str]:
    yield from (line for flag in flags for line in _entry(_head(flag), _text(flag)))


def _head(flag: Flag) -> str:
    """Return a flag with its placeholder, such as ``--lr, --optimizer.learning-rate X``."""
    if flag.is_positional:
        return flag.name.upper() + (" ..." if flag.is_list else "")
    short = next((alias for alias, name in ALIASES.items() if name == flag.name), None)
    names = [f"--{one}" for one in (short, flag.name) if one]
    return f"{', '.join(names)} {flag.placeholder}".rstrip()


def _text(flag: Flag) -> str:
    """Return what help says about a flag, with its default and, for one that is on, how to switch it off."""
    about = " ".join(flag.about.split())
    if flag.is_switch:
        return f"{about} [on; off: --{flag.variants()[-1]}]" if flag.default else about
    if flag.is_positional or flag.default in (None, "", ()):
        return about
    value = " ".join(map(_short, flag.default)) if isinstance(flag.default, tuple) else _short(flag.default)
    return f"{about} [{value}]"


def _short(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _entry(head: str, text: str) -> list[str]:
    """Return the lines of a flag and the text about it, wrapped to the terminal."""
    width = min(WIDEST, shutil.get_terminal_size().columns)
    start = f"  {head}"
    lines = textwrap.wrap(
        text, width - 1, initial_indent=" " * INDENT, subsequent_indent=" " * INDENT, break_on_hyphens=False
    )
    if len(start) + 2 > INDENT or not lines:
        return [start, *lines]
    return [start.ljust(INDENT) + lines[0].lstrip(), *lines[1:]]
