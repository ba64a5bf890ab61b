"""``modiste recipes``."""

from modiste.cli.arguments import NoOptions, parse
from modiste.cli.streams import say


def recipes(arguments: list[str]) -> None:
    """List the named recipes, each with the published figures and the goals that it is compared with."""
    parse(NoOptions, arguments, "modiste recipes")
    import inspect

    from modiste.recipes.claims import CLAIMS
    from modiste.recipes.named import RECIPES

    for name, make in RECIPES.items():
        claims = [f"goal: {claim.figure}" if claim.is_goal else f"published: {claim}" for claim in CLAIMS[name]]
        say(name, *(f"    {line}" for line in [*(inspect.getdoc(make) or "").splitlines(), *claims]))
