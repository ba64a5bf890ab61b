"""Networks, losses and augmentations of a user's own, put into a recipe."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

from modiste.recipes import named, own_code
from modiste.recipes.networks import OwnNetworkRecipe
from modiste.recipes.recipe import Recipe

Code = Callable[..., Any] | str
"""A class, a function or a network that has been built; or an import path, ``package.module:Net``."""


def register(*codes: Code | None) -> None:
    """Make code that is not Modiste's available to runs that name it; None stands for no code."""
    for code in codes:
        if code is not None:
            own_code.register(code)


def with_own_code(
    recipe: Recipe, *, network: Code | None = None, loss: Code | None = None, augmentation: Code | None = None
) -> Recipe:
    """Return a recipe that trains a network, a loss or an augmentation which is not part of Modiste.

    A named recipe's warm start and transfer are made for its own network, and are left out with it; what differs from
    the named recipe stays. The name of the network is added to the name of the recipe, unless the recipe is of this
    network already.

    Args:
        recipe: The rest of the training.
        network: A class or a function that returns a ``torch.nn.Module``, or such a module with its initial weights. It
            takes images (N, C, H, W) in [0, 1], standardised if the recipe standardises, and returns logits
            (N, classes). A class or function is called with ``image_shape`` and ``classes`` if it has parameters of
            these names.
        loss: ``loss(logits, targets)`` returns one number; both are (N, classes), targets are probabilities. A third
            parameter takes the weights of the images, (N) or None.
        augmentation: ``change(images, targets, generator)`` returns the images, or images and targets.

    Raises:
        RecipeError: Code has no name to find it by, or an import path leads nowhere.

    Example:
        >>> import torch
        >>> import modiste
        >>> class Linear(torch.nn.Sequential):
        ...     def __init__(self, classes=10):
        ...         super().__init__(torch.nn.Flatten(), torch.nn.LazyLinear(classes))
        >>> with_own_code(modiste.get_recipe("mlp"), network=Linear).name
        'mlp-linear'
    """
    if network is not None:
        reference = own_code.register(network)
        is_named = recipe.own_code.get("network") == own_code.path_in(reference)  # a recipe of an earlier run or search
        name = recipe.name if is_named else f"{recipe.name}-{own_code.name_in(reference).lower()}"
        own = OwnNetworkRecipe(code=reference)
        recipe = replace(_without_its_own(recipe), name=name, model=own)
    changed = {"loss": loss, "augmentation": augmentation}
    references = {name: own_code.register(code) for name, code in changed.items() if code is not None}
    return replace(recipe, own=replace(recipe.own, **references))


def _without_its_own(recipe: Recipe) -> Recipe:
    """Return a recipe without the warm start and the transfer that the named recipe of its network has.

    The recipe may bear another name. RecipeError if nothing is left to train: no epochs, and no linear probe.
    """
    if recipe.name in named.RECIPES:
        usual = [named.get(recipe.name)]
    else:
        usual = [one for one in map(named.get, named.RECIPES) if one.model == recipe.model]
    own = recipe.transfer
    changes: dict[str, Any] = {
        item.name: item.default
        for item in fields(own)
        if any(getattr(own, item.name) == getattr(one.transfer, item.name) for one in usual)
    }
    is_usual = any(one.warm_start == recipe.warm_start for one in usual)
    return replace(recipe, warm_start="none" if is_usual else recipe.warm_start, transfer=replace(own, **changes))
