"""How numbers and names are written in sentences, tables and figures."""

SPACE = "\N{NO-BREAK SPACE}"


def percent(share: float, digits: int = 2) -> str:
    """Return a share as ``91.32 %``, with a space that no line breaks at."""
    return f"{100 * share:.{digits}f}{SPACE}%"


def shorten(name: str, length: int) -> str:
    """Return ``name``, cut with an ellipsis when it is longer than ``length``."""
    return name if len(name) <= length else name[: length - 1].rstrip() + "…"


def number_of(count: int, noun: str) -> str:
    """Return ``1 image`` or ``2,000 images``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
