"""Shell completion: a script for bash, zsh or fish that knows every command, flag, recipe and listed value.

The script is made once, by ``modiste --print-completion SHELL``. It starts no Python when the Tab key is pressed.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from modiste.cli.flags import ALIASES, Flag, flags_of

Command = Callable[[list[str]], None]
SHORT = "lr"
"""The alias that is offered; the others are spellings of the same flag."""
NETWORK = "model."
"""Beginning of the flags of a recipe's network."""
SHELLS = ("bash", "zsh", "fish")
WITH_RECIPE = ("train", "cross-validate", "search")
"""Commands whose first word is a recipe."""
LOAD = {
    "bash": 'eval "$(modiste --print-completion bash)"',
    "zsh": 'eval "$(modiste --print-completion zsh)"',
    "fish": "modiste --print-completion fish | source",
}
"""The line of a shell's start-up file that loads its script."""


@dataclass(frozen=True)
class _Arguments:
    """What may follow a command.

    Attributes:
        name: Name of the command; ``data audit`` is a command with two words.
        flags: Its flags, those of every network included.
        words: That may come first, beside files.
        takes_recipe: Whether the first word may be a recipe, whose network decides which flags there are.
    """

    name: str
    flags: tuple[Flag, ...]
    words: tuple[str, ...] = ()
    takes_recipe: bool = False

    @property
    def common_flags(self) -> tuple[Flag, ...]:
        """The flags that do not depend on the recipe."""
        return tuple(flag for flag in self.flags if not (self.takes_recipe and flag.name.startswith(NETWORK)))

    @property
    def spellings(self) -> list[str]:
        """Every flag that does not depend on the recipe, with its dashes, and ``--help``."""
        names = [f"--{flag.name}" for flag in self.common_flags]
        known = {flag.name for flag in self.flags}
        return [
            *(f"--{alias}" for alias, name in ALIASES.items() if name in known and alias == SHORT),
            *names,
            "--help",
        ]


def script(shell: str, commands: dict[str, Command]) -> str:
    """Return the script for a shell.

    Args:
        shell: bash, zsh or fish.
        commands: Each command's function, by its name.

    Raises:
        KeyError: There is no script for this shell.
    """
    writers = {"bash": _bash, "zsh": _zsh, "fish": _fish}
    return "\n".join(writers[shell](commands, _arguments(commands))) + "\n"


def options_of(name: str) -> tuple[type, ...]:
    """Return the dataclasses whose fields are the flags of a command; KeyError if it is not known here."""
    from modiste.cli import (
        arguments,
        audit,
        benchmark,
        compare,
        cross_validate,
        drift,
        evaluate,
        export,
        predict,
        recipes,
        report,
        reproduce,
        search,
        serve,
        train,
    )
    from modiste.recipes.recipe import DataRecipe, Recipe

    return {
        "data": (arguments.DataFolderOption, DataRecipe),
        "data audit": (audit.AuditOptions, DataRecipe),
        "data fetch": (),
        "train": (train._TrainOptions, Recipe),
        "cross-validate": (cross_validate._CrossValidateOptions, Recipe),
        "evaluate": (evaluate._EvaluateOptions,),
        "predict": (predict._PredictOptions,),
        "compare": (compare._CompareOptions,),
        "benchmark": (benchmark._BenchmarkOptions,),
        "search": (search._SearchOptions, Recipe),
        "reproduce": (reproduce._ReproduceOptions,),
        "export": (export._ExportOptions,),
        "serve": (serve._ServeOptions,),
        "drift": (drift._DriftOptions,),
        "report": (report._ReportOptions,),
        "show": (report._ShowOptions,),
        "figures": (report._FiguresOptions,),
        "recipes": (recipes._RecipesOptions,),
        "doctor": (),
    }[name]


def _arguments(commands: dict[str, Command]) -> list[_Arguments]:
    """Return what may follow each command."""
    from modiste.recipes.named import RECIPES

    names = tuple(RECIPES)
    words = {"data": ("audit", "fetch"), "data fetch": ("clothing",), "help": tuple(commands)}
    words |= dict.fromkeys((*WITH_RECIPE, "recipes"), names)
    found = []
    for name in (*commands, "data audit", "data fetch"):
        flags = [flag for kind in options_of(name) for flag in flags_of(kind)]
        of_recipe = [dataclasses.replace(flag, default="") if flag.name == "name" else flag for flag in flags]
        given = tuple(flag for flag in of_recipe if not flag.is_positional)
        found.append(_Arguments(name, given, words.get(name, ()), name in WITH_RECIPE))
    return [*found, _Arguments("help", (), words["help"])]


def _network_flags() -> dict[tuple[str, ...], list[str]]:
    """Return the names of recipes whose networks have the same flags, with these flags."""
    from modiste.recipes.named import RECIPES

    recipes: dict[tuple[str, ...], list[str]] = {}
    for name, make in RECIPES.items():
        flags = tuple(flag.name for flag in flags_of(make().model, NETWORK))
        recipes.setdefault(flags, []).append(name)
    return {tuple(names): list(flags) for flags, names in recipes.items()}


def _bash(commands: dict[str, Command], known: Sequence[_Arguments]) -> Iterator[str]:
    yield f"# bash completion of modiste; in ~/.bashrc: {LOAD['bash']}"
    yield from _function(commands, known)
    yield "complete -o default -o bashdefault -F _modiste modiste"


def _zsh(commands: dict[str, Command], known: Sequence[_Arguments]) -> Iterator[str]:
    yield f"# zsh completion of modiste; in ~/.zshrc: {LOAD['zsh']}"
    yield "autoload -Uz +X compinit && (( ${+functions[compdef]} )) || compinit -u"
    yield "autoload -Uz +X bashcompinit && bashcompinit"
    yield from _function(commands, known)
    yield "complete -o default -o bashdefault -F _modiste modiste"


def _function(commands: dict[str, Command], known: Sequence[_Arguments]) -> Iterator[str]:
    """Yield a function of bash, which zsh can run too: it offers values, flags, or words and files."""
    yield "_modiste() {"
    yield '  local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}"'
    yield '  local command="${COMP_WORDS[1]}" flags="" words="" values=""'
    yield '  if [ "$current" = "=" ]; then current=""; fi'
    yield '  if [ "$previous" = "=" ]; then previous="${COMP_WORDS[COMP_CWORD-2]}"; fi'
    first = " ".join([*commands, "help", "--help", "--version", "--print-completion"])
    yield f'  if [ "$COMP_CWORD" -eq 1 ]; then COMPREPLY=($(compgen -W "{first}" -- "$current")); return; fi'
    yield '  if [ "$command" = data ]; then case "${COMP_WORDS[2]}" in audit|fetch)'
    yield '    if [ "$COMP_CWORD" -gt 2 ]; then command="data ${COMP_WORDS[2]}"; fi;; esac; fi'
    yield from _function_of_networks(known)
    yield '  case "$command" in'
    for one in known:
        ending = ' $network"' if one.takes_recipe else '"'
        yield f"    '{one.name}') flags=\"{' '.join(one.spellings)}{ending}; words='{' '.join(one.words)}'"
        yield '      case "$previous" in'
        for flag in one.flags:
            if flag.choices:
                yield f"        --{flag.name}) values='{' '.join(flag.choices)}';;"
            elif not flag.is_switch:
                yield f"        {'|'.join(f'--{name}' for name in flag.variants())}) return;;"
        yield "      esac;;"
    yield "  esac"
    yield '  if [ -n "$values" ]; then words="$values"'
    yield '  else case "$current" in -*) words="$flags";; esac; fi'
    yield '  COMPREPLY=($(compgen -W "$words" -- "$current"))'
    yield "}"


def _function_of_networks(known: Sequence[_Arguments]) -> Iterator[str]:
    """Yield what sets ``network`` to the flags of the network of the first recipe typed; of all networks without one.

    A word behind a flag that takes a value is this value, and no recipe.
    """
    flags = {flag.name: flag for one in known if one.takes_recipe for flag in one.flags}
    everything = " ".join(f"--{name}" for name in flags if name.startswith(NETWORK))
    alone = [f"--{name}" for flag in flags.values() if flag.is_switch for name in flag.variants()]
    yield f"  local word before='' network='{everything}'"
    yield f'  case "$command" in {"|".join(WITH_RECIPE)}) for word in "${{COMP_WORDS[@]:2}}"; do'
    yield f'    case "$before" in {"|".join(sorted(alone))}) before="";; esac'
    yield '    case "$before" in --*|=) ;; *) case "$word" in'
    for recipes, names in _network_flags().items():
        yield f"      {'|'.join(recipes)}) network='{' '.join(f'--{name}' for name in names)}'; break;;"
    yield '    esac;; esac; before="$word"'
    yield "  done;; esac"


def _fish(commands: dict[str, Command], known: Sequence[_Arguments]) -> Iterator[str]:
    yield f"# fish completion of modiste; in ~/.config/fish/config.fish: {LOAD['fish']}"
    yield "complete -c modiste -e"
    networks = _network_flags()
    every_recipe = " ".join(name for recipes in networks for name in recipes)
    yield "function __modiste_recipe_is -d 'whether no recipe is typed, or one of these'"
    yield f"    not __fish_seen_subcommand_from {every_recipe}; or __fish_seen_subcommand_from $argv"
    yield "end"
    for name, command in commands.items():
        about = (command.__doc__ or "").splitlines()[0]
        yield f"complete -c modiste -n __fish_use_subcommand -f -a {name} -d {_quoted(about)}"
    for one in known:
        first, _, second = one.name.partition(" ")
        here = f"'__fish_seen_subcommand_from {first}; and __fish_seen_subcommand_from {second}'"
        where = here if second else f"'__fish_seen_subcommand_from {first}'"
        if one.words:
            yield f"complete -c modiste -n {where} -a {_quoted(' '.join(one.words))}"
        for flag in one.flags:
            fits = where
            if flag not in one.common_flags:
                recipes = [name for names, flags in networks.items() if flag.name in flags for name in names]
                fits = f"{where[:-1]}; and __modiste_recipe_is {' '.join(recipes)}'"
            yield f"complete -c modiste -n {fits} {_fish_flag(flag)}"


def _fish_flag(flag: Flag) -> str:
    value = "" if flag.is_switch else "-r" if flag.is_path else "-x"
    listed = f"-a {_quoted(' '.join(flag.choices))}" if flag.choices else ""
    names = " ".join(f"-l {name}" for name in (flag.name, *([SHORT] if ALIASES[SHORT] == flag.name else [])))
    about = " ".join(flag.about.split()).partition("; ")[0].partition(". ")[0].rstrip(".")
    return " ".join(part for part in (names, value, listed, f"-d {_quoted(about)}") if part)


def _quoted(text: str) -> str:
    """Return text as one word of fish."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
