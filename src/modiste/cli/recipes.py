"""``modiste recipes``."""

from modiste.cli.arguments import NoOptions, parse
from modiste.cli.streams import say


def recipes(arguments: list[str]) -> None:
    """List the named recipes and the accuracy that each claims."""
    parse(NoOptions, arguments, "modiste recipes")
    import inspect

    from modiste.recipes.named import RECIPES

    for name, make in RECIPES.items():
        say(name, *(f"    {line}" for line in (inspect.getdoc(make) or "").splitlines()))
