"""``modiste recipes``."""

from modiste.cli.words import NoOptions, parse


def recipes(words: list[str]) -> None:
    """List the named recipes with what each claims."""
    parse(NoOptions, words, "modiste recipes")
    import inspect

    from modiste.recipes import RECIPES

    for name, make in RECIPES.items():
        print(name)
        print("    " + (inspect.getdoc(make) or "").replace("\n", "\n    "))
