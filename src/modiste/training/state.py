"""The state of a training run: what stays the same, and all that training changes, which is saved to one file."""

from collections import defaultdict
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from modiste.data.batches import steps_per_epoch
from modiste.data.dataset import Development
from modiste.recipes.recipe import Recipe
from modiste.runs import checkpoint, run_folder
from modiste.runs.run_folder import EpochRow
from modiste.system.processes import Interruption
from modiste.training import averages, optimizers
from modiste.training.data_pruning import PrunedOrder
from modiste.training.distillation import Teachers
from modiste.training.distributed import ALONE, Group
from modiste.training.optimizers import Optimizer, build_optimizer
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


@dataclass
class TrainingState:
    """The state of a training run.

    Attributes:
        model: The network whose weights are trained.
        optimizer: Over every trainable parameter of the model.
        network: The model, or its wrapper that averages gradients over processes; for the forward pass of training.
        order: Order of the images with data pruning; None without it.
        average: Average of the model's weights, evaluated in place of the model once it has begun; None without one.
        picked: Weights of the best epoch so far by validation; empty if the recipe selects the last.
        snapshots: Weights at the end of each cycle of the learning rate so far; empty if there is a single cycle.
        logits: Logits of the chosen weights, by the name of the split; empty, or without a split, if not computed here.
        history: One row per finished epoch.
        step: Steps done since the start of the run.
        loss_sum: Sum of the losses of the current epoch's images so far.
        correct: Number of the current epoch's images that were classified correctly so far.
        fit_seconds: How long this process fitted a network that is not trained by steps.
    """

    model: nn.Module
    optimizer: Optimizer
    network: nn.Module
    order: PrunedOrder | None = None
    average: AveragedModel | None = None
    picked: checkpoint.Tensors = field(default_factory=dict)
    snapshots: list[checkpoint.Tensors] = field(default_factory=list)
    logits: dict[str, Tensor] = field(default_factory=dict)
    history: list[EpochRow] = field(default_factory=list)
    step: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    fit_seconds: float = 0.0

    @property
    def evaluated(self) -> nn.Module:
        """The network that is evaluated: the average if there is one that has begun, else the model."""
        if self.average is None or not self.average.n_averaged:
            return self.model
        module = self.average.module
        assert isinstance(module, nn.Module)
        return module

    @property
    def chosen(self) -> checkpoint.Tensors:
        """The weights that the recipe selects among the epochs so far."""
        return self.picked or self.evaluated.state_dict()

    def pick(self, recipe: Recipe, logits: dict[str, Tensor]) -> None:
        """Keep the weights of the epoch just finished, and their ``logits``, if the recipe selects them."""
        if recipe.pick == "last":
            self.picked, self.logits = {}, logits  # a state saved by an earlier version may hold weights
        elif run_folder.picked(self.history, recipe) is self.history[-1]:
            self.picked, self.logits = self._copied(), logits

    def keep_snapshot(self, recipe: Recipe) -> None:
        """Keep the weights of the epoch just finished if it ends one of several cycles of the learning rate."""
        cycles = recipe.schedule.cycles
        if cycles > 1 and not len(self.history) % (recipe.epochs // cycles):
            self.snapshots.append(self._copied())

    def _copied(self) -> checkpoint.Tensors:
        return {name: tensor.clone() for name, tensor in self.evaluated.state_dict().items()}

    def save(self, folder: Path, fingerprint: str) -> None:
        """Write everything to one file in ``folder``, whole or not at all; ``fingerprint`` identifies the images."""
        groups = {
            "model": self.model.state_dict(),
            "optimizer": optimizers.state_tensors(self.model, self.optimizer),
            "order": {} if self.order is None else self.order.tensors(),
            "average": {} if self.average is None else self.average.state_dict(),
            "picked": self.picked,
            **{f"snapshot-{number}": weights for number, weights in enumerate(self.snapshots, start=1)},
        }
        tensors = {f"{group}:{name}": tensor for group, items in groups.items() for name, tensor in items.items()}
        checkpoint.save_state(folder, self.step, tensors, self._plain(fingerprint))

    def restore(self, saved: checkpoint.State) -> None:
        """Take over everything that ``saved`` holds."""
        groups: defaultdict[str, checkpoint.Tensors] = defaultdict(dict)
        for path, tensor in saved.tensors.items():
            group, _, name = path.partition(":")
            groups[group][name] = tensor
        self.model.load_state_dict(groups["model"])
        optimizers.restore_state(self.model, self.optimizer, groups["optimizer"])
        if self.order is not None:
            self.order.restore(groups["order"])
        if self.average is not None:
            self.average.load_state_dict(groups["average"])
        self.picked = self._on_device(groups["picked"])
        names = [f"snapshot-{number}" for number in range(1, len(groups)) if f"snapshot-{number}" in groups]
        self.snapshots = [self._on_device(groups[name]) for name in names]
        self.history = [EpochRow(**row) for row in saved.plain["history"]]
        self.step, self.loss_sum = saved.plain["step"], saved.plain["loss_sum"]
        self.correct = saved.plain["correct"]

    def _on_device(self, tensors: checkpoint.Tensors) -> checkpoint.Tensors:
        device = next(self.model.parameters()).device
        return {name: tensor.to(device) for name, tensor in tensors.items()}

    def _plain(self, fingerprint: str) -> dict[str, Any]:
        return {
            "fingerprint": fingerprint,
            "step": self.step,
            "loss_sum": self.loss_sum,
            "correct": self.correct,
            "history": [asdict(row) for row in self.history],
        }


def new_training_state(model: nn.Module, recipe: Recipe, taken: frozenset[str] = frozenset()) -> TrainingState:
    """Return the state before the first step; ``taken`` names the tensors transferred from another network."""
    factors = dict.fromkeys(taken, recipe.transfer.learning_rate_factor)
    optimizer = build_optimizer(model, recipe.optimizer, factors)
    return TrainingState(model, optimizer, model, average=averages.new_average(model, recipe))
