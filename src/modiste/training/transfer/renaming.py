"""Another library's names turned into a network's own, by rules that are plain data.

``conv1=network.stem`` replaces a beginning of a name, ``.conv1=.first`` replaces it wherever it stands inside a name.
Both mean whole words between points: ``conv1`` leaves ``conv10.weight`` alone. An empty left side puts its right side
in front of every name, an empty right side takes its left side away.
"""

from collections.abc import Iterable, Sequence

from modiste.errors import RecipeError

SHOWN = 5


def rename(names: Iterable[str], rules: Sequence[str]) -> dict[str, str]:
    """Return each name of the source under its new name, after all rules in their order.

    RecipeError for a rule that changes nothing, and when two names become the same.
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
    """Return the first few names, and how many more there are."""
    known = list(names)
    more = f" and {len(known) - shown} more" if len(known) > shown else ""
    return ", ".join(known[:shown]) + more


def _words(names: Iterable[str], *, inside: bool) -> list[str]:
    """Give the words that a rule could begin with."""
    parts = [name.split(".") for name in names]
    if inside:
        return sorted({f".{word}" for words in parts for word in words[1:-1] if not word.isdecimal()})
    return sorted({words[0] for words in parts})


def _apply(rule: str, name: str) -> str:
    """Work on the name between points, so that every word of it has one on either side."""
    old, new = (f".{side.strip('.')}." if side.strip(".") else "." for side in rule.split("="))
    padded = f".{name}."
    if rule.startswith("."):
        return (padded[0] + _everywhere(padded[1:], old, new)).strip(".")
    return (new + padded.removeprefix(old)).strip(".") if padded.startswith(old) else name


def _everywhere(padded: str, old: str, new: str) -> str:
    """Replace until nothing is left to: neighbours share the point between them."""
    head, found, rest = padded.partition(old)
    return head + (new[:-1] + _everywhere("." + rest, old, new) if found else "")


def _inverted(current: dict[str, str]) -> dict[str, str]:
    sources: dict[str, str] = {}
    for name, now in current.items():
        if now in sources:
            raise RecipeError(f"transfer.rename: {sources[now]} and {name} both become {now}; make the rules narrower")
        sources[now] = name
    return sources
