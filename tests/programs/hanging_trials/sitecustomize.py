"""What a Python begins with whose trials of two epochs hang and of three fail; beside the guard of all tests."""

import builtins
import sys
import time
from pathlib import Path
from typing import Any

GUARD = Path(__file__).parents[2] / "guard" / "sitecustomize.py"
exec(GUARD.read_text(encoding="utf-8"), {"__name__": "guard"})
plain_import = builtins.__import__


def import_and_change(*names: Any, **more: Any) -> Any:
    """Import, and change the training as soon as it has been imported."""
    found = plain_import(*names, **more)
    trainer = sys.modules.get("modiste.training.trainer")
    if trainer is not None and hasattr(trainer, "train"):
        builtins.__import__, train = plain_import, trainer.train

        def train_or_fail(recipe: Any, *rest: Any, **options: Any) -> Any:
            if recipe.epochs == 2:
                time.sleep(600)
            if recipe.epochs == 3:
                raise MemoryError("no room")
            return train(recipe, *rest, **options)

        trainer.train = train_or_fail  # type: ignore[attr-defined]
    return found


builtins.__import__ = import_and_change
