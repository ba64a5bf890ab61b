"""The command ``modiste``: find the subcommand, run it, and turn its errors into one line and an exit code.

Each subcommand has its own file. It imports heavy libraries inside its function, so that help appears at once.
"""

import errno
import sys
from collections.abc import Callable, Iterator, Sequence

from modiste.cli.arguments import USAGE, complain
from modiste.cli.benchmark import benchmark
from modiste.cli.compare import compare
from modiste.cli.cross_validate import cross_validate
from modiste.cli.data import data
from modiste.cli.doctor import EXTRAS, doctor
from modiste.cli.drift import drift
from modiste.cli.evaluate import evaluate
from modiste.cli.export import export
from modiste.cli.flags import HELP_FLAGS
from modiste.cli.predict import predict
from modiste.cli.recipes import recipes
from modiste.cli.report import figures, report, show
from modiste.cli.reproduce import reproduce
from modiste.cli.search import search
from modiste.cli.serve import serve
from modiste.cli.streams import UNWRITABLE, flush_streams, open_streams, say
from modiste.cli.train import train
from modiste.errors import MemoryShortageError, MissingExtraError, ModisteError, StorageError
from modiste.recipes.plain import nearest
from modiste.system.posix import process_limit
from modiste.version import __version__

MINIMUM_BYTES = 2**30
"""Address space that PyTorch and SciPy need; with less they hang or crash."""
LIMITS = {"ulimit -v": "RLIMIT_AS", "ulimit -d": "RLIMIT_DATA"}
SHORTAGE_MESSAGES = (
    "can't allocate memory",
    "cannot allocate memory",
    "failed to allocate memory",
    "failed to map segment",
    "out of memory",
    "bad_alloc",
    "can't start new thread",
    "storage size calculation overflowed",
    "could not create a primitive",
)
"""Parts of the messages of libraries that report a lack of memory by another error than MemoryError."""


def check_memory() -> None:
    """Raise MemoryShortageError if a limit of this process is below MINIMUM_BYTES."""
    for name, kind in LIMITS.items():
        limit = process_limit(kind)
        if limit is not None and limit < MINIMUM_BYTES:
            raise MemoryShortageError(
                f"too little memory: expected at least {_megabytes(MINIMUM_BYTES)}, found a limit of "
                f"{_megabytes(limit)} ({name}); raise it"
            )


def as_memory_shortage(error: BaseException) -> MemoryShortageError | None:
    """Return a MemoryShortageError if ``error``, or one of its causes, is a lack of memory; else None."""
    for cause in _causes(error):
        message = str(cause).lower()
        out_of_memory = isinstance(cause, MemoryError) or getattr(cause, "errno", None) == errno.ENOMEM
        if isinstance(cause, (RuntimeError, ImportError)):
            out_of_memory = out_of_memory or any(part in message for part in SHORTAGE_MESSAGES)
        if out_of_memory:
            detail = f" ({str(cause).strip().splitlines()[0]})" if str(cause).strip() else ""
            return MemoryShortageError(
                f"too little memory{detail}; at least {_megabytes(MINIMUM_BYTES)} are needed, more for large networks "
                "and data; close other programs, raise a limit, or choose a smaller batch_size"
            )
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.0f} MB"


WITHOUT_TORCH = ("recipes",)
"""Commands that need no PyTorch."""
READ_ONNX = ("predict", "serve", "drift")
"""Commands that need no PyTorch where they are given an ONNX file."""
INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it: 128 plus the number of SIGINT."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run ``modiste``; a command that fails leaves with the exit code of its error (see ``modiste.errors``).

    Args:
        arguments: What follows ``modiste`` on the command line; ``sys.argv[1:]`` if None.
    """
    open_streams()
    try:
        _run(list(sys.argv[1:] if arguments is None else arguments))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        sys.exit(1)
    except Exception as error:  # a defect of Modiste is raised again and shows its traceback
        known = _as_known_error(error)
        if known is None:
            raise
        complain(str(known), known.exit_code)
    finally:
        flush_streams()


def _run(arguments: list[str]) -> None:
    """Run a command and flush its output, so that an error in writing it is reported too."""
    try:
        _dispatch(arguments)
    finally:
        sys.stdout.flush()


def _as_known_error(error: Exception) -> ModisteError | None:
    """Return the error to print in one line, or None for a defect of Modiste."""
    if shortage := as_memory_shortage(error):
        return shortage
    if isinstance(error, ModuleNotFoundError):
        return _missing_extra(error)
    if isinstance(error, OSError) and error.filename is None and error.errno in UNWRITABLE:
        return StorageError(f"the output cannot be written ({error.strerror})")
    return error if isinstance(error, ModisteError) else None


def _missing_extra(error: ModuleNotFoundError) -> MissingExtraError | None:
    package = (error.name or "").partition(".")[0]
    extra = next((extra for extra, packages in EXTRAS.items() if package in packages), None)
    return MissingExtraError(f"needs {package}: pip install 'modiste[{extra}]'") if extra else None


def _dispatch(arguments: list[str]) -> None:
    name, *rest = arguments or ["help"]
    if name == "help" and rest and rest[0] not in HELP_FLAGS:
        _dispatch([*rest, "--help"])
    elif name in (*HELP_FLAGS, "help"):
        say(*overview().splitlines())
    elif name in ("-V", "--version", "version"):
        say(f"modiste {__version__}")
    elif name.startswith("--print-completion"):
        _print_completion(name.partition("=")[2] or "".join(rest))
    elif name not in COMMANDS:
        complain(f"no command {name!r}; {nearest(name, COMMANDS)}", USAGE)
    else:
        if _needs_torch(name, rest):
            check_memory()
        COMMANDS[name](rest)


def _print_completion(shell: str) -> None:
    """Print the completion script of a shell."""
    from modiste.cli import completion

    if shell not in completion.SHELLS:
        complain(f"--print-completion: expected {', '.join(completion.SHELLS)}, found {shell or 'nothing'}", USAGE)
    say(*completion.script(shell, COMMANDS).splitlines())


def _needs_torch(name: str, arguments: list[str]) -> bool:
    light = any(argument in HELP_FLAGS for argument in arguments)
    from_onnx = name in READ_ONNX and any(argument.endswith(".onnx") for argument in arguments)
    return name not in WITHOUT_TORCH and not light and not from_onnx


def overview() -> str:
    """Return the list of commands, each with the first line of its docstring."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {(command.__doc__ or '').splitlines()[0]}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "Modiste: fashion models, made to measure.\n\nusage: modiste COMMAND [options]\n",
            *lines,
            "\nmodiste COMMAND --help lists a command's options; start with: modiste train paper --epochs 5",
            "modiste --print-completion bash|zsh|fish prints a script that completes commands and flags",
        ]
    )


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "data": data,
    "train": train,
    "cross-validate": cross_validate,
    "evaluate": evaluate,
    "predict": predict,
    "compare": compare,
    "benchmark": benchmark,
    "search": search,
    "reproduce": reproduce,
    "export": export,
    "serve": serve,
    "drift": drift,
    "report": report,
    "show": show,
    "figures": figures,
    "recipes": recipes,
    "doctor": doctor,
}
