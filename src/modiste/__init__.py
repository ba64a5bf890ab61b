"""Modiste: fashion models, made to measure.

Trains, measures, compares and ships classifiers for Fashion-MNIST and image sets of its kind::

    import modiste

    run = modiste.train("sprint", epochs=2)
    print(modiste.evaluate(run, split="test").accuracy_interval)

Importing this package loads nothing heavy: each public name is imported on first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

from modiste.version import __version__

if TYPE_CHECKING:
    from modiste import photo
    from modiste.api.benchmarks import benchmark, benchmark_all
    from modiste.api.own import with_own_code
    from modiste.api.results import (
        compare,
        compare_averaging,
        drift,
        evaluate,
        evaluate_ensemble,
        evaluate_seeds,
        export,
        figures,
        predict,
        report,
        show,
    )
    from modiste.api.run import Run
    from modiste.api.studies import audit, cross_validate, reproduce, search
    from modiste.api.training import continue_run, train, train_seeds
    from modiste.data.dataset import load_development as load_dataset
    from modiste.data.tables.memory import Dataset
    from modiste.errors import ModisteError
    from modiste.inference.predictor import Predictor
    from modiste.recipes.named import RECIPES
    from modiste.recipes.named import get as get_recipe
    from modiste.recipes.recipe import Recipe
    from modiste.training.tracking.listener import Listener

__all__ = [
    "RECIPES",
    "Dataset",
    "Listener",
    "ModisteError",
    "Predictor",
    "Recipe",
    "Run",
    "__version__",
    "audit",
    "benchmark",
    "benchmark_all",
    "compare",
    "compare_averaging",
    "continue_run",
    "cross_validate",
    "drift",
    "evaluate",
    "evaluate_ensemble",
    "evaluate_seeds",
    "export",
    "figures",
    "get_recipe",
    "load_dataset",
    "photo",
    "predict",
    "report",
    "reproduce",
    "search",
    "show",
    "train",
    "train_seeds",
    "with_own_code",
]

_LOCATIONS = {
    "RECIPES": ("modiste.recipes.named", "RECIPES"),
    "Dataset": ("modiste.data.tables.memory", "Dataset"),
    "Listener": ("modiste.training.tracking.listener", "Listener"),
    "ModisteError": ("modiste.errors", "ModisteError"),
    "Predictor": ("modiste.inference.predictor", "Predictor"),
    "Recipe": ("modiste.recipes.recipe", "Recipe"),
    "Run": ("modiste.api.run", "Run"),
    "audit": ("modiste.api.studies", "audit"),
    "benchmark": ("modiste.api.benchmarks", "benchmark"),
    "benchmark_all": ("modiste.api.benchmarks", "benchmark_all"),
    "cross_validate": ("modiste.api.studies", "cross_validate"),
    "continue_run": ("modiste.api.training", "continue_run"),
    "compare": ("modiste.api.results", "compare"),
    "drift": ("modiste.api.results", "drift"),
    "compare_averaging": ("modiste.api.results", "compare_averaging"),
    "evaluate_ensemble": ("modiste.api.results", "evaluate_ensemble"),
    "evaluate_seeds": ("modiste.api.results", "evaluate_seeds"),
    "evaluate": ("modiste.api.results", "evaluate"),
    "export": ("modiste.api.results", "export"),
    "figures": ("modiste.api.results", "figures"),
    "get_recipe": ("modiste.recipes.named", "get"),
    "load_dataset": ("modiste.data.dataset", "load_development"),
    "predict": ("modiste.api.results", "predict"),
    "report": ("modiste.api.results", "report"),
    "reproduce": ("modiste.api.studies", "reproduce"),
    "search": ("modiste.api.studies", "search"),
    "show": ("modiste.api.results", "show"),
    "train": ("modiste.api.training", "train"),
    "train_seeds": ("modiste.api.training", "train_seeds"),
    "with_own_code": ("modiste.api.own", "with_own_code"),
}
_MODULES = frozenset({"photo"})


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"modiste.{name}")
    if name not in _LOCATIONS:
        raise AttributeError(f"module 'modiste' has no attribute {name!r}")
    module, attribute = _LOCATIONS[name]
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        from modiste.errors import MissingExtraError

        raise MissingExtraError(f"modiste.{name}: needs torch: pip install 'modiste[train]'") from error


def __dir__() -> list[str]:
    return list(__all__)
