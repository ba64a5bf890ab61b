"""Too little memory, said in one line: before a command begins where a limit tells, or else when it runs out."""

import errno
import resource
from collections.abc import Iterator

from modiste.errors import MemoryShortageError

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
