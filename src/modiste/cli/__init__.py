"""The command line: a file for each command, heavy imports inside its function."""

import sys
from collections.abc import Callable, Sequence

from modiste.cli.compare import compare
from modiste.cli.data import data
from modiste.cli.doctor import doctor
from modiste.cli.evaluate import evaluate
from modiste.cli.export import export
from modiste.cli.predict import predict
from modiste.cli.recipes import recipes
from modiste.cli.report import figures, report
from modiste.cli.reproduce import reproduce
from modiste.cli.search import search
from modiste.cli.serve import serve
from modiste.cli.train import train
from modiste.cli.words import USAGE, complain
from modiste.errors import ModisteError
from modiste.plain import nearest
from modiste.version import __version__

INTERRUPTED = 130
"""As a shell says it: 128 and the number of SIGINT."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run ``modiste``; leaves with 0 only when it worked, else with the code of the fault (see ``errors``)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        _dispatch(words)
    except ModisteError as error:
        complain(str(error), error.exit_code)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)


def _dispatch(words: list[str]) -> None:
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview())
    elif words[0] in ("-V", "--version", "version"):
        print(f"modiste {__version__}")
    elif words[0] not in COMMANDS:
        complain(f"no command {words[0]!r}; {nearest(words[0], COMMANDS)}", USAGE)
    else:
        COMMANDS[words[0]](words[1:])


def overview() -> str:
    """List the commands with the first line of what each does."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {(command.__doc__ or '').splitlines()[0]}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "Modiste: fashion models, made to measure.\n\nusage: modiste COMMAND [options]\n",
            *lines,
            "\nmodiste COMMAND --help tells a command's options; start with: modiste train paper --epochs 5",
        ]
    )


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "data": data,
    "train": train,
    "evaluate": evaluate,
    "predict": predict,
    "compare": compare,
    "search": search,
    "reproduce": reproduce,
    "export": export,
    "serve": serve,
    "report": report,
    "figures": figures,
    "recipes": recipes,
    "doctor": doctor,
}
