"""Everything that training changes, in one place, and its way to disk and back."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from modiste.compat import foreach_copy_
from modiste.recipes.recipe import Recipe
from modiste.runs import checkpoint, run_folder
from modiste.runs.run_folder import EpochRow
from modiste.training import optimizers
from modiste.training.optimizers import Optimizer, build_optimizer

Row = tuple[Tensor, ...] | list[Tensor]


@dataclass
class TrainingState:
    """The state of a training run.

    Attributes:
        model: what is trained.
        optimizer: over every parameter of the model.
        network: what the forward pass of training goes through: the model, or what joins it with other processes'.
        average: running average of the model's weights, evaluated in its place; None without one.
        picked: weights of the best epoch so far by validation; empty where the recipe takes the last.
        history: one row per finished epoch.
        step: steps done since the start of the run.
        loss_sum: of the epoch under way, over images.
        correct: images of the epoch under way that were classified correctly.
    """

    model: nn.Module
    optimizer: Optimizer
    network: nn.Module
    average: AveragedModel | None = None
    picked: checkpoint.Tensors = field(default_factory=dict)
    history: list[EpochRow] = field(default_factory=list)
    step: int = 0
    loss_sum: float = 0.0
    correct: int = 0

    @property
    def evaluated(self) -> nn.Module:
        """The network whose answers count: the average if there is one."""
        module = self.model if self.average is None else self.average.module
        assert isinstance(module, nn.Module)
        return module

    @property
    def chosen(self) -> checkpoint.Tensors:
        """The weights that the recipe picks among the epochs so far."""
        return self.picked or self.evaluated.state_dict()

    def pick(self, recipe: Recipe) -> None:
        """Keep the weights of the epoch just finished if validation picks it."""
        if recipe.pick == "last":
            self.picked = {}  # a state of an earlier version may have had some
        elif run_folder.picked(self.history, recipe) is self.history[-1]:
            self.picked = {name: tensor.clone() for name, tensor in self.evaluated.state_dict().items()}

    def save(self, folder: Path, fingerprint: str) -> None:
        """Write everything to one state file, whole or not at all."""
        groups = {
            "model": self.model.state_dict(),
            "optimizer": optimizers.state_tensors(self.model, self.optimizer),
            "average": {} if self.average is None else self.average.state_dict(),
            "picked": self.picked,
        }
        tensors = {f"{group}:{name}": tensor for group, items in groups.items() for name, tensor in items.items()}
        checkpoint.save_state(folder, self.step, tensors, self._plain(fingerprint))

    def restore(self, state: checkpoint.State) -> None:
        """Become what ``state`` holds."""
        groups: dict[str, checkpoint.Tensors] = {"model": {}, "optimizer": {}, "average": {}, "picked": {}}
        for path, tensor in state.tensors.items():
            group, _, name = path.partition(":")
            groups[group][name] = tensor
        self.model.load_state_dict(groups["model"])
        optimizers.restore_state(self.model, self.optimizer, groups["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(groups["average"])
        device = next(self.model.parameters()).device
        self.picked = {name: tensor.to(device) for name, tensor in groups["picked"].items()}
        self.history = [EpochRow(**row) for row in state.plain["history"]]
        self.step, self.loss_sum = state.plain["step"], state.plain["loss_sum"]
        self.correct = state.plain["correct"]

    def _plain(self, fingerprint: str) -> dict[str, Any]:
        return {
            "fingerprint": fingerprint,
            "step": self.step,
            "loss_sum": self.loss_sum,
            "correct": self.correct,
            "history": [asdict(row) for row in self.history],
        }


def new_training_state(model: nn.Module, recipe: Recipe, taken: frozenset[str] = frozenset()) -> TrainingState:
    """Return a learner that has not taken a step; ``taken`` names the tensors that came from another run."""
    average = None
    if recipe.ema_decay:
        average = AveragedModel(model, multi_avg_fn=moving_average(recipe.ema_decay), use_buffers=True)
    factors = dict.fromkeys(taken, recipe.transfer.learning_rate_factor)
    return TrainingState(model, build_optimizer(model, recipe.optimizer, factors), model, average)


def moving_average(decay: float) -> Callable[[Row, Row, Tensor | int], None]:
    """Return what moves averages of one type towards the latest tensors; whole numbers, which count, are copied."""
    move = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]

    def follow(averages: Row, latest: Row, number: Tensor | int) -> None:
        if averages[0].is_floating_point():
            move(averages, latest, number)
        else:
            foreach_copy_(averages, latest)

    return follow
