"""What stays the same while a learner learns."""

from dataclasses import dataclass
from pathlib import Path

import torch

from modiste.data.batches import steps_per_epoch
from modiste.data.dataset import Development
from modiste.recipes.recipe import Recipe
from modiste.training.distributed import ALONE, Group
from modiste.training.interruption import Interruption
from modiste.training.tracking import Listener


@dataclass(frozen=True)
class Context:
    """A recipe, what it learns from, where its run is kept, and who is told.

    Attributes:
        recipe: what to train.
        development: on the device that computes.
        folder: of the run.
        listener: told of every step and epoch.
        interruption: what signals have asked for.
        group: the processes that train together.
    """

    recipe: Recipe
    development: Development
    folder: Path
    listener: Listener
    interruption: Interruption
    group: Group = ALONE

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.development.class_names)

    @property
    def steps_per_epoch(self) -> int:
        """Steps in one pass over the training images."""
        return steps_per_epoch(len(self.development.train), self.recipe.batch_size)

    def stop_requested(self) -> bool:
        """Tell whether a signal asked this process, or one that trains with it, to stop."""
        return self.group.any(self.interruption.requested)

    @property
    def device(self) -> torch.device:
        """Where the images are, and the learner."""
        return self.development.train.labels.device
