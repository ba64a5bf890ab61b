"""Networks, losses and augmentations of a user's own, put into a recipe."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from modiste.recipes import own_code
from modiste.recipes.networks import OwnNetworkRecipe
from modiste.recipes.recipe import Recipe, TransferRecipe

Code = Callable[..., Any] | str
"""A class, a function, a network that has been built or another object; or an import path, ``package.module:Net``."""


def register(network: Code | None, loss: Code | None = None, augmentation: Code | None = None) -> None:
    """Make code that is not Modiste's available to runs that name it; None stands for no code."""
    for kind, code in {"network": network, "loss": loss, "augmentation": augmentation}.items():
        if code is not None:
            own_code.register_for_runs(code, kind)


def with_own_code(
    recipe: Recipe,
    *,
    network: Code | None = None,
    loss: Code | None = None,
    augmentation: Code | None = None,
    **fields: Any,
) -> Recipe:
    """Return a recipe that trains a network, a loss or an augmentation which is not part of Modiste.

    The recipe's warm start and transfer are made for its own network, and are left out with it; ``fields`` stay. The
    name of the network is added to the name of the recipe, unless the recipe is of this network already.

    Args:
        recipe: The rest of the training.
        network: A class or a function that returns a ``torch.nn.Module``, or such a module with its initial weights. It
            takes images (N, C, H, W) in [0, 1], standardised if the recipe standardises, and returns logits
            (N, classes). A class or function is called with ``image_shape`` and ``classes`` if it has parameters of
            these names.
        loss: ``loss(logits, targets)`` returns one number; both are (N, classes), targets are probabilities. A third
            parameter takes the weights of the images, (N) or None. The values of an object are a part of its hash.
        augmentation: ``change(images, targets, generator)`` returns the images, or images and targets.
        fields: Changed fields of the recipe, as ``Recipe.with_`` takes them.

    Raises:
        RecipeError: Code has no name to find it by, or values that no other process could rebuild. Or an import path
            leads nowhere, or a field cannot have its value.

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
        name = fields.pop("name", recipe.name)
        changes = {
            "name": name if is_named else f"{name}-{own_code.name_in(reference).lower()}",
            "model": OwnNetworkRecipe(code=reference),
        }
        if not is_named:
            changes |= {"warm_start": "none", "transfer": TransferRecipe()}
        fields = changes | fields | {"model": changes["model"]}
    recipe = recipe.with_(**fields)
    changed = {"loss": loss, "augmentation": augmentation}
    references = {kind: own_code.register(code, kind) for kind, code in changed.items() if code is not None}
    return replace(recipe, own=replace(recipe.own, **references))
