"""Silence but for faults, which ``--quiet`` asks for."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def silence(quiet: bool) -> Iterator[None]:
    """Let Modiste's loggers tell nothing but faults in the block, if ``quiet``; they are as before at its end."""
    logger = logging.getLogger("modiste")
    before = logger.level
    if quiet:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
