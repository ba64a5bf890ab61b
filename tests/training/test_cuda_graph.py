"""Steps that nobody looks at until the epoch is over, against steps looked at one by one."""

from pathlib import Path

import pytest
import torch

from modiste.data.batch import Batch
from modiste.data.batches import Batches
from modiste.data.dataset import load_development
from modiste.errors import DivergedError
from modiste.models.registry import build_model
from modiste.recipes.recipe import Recipe
from modiste.system.processes import Interruption
from modiste.training.cuda_graph import Recording, ResidentSteps, branches_for, can_stay
from modiste.training.setup import describe_task
from modiste.training.state import Context, TrainingState, new_training_state
from modiste.training.step import Steps
from modiste.training.tracking import Listener

BAD = 5
"""The step at which something is not finite, from 0."""


@pytest.fixture
def context(tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path) -> Context:
    development = load_development(tiny_recipe.data, tiny_folder)
    return Context(tiny_recipe, development, tmp_path, Listener(), Interruption())


def learner_for(context: Context) -> TrainingState:
    task = describe_task(context.development, context.recipe)
    return new_training_state(build_model(context.recipe.model, task), context.recipe)


@pytest.fixture
def spoiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """One batch of the epoch has a pixel that is not a number."""
    make, seed = Batches.make, Batches.seed
    at: dict[int, int] = {}

    def note(self: Batches, step: int) -> None:
        at[id(self)] = step
        seed(self, step)

    def spoil(self: Batches, chosen: torch.Tensor) -> Batch:
        batch = make(self, chosen)
        if at[id(self)] == BAD:
            batch.images[0, 0, 0, 0] = torch.nan
        return batch

    monkeypatch.setattr(Batches, "seed", note)
    monkeypatch.setattr(Batches, "make", spoil)


def take(steps: Steps, count: int) -> None:
    for _, chosen in zip(range(count), steps.batches.choose(steps.state.step), strict=False):
        steps.take(chosen)


def test_an_epoch_comes_to_the_same(context: Context) -> None:
    watched, resident = learner_for(context), learner_for(context)
    for steps in (Steps(watched, context), ResidentSteps(resident, context)):
        take(steps, context.steps_per_epoch)
        steps.settle()
    assert (resident.step, resident.correct) == (watched.step, watched.correct)
    assert resident.loss_sum == pytest.approx(watched.loss_sum, rel=1e-6)
    for name, tensor in watched.model.state_dict().items():
        torch.testing.assert_close(resident.model.state_dict()[name], tensor, rtol=1e-6, atol=1e-7)


def test_figures_are_told_once(context: Context) -> None:
    learner = learner_for(context)
    steps = ResidentSteps(learner, context)
    take(steps, 3)
    steps.settle()
    told = learner.loss_sum, learner.correct
    assert told[0] > 0
    steps.settle()
    assert (learner.loss_sum, learner.correct) == told


@pytest.mark.usefixtures("spoiled")
def test_what_is_not_finite_moves_nothing_and_nothing_moves_after_it(context: Context) -> None:
    sound, learner = learner_for(context), learner_for(context)
    take(ResidentSteps(sound, context), BAD)
    steps = ResidentSteps(learner, context)
    take(steps, BAD + 4)
    with pytest.raises(DivergedError, match=rf"^step {BAD + 1}: the loss or its gradient is not finite; the step was"):
        steps.settle()
    weights = dict(learner.model.named_parameters())
    for name, parameter in sound.model.named_parameters():
        assert torch.equal(weights[name], parameter), name


def test_on_a_processor_steps_are_looked_at(context: Context) -> None:
    assert not can_stay(context)


def test_without_a_gpu_every_call_computes_each_row() -> None:
    seen: list[tuple[int, list[int]]] = []
    computes = [lambda row, index=index: seen.append((index, row.tolist())) for index in range(2)]
    branches = branches_for(2, torch.device("cpu"))
    recording = Recording(computes, torch.zeros(2, 3, dtype=torch.int64), [], branches)
    for number in (1, 7):
        recording(torch.tensor([[number, 0, 0], [0, 0, number]]))
    assert seen == [(0, [1, 0, 0]), (1, [0, 0, 1]), (0, [7, 0, 0]), (1, [0, 0, 7])]
