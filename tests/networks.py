"""A small network of every kind, those of all recipes, and how far rounding leads answers apart."""

import torch
from torch import Tensor, nn

from modiste.recipes.named import RECIPES
from modiste.recipes.networks import (
    CapsNetRecipe,
    CNNRecipe,
    DBNRecipe,
    DropConnectRecipe,
    EfficientNetLiteRecipe,
    FashionNetRecipe,
    InceptionRecipe,
    MLPRecipe,
    ModelRecipe,
    PatchGraphRecipe,
    ResNetRecipe,
    SprintRecipe,
    SuperpixelGraphRecipe,
)

SMALL: list[ModelRecipe] = [
    CNNRecipe(filters=(4, 6), pools=1, hidden=(8,)),
    MLPRecipe(),
    MLPRecipe(hidden=(48, 8)),
    SprintRecipe(filters=(4, 6), hidden=8),
    InceptionRecipe(width=8),
    ResNetRecipe(depth=10),
    DropConnectRecipe(filters=(4, 4), hidden=8, samples=8),
    CapsNetRecipe(filters=8, kernel_size=3, hidden=(16,)),
    CapsNetRecipe(filters=32, stem="deep", routing="attention", hidden=(16,)),
    FashionNetRecipe(width=4, keypoints=9, hidden=16),
    PatchGraphRecipe(channels=8, blocks=2, neighbours=5),
    SuperpixelGraphRecipe(regions=9, iterations=1, channels=8, blocks=2, heads=2, neighbours=5),
    DBNRecipe(hidden=(50, 20)),
    EfficientNetLiteRecipe(),
]
FIRST_RECIPES = {make().model: name for name, make in reversed(RECIPES.items())}
OF_RECIPES: dict[str, ModelRecipe] = {name: network for network, name in reversed(FIRST_RECIPES.items())}
"""Every network of a named recipe once, by its first recipe: several recipes train the same network."""


def assert_rounded(found: Tensor, expected: Tensor, model: nn.Module) -> None:
    """Assert that what a network computed in two ways differs by rounding alone.

    Each term of each sum on the way adds at most an epsilon, in shares of the largest value.
    """
    terms = sum(weight[0].numel() for weight in model.parameters() if weight.ndim > 1)
    apart = terms * torch.finfo(expected.dtype).eps * expected.abs().max().item()
    torch.testing.assert_close(found, expected, rtol=0, atol=apart)
