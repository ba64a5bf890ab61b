"""How numbers and names are written in sentences, tables and figures."""

from markupsafe import Markup, escape

SPACE = "\N{NO-BREAK SPACE}"


def percent(share: float, digits: int = 2) -> str:
    """Return a share as ``91.32 %``, with a space that no line breaks at."""
    return f"{100 * share:.{digits}f}{SPACE}%"


def shorten(name: str, length: int) -> str:
    """Return ``name``, cut with an ellipsis when it is longer than ``length``."""
    return name if len(name) <= length else name[: length - 1].rstrip() + "…"


def breakable(name: str) -> Markup:
    """Return a name such as ``learning_rate_factor`` as HTML that breaks lines behind its underscores, not in words."""
    return escape(name).replace("_", Markup("_<wbr>"))


def number_of(count: int, noun: str) -> str:
    """Return ``1 image`` or ``2,000 images``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
