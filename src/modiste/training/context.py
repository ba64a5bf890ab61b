"""What stays the same during training."""

from dataclasses import dataclass
from pathlib import Path

import torch

from modiste.data.batches import steps_per_epoch
from modiste.data.dataset import Development
from modiste.recipes.recipe import Recipe
from modiste.training.distillation import Teachers
from modiste.training.distributed import ALONE, Group
from modiste.training.interruption import Interruption
from modiste.training.tracking import Listener


@dataclass(frozen=True)
class Context:
    """A recipe, its images, its run folder, and the listeners and processes of the run.

    Attributes:
        recipe: What to train.
        development: The images, on the device that computes.
        folder: Folder of the run.
        listener: Notified of every step and epoch.
        interruption: Requests to stop, from signals.
        group: The processes that train together.
        teachers: Whose answers the network learns from; None without any.
    """

    recipe: Recipe
    development: Development
    folder: Path
    listener: Listener
    interruption: Interruption
    group: Group = ALONE
    teachers: Teachers | None = None

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.development.class_names)

    @property
    def steps_per_epoch(self) -> int:
        """Steps in one pass over the training images."""
        return steps_per_epoch(len(self.development.train), self.recipe.batch_size)

    def stop_requested(self) -> bool:
        """Tell whether a signal asked any process of the group to stop."""
        return self.group.any(self.interruption.requested)

    @property
    def device(self) -> torch.device:
        """The device of the images and of the network."""
        return self.development.train.labels.device
