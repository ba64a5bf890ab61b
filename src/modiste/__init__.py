"""Modiste: fashion models, made to measure.

Trains, measures, compares and ships classifiers for Fashion-MNIST and image sets of its kind::

    import modiste

    outcome = modiste.train(modiste.get_recipe("paper"), "runs/paper")
    print(modiste.evaluate("runs/paper", split="test").accuracy)

Importing this package loads nothing heavy: each public name is imported on first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

from modiste.version import __version__

if TYPE_CHECKING:
    from modiste import photo
    from modiste.data.dataset import load_development as load_dataset
    from modiste.errors import ModisteError
    from modiste.evaluation.assessment import evaluate
    from modiste.evaluation.comparison import compare
    from modiste.inference.predictor import Predictor
    from modiste.recipes.named import RECIPES
    from modiste.recipes.named import get as get_recipe
    from modiste.recipes.recipe import Recipe
    from modiste.training.seeds import train_seeds
    from modiste.training.trainer import train

__all__ = [
    "RECIPES",
    "ModisteError",
    "Predictor",
    "Recipe",
    "__version__",
    "compare",
    "evaluate",
    "get_recipe",
    "load_dataset",
    "photo",
    "train",
    "train_seeds",
]

_LOCATIONS = {
    "RECIPES": ("modiste.recipes.named", "RECIPES"),
    "ModisteError": ("modiste.errors", "ModisteError"),
    "Predictor": ("modiste.inference.predictor", "Predictor"),
    "Recipe": ("modiste.recipes.recipe", "Recipe"),
    "compare": ("modiste.evaluation.comparison", "compare"),
    "evaluate": ("modiste.evaluation.assessment", "evaluate"),
    "load_dataset": ("modiste.data.dataset", "load_development"),
    "get_recipe": ("modiste.recipes.named", "get"),
    "train": ("modiste.training.trainer", "train"),
    "train_seeds": ("modiste.training.seeds", "train_seeds"),
}
_MODULES = frozenset({"photo"})


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"modiste.{name}")
    if name not in _LOCATIONS:
        raise AttributeError(f"module 'modiste' has no attribute {name!r}")
    module, attribute = _LOCATIONS[name]
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return list(__all__)
