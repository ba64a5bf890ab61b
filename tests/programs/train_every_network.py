"""Trains every network for two steps, alone and with the group that torchrun has started.

The losses, the logits afterwards, and the group's threads after its end are written to ``found-RANK.json``. Argument:
the folder of ``networks.py``.
"""

import json
import sys
from pathlib import Path

import torch

from modiste.data.batch import Batch
from modiste.models import layers
from modiste.models.registry import Task, build_model
from modiste.recipes.networks import EfficientNetLiteRecipe, MLPRecipe, ModelRecipe
from modiste.recipes.recipe import OptimizerRecipe, Recipe
from modiste.training.distributed import ALONE, Group, gathered
from modiste.training.state import new_training_state
from modiste.training.step import train_step

sys.path.append(sys.argv[1])
from networks import SMALL  # type: ignore[import-not-found]

IMAGES = torch.rand(9, 1, 12, 12, generator=torch.Generator().manual_seed(0))
TARGETS = torch.eye(5)[torch.arange(9) % 5]
TASK = Task(image_shape=(1, 12, 12), class_names=tuple("abcde"))


def train(network: ModelRecipe, group: Group) -> tuple[list[float], list[float]]:
    """Return the loss of each step, and the logits of the trained network."""
    recipe = Recipe(name="x", model=network, optimizer=OptimizerRecipe(name="sgd", learning_rate=1e-4))
    # Untrained, the deepest network makes a hundredth of a gradient out of a millionth of an image.
    exact = torch.float64 if isinstance(network, EfficientNetLiteRecipe) else torch.float32
    batch = Batch(IMAGES.to(exact), TARGETS.to(exact))
    state = new_training_state(build_model(network, TASK).to(exact), recipe)
    state.network, losses, dropout = group.join(state.model), list[float](), torch.Generator()
    for step in range(2):
        layers.share_generator(state.model, dropout.manual_seed(step), part=None if group.is_alone else group.part(9))
        state.loss_sum = 0.0
        train_step(state, batch, recipe, group)
        losses.append(state.loss_sum / 9)
    state.model.eval()
    return losses, state.model(batch.images).flatten().tolist()


def gloo_threads() -> list[str]:
    """Return the names of the threads of Gloo, as Linux lists them."""
    names = [(task / "comm").read_text(encoding="utf-8").strip() for task in Path("/proc/self/task").glob("*")]
    return [name for name in names if "gloo" in name]


if __name__ == "__main__":
    with gathered() as group:
        networks = [*SMALL, MLPRecipe(hidden=(8,), batch_norm=True)]
        both = [(str(one), train(one, ALONE), train(one, group)) for one in networks]
    Path(f"found-{group.rank}.json").write_text(
        json.dumps({"networks": both, "threads": gloo_threads()}), encoding="utf-8"
    )
