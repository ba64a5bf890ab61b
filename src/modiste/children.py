"""Python processes that import nothing from the working directory."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

SAFE_PATH = "PYTHONSAFEPATH"
"""Variable that keeps the working directory off the module search path of Python 3.11 and later."""


@contextmanager
def safe_path() -> Iterator[None]:
    """Keep the working directory off the module search path of every Python process that the block starts.

    Python puts that directory first for ``-c`` and ``-m``, and so does ``multiprocessing`` for its processes. A file
    named ``torch.py`` there, in a folder that a stranger sent, would run in place of torch.
    """
    before = os.environ.get(SAFE_PATH)
    os.environ[SAFE_PATH] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[SAFE_PATH]
        else:
            os.environ[SAFE_PATH] = before
