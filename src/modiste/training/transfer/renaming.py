"""Rules that turn another library's tensor names into a network's own.

``conv1=network.stem`` replaces ``conv1`` at the beginning of a name, ``.conv1=.first`` replaces it anywhere inside a
name. Both match whole words between dots: ``conv1`` does not match ``conv10.weight``. A rule with an empty left side
puts its right side in front of every name. A rule with an empty right side removes its left side.
"""

from collections.abc import Iterable, Sequence

from modiste.errors import RecipeError

SHOWN = 5


def rename(names: Iterable[str], rules: Sequence[str]) -> dict[str, str]:
    """Return a table from new names to the source's names, after all rules were applied in order.

    >>> rename(["conv1.weight", "fc.weight"], ["conv1=network.stem", "fc=network.head"])
    {'network.stem.weight': 'conv1.weight', 'network.head.weight': 'fc.weight'}

    Raises:
        RecipeError: A rule changes no name, or two names become the same.
    """
    current = {name: name for name in names}
    for rule in rules:
        changed = {name: _apply(rule, now) for name, now in current.items()}
        if changed == current:
            words = _words(current.values(), inside=rule.startswith("."))
            raise RecipeError(f"transfer.rename: {rule!r} fits no name; there is {', '.join(words) or 'nothing'}")
        current = changed
    return _inverted(current)


def listed(names: Iterable[str], shown: int = SHOWN) -> str:
    """Return the first ``shown`` names and the number of the others, as text."""
    known = list(names)
    more = f" and {len(known) - shown} more" if len(known) > shown else ""
    return ", ".join(known[:shown]) + more


def _words(names: Iterable[str], *, inside: bool) -> list[str]:
    """Return the words that a rule could start with."""
    parts = [name.split(".") for name in names]
    if inside:
        return sorted({f".{word}" for words in parts for word in words[1:-1] if not word.isdecimal()})
    return sorted({words[0] for words in parts})


def _apply(rule: str, name: str) -> str:
    """Return the name after one rule. Dots are put around it first, so that every word has one on each side."""
    old, new = (f".{side.strip('.')}." if side.strip(".") else "." for side in rule.split("="))
    padded = f".{name}."
    if rule.startswith("."):
        return (padded[0] + _everywhere(padded[1:], old, new)).strip(".")
    return (new + padded.removeprefix(old)).strip(".") if padded.startswith(old) else name


def _everywhere(padded: str, old: str, new: str) -> str:
    """Replace every ``old`` by ``new``; matches may share the dot between them, which ``str.replace`` would miss."""
    head, found, rest = padded.partition(old)
    return head + (new[:-1] + _everywhere("." + rest, old, new) if found else "")


def _inverted(current: dict[str, str]) -> dict[str, str]:
    sources: dict[str, str] = {}
    for name, now in current.items():
        if now in sources:
            raise RecipeError(f"transfer.rename: {sources[now]} and {name} both become {now}; make the rules narrower")
        sources[now] = name
    return sources
