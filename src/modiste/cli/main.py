"""The command line: one file a command, heavy imports inside the command's function; too little memory in one line."""

import errno
import resource
import sys
from collections.abc import Callable, Iterator, Sequence

from modiste.cli.arguments import USAGE, complain
from modiste.cli.compare import compare
from modiste.cli.data import data
from modiste.cli.doctor import EXTRAS, doctor
from modiste.cli.evaluate import evaluate
from modiste.cli.export import export
from modiste.cli.predict import predict
from modiste.cli.recipes import recipes
from modiste.cli.report import figures, report
from modiste.cli.reproduce import reproduce
from modiste.cli.search import search
from modiste.cli.serve import serve
from modiste.cli.streams import FULL, open_streams, say, settle_streams
from modiste.cli.train import train
from modiste.errors import MemoryShortageError, MissingExtraError, ModisteError, StorageError
from modiste.recipes.plain import nearest
from modiste.version import __version__

LEAST_BYTES = 2**30
"""Address space that PyTorch and SciPy take at least; with less they hang or end in a crash."""
LIMITS = {"ulimit -v": resource.RLIMIT_AS, "ulimit -d": resource.RLIMIT_DATA}
SIGNS = (
    "can't allocate memory",
    "cannot allocate memory",
    "failed to allocate memory",
    "failed to map segment",
    "out of memory",
    "bad_alloc",
    "can't start new thread",
    "could not create a primitive",
)
"""Words in which libraries say that memory ran out, where they raise no MemoryError."""


def check_memory() -> None:
    """Raise MemoryShortageError where a limit of this process leaves less than LEAST_BYTES."""
    for name, kind in LIMITS.items():
        limit, _ = resource.getrlimit(kind)
        if limit != resource.RLIM_INFINITY and limit < LEAST_BYTES:
            raise MemoryShortageError(
                f"too little memory: expected at least {_megabytes(LEAST_BYTES)}, found a limit of "
                f"{_megabytes(limit)} ({name}); raise it"
            )


def shortage_behind(error: BaseException) -> MemoryShortageError | None:
    """Return the fault to tell where ``error``, or what it came from, is a lack of memory; else None."""
    for cause in _causes(error):
        words = str(cause).lower()
        short = isinstance(cause, MemoryError) or getattr(cause, "errno", None) == errno.ENOMEM
        if short or (isinstance(cause, (RuntimeError, ImportError)) and any(sign in words for sign in SIGNS)):
            detail = f" ({str(cause).strip().splitlines()[0]})" if str(cause).strip() else ""
            return MemoryShortageError(
                f"too little memory{detail}; at least {_megabytes(LEAST_BYTES)} are needed, more for large networks "
                "and data; close other programs, raise a limit, or choose a smaller batch_size"
            )
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.0f} MB"


HELP = ("-h", "--help")
LIGHT = ("recipes",)
"""Commands that need no PyTorch."""
INTERRUPTED = 130
"""As a shell says it: 128 and the number of SIGINT."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run ``modiste``; leaves with 0 only when it worked, else with the code of the fault (see ``errors``)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    open_streams()
    try:
        _run(words)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        sys.exit(1)
    except Exception as error:  # what is no fault of a person's is raised again
        fault = _fault_behind(error)
        if fault is None:
            raise
        complain(str(fault), fault.exit_code)
    finally:
        settle_streams()


def _run(words: list[str]) -> None:
    """Run a command, and have all of its output written."""
    try:
        _dispatch(words)
    finally:
        sys.stdout.flush()


def _fault_behind(error: Exception) -> ModisteError | None:
    """Return what a person is told in one line; None for a defect of Modiste."""
    if shortage := shortage_behind(error):
        return shortage
    if isinstance(error, ModuleNotFoundError):
        return _missing_extra(error)
    if isinstance(error, OSError) and error.filename is None and error.errno in FULL:
        return StorageError(f"the output cannot be written ({error.strerror})")
    return error if isinstance(error, ModisteError) else None


def _missing_extra(error: ModuleNotFoundError) -> MissingExtraError | None:
    package = (error.name or "").partition(".")[0]
    extra = next((extra for extra, packages in EXTRAS.items() if package in packages), None)
    return MissingExtraError(f"needs {package}: pip install 'modiste[{extra}]'") if extra else None


def _dispatch(words: list[str]) -> None:
    if not words or words[0] in (*HELP, "help"):
        say(*overview().splitlines())
    elif words[0] in ("-V", "--version", "version"):
        say(f"modiste {__version__}")
    elif words[0] not in COMMANDS:
        complain(f"no command {words[0]!r}; {nearest(words[0], COMMANDS)}", USAGE)
    else:
        if words[0] not in LIGHT and not any(word in HELP or word.endswith(".onnx") for word in words):
            check_memory()
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
