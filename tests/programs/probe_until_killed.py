"""Computes the features of images, and is killed after some batches.

Arguments: a NumPy file of the images, the cache's folder, the number of batches before the kill.
"""

import os
import signal
import sys
from pathlib import Path

import numpy as np
import torch

from modiste.models.registry import Task, build_model
from modiste.recipes.networks import CNNRecipe
from modiste.recipes.recipe import Recipe
from modiste.system.processes import Interruption
from modiste.training.tracking import Listener
from modiste.training.transfer import feature_cache
from modiste.training.transfer.linear_probe import head_inputs
from modiste.training.warm_start.progress import Progress

images, cache, batches = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])


class Killer(Listener):
    """Ends the process after a batch."""

    def pretraining_step_done(self, step: int) -> None:
        if step == batches:
            os.kill(os.getpid(), signal.SIGKILL)


feature_cache.feature_cache_folder = lambda: cache  # type: ignore[attr-defined]
feature_cache.SECONDS_BETWEEN_FILES = 0.0
recipe = Recipe(name="own", model=CNNRecipe(filters=(4,), pools=1, hidden=()))
model = build_model(recipe.model, Task(image_shape=(1, 12, 12), class_names=("a", "b")))
head_inputs(model, torch.from_numpy(np.load(images)), recipe, Progress("linear-probe", Killer(), Interruption()))
