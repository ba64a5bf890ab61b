"""Sharpness-aware steps: closed forms, a naive loop that must agree, the same draws twice, nothing moved by a fault."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import code_of_others as others
from commands_and_data import epoch_from
from modiste.data.batches import Batches
from modiste.data.dataset import Development, load_development
from modiste.errors import DivergedError
from modiste.models.layers import share_generator
from modiste.models.registry import build_model
from modiste.recipes import own_code
from modiste.recipes.networks import CNNRecipe, DropConnectRecipe, ModelRecipe, OwnNetworkRecipe
from modiste.recipes.recipe import OptimizerRecipe, Recipe
from modiste.runs.run_folder import open_run
from modiste.system.processes import Interruption
from modiste.training import step as steps
from modiste.training import trainer
from modiste.training.cuda_graph import ResidentSteps
from modiste.training.setup import Inputs, describe_task
from modiste.training.sharpness import at_highest_loss
from modiste.training.state import Context, TrainingState, new_training_state
from modiste.training.step import Steps, train_step
from modiste.training.tracking import Listener

RADIUS = 0.3
SGD = OptimizerRecipe(name="sgd", learning_rate=0.05, momentum=0.0, nesterov=False)
CURVATURE = torch.diag(torch.tensor([4.0, 1.0, 0.25]))


@pytest.fixture
def development(tiny_recipe: Recipe, tiny_folder: Path) -> Development:
    return load_development(tiny_recipe.data, tiny_folder)


def state_for(recipe: Recipe, development: Development) -> TrainingState:
    model = build_model(recipe.model, describe_task(development, recipe), seed=recipe.seed)
    share_generator(model, torch.Generator(), torch.Generator())
    model.train()
    return new_training_state(model, recipe)


def weights_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("adaptive", [False, True])
def test_the_gradient_of_a_quadratic_is_that_of_the_closed_form(adaptive: bool) -> None:
    """The loss is w A w / 2 + b^2 / 2, whose gradient is (A w, b) anywhere."""
    model = nn.Linear(3, 1)
    start, bias = torch.tensor([[0.5, -1.0, 2.0]]), torch.tensor([0.7])
    model.weight.data, model.bias.data = start.clone(), bias.clone()

    def descend() -> None:
        model.zero_grad()
        ((model.weight @ CURVATURE @ model.weight.T).sum() / 2 + model.bias.square().sum() / 2).backward()

    descend()
    with at_highest_loss(model, OptimizerRecipe(sam_rho=RADIUS, sam_adaptive=adaptive)):
        descend()
    size = start.abs() + 0.01 if adaptive else torch.ones(3)
    norm = ((size * (start @ CURVATURE)).square().sum() + bias.square().sum()).sqrt()
    highest = start + RADIUS * size**2 * (start @ CURVATURE) / norm
    assert model.weight.grad is not None
    assert model.bias.grad is not None
    torch.testing.assert_close(model.weight.grad, highest @ CURVATURE)
    torch.testing.assert_close(model.bias.grad, bias + RADIUS * bias / norm)
    assert torch.equal(model.weight, start)
    assert torch.equal(model.bias, bias)


def test_where_the_gradient_is_zero_nothing_moves() -> None:
    model = nn.Linear(2, 1)
    model.weight.grad = torch.zeros(1, 2)
    before = weights_of(model)
    with at_highest_loss(model, OptimizerRecipe(sam_rho=RADIUS)):
        assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_naive_loop_comes_to_the_same(tiny_recipe: Recipe, development: Development) -> None:
    """With batch normalisation, whose statistics follow the first pass alone."""
    network = replace(tiny_recipe.model, dropout=0.0, batch_norm=True)
    recipe = replace(tiny_recipe, model=network, optimizer=replace(SGD, sam_rho=RADIUS))
    ours, naive = state_for(recipe, development), state_for(recipe, development)
    optimizer = torch.optim.SGD(naive.model.parameters(), SGD.learning_rate)
    ours.optimizer.set_learning_rate(SGD.learning_rate)

    def descend(images: torch.Tensor, targets: torch.Tensor) -> None:
        optimizer.zero_grad()
        (-(targets * naive.model(images).log_softmax(1)).sum(1).mean()).backward()

    for batch in list(epoch_from(Batches(development.train, recipe, 5), 0))[:6]:
        train_step(ours, batch, recipe)
        descend(batch.images, batch.targets)
        parameters, buffers = list(naive.model.parameters()), list(naive.model.buffers())
        kept = [tensor.detach().clone() for tensor in (*parameters, *buffers)]
        norm = torch.cat([item.grad.flatten() for item in parameters if item.grad is not None]).norm()
        for item in parameters:
            assert item.grad is not None
            item.data += RADIUS * item.grad / norm
        descend(batch.images, batch.targets)
        for item, before in zip((*parameters, *buffers), kept, strict=True):
            item.data.copy_(before)
        optimizer.step()
    expected = naive.model.state_dict()
    for name, tensor in ours.model.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-4, atol=1e-5, msg=name)


def net_of_others() -> ModelRecipe:
    return OwnNetworkRecipe(code=own_code.register(others.Net))


@pytest.mark.parametrize("adaptive", [False, True], ids=["plain", "adaptive"])
@pytest.mark.parametrize(
    "network",
    [
        lambda: CNNRecipe(filters=(4, 8), pools=1, hidden=(16,), dropout=0.4, batch_norm=True),
        lambda: DropConnectRecipe(filters=(4,), hidden=8),
        net_of_others,
    ],
    ids=["dropout", "dropconnect", "a network of the user's"],
)
def test_a_radius_of_almost_nothing_is_a_plain_step_to_the_bit(
    network, adaptive: bool, tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path
) -> None:
    """Both passes then have the same weights, and only with the same draws the same gradient."""
    plain = replace(tiny_recipe, epochs=1, model=network(), optimizer=SGD)
    sharp = replace(plain, optimizer=replace(SGD, sam_rho=1e-30, sam_adaptive=adaptive))
    runs = []
    for name, recipe in (("plain", plain), ("sharp", sharp)):
        trainer.train(recipe, tmp_path / name, Inputs(tiny_folder), device="cpu")
        runs.append(open_run(tmp_path / name))
    assert runs[0].history == runs[1].history
    expected = runs[0].load_model("last")[0].state_dict()
    for name, tensor in runs[1].load_model("last")[0].state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def test_the_radius_changes_what_is_learned(tiny_recipe: Recipe, development: Development) -> None:
    found = []
    for radius in (0.0, 0.05, 0.5):
        recipe = replace(tiny_recipe, optimizer=replace(SGD, sam_rho=radius))
        state = state_for(recipe, development)
        train_step(state, next(epoch_from(Batches(development.train, recipe, 5), 0)), recipe)
        found.append(torch.cat([item.detach().flatten() for item in state.model.parameters()]))
    near, far = ((found[0] - other).norm() for other in found[1:])
    assert 0 < near < far


def test_steps_between_sharpness_aware_ones_are_plain(
    tiny_recipe: Recipe, development: Development, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that goes on at step 2 takes the same steps, since the number of the step decides."""
    recipe = replace(tiny_recipe, optimizer=replace(SGD, sam_rho=RADIUS, sam_every=3))
    state, passes = state_for(recipe, development), list[int]()
    backward = steps.backward

    def noted(*arguments):
        passes.append(state.step)
        return backward(*arguments)

    monkeypatch.setattr(steps, "backward", noted)
    for batch in list(epoch_from(Batches(development.train, recipe, 5), 0))[:5]:
        train_step(state, batch, recipe)
    assert passes == [0, 0, 1, 2, 3, 3, 4]


def test_on_a_gpu_both_kinds_of_steps_have_recordings(
    tiny_recipe: Recipe, development: Development, tmp_path: Path
) -> None:
    """Here without a GPU: the same steps, computed anew each time."""
    recipe = replace(tiny_recipe, optimizer=replace(SGD, sam_rho=RADIUS, sam_every=2))
    states = [state_for(recipe, development) for _ in range(2)]
    context = Context(recipe, development, tmp_path, Listener(), Interruption())
    watched, resident = Steps(states[0], context), ResidentSteps(states[1], context)
    for taker in (watched, resident):
        for _, chosen in zip(range(5), taker.batches.choose(0), strict=False):
            taker.take(chosen)
    assert set(resident.alone.recordings) == {(16, True), (16, False)}
    expected = states[0].model.state_dict()
    for name, tensor in states[1].model.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-6, atol=1e-7, msg=name)


def test_a_second_pass_that_is_not_finite_moves_nothing(tiny_recipe: Recipe, development: Development) -> None:
    recipe = replace(tiny_recipe, optimizer=replace(SGD, sam_rho=1e38))
    state = state_for(recipe, development)
    before = weights_of(state.model)
    with pytest.raises(DivergedError, match="step 1: the gradient's norm is nan; the step was not applied"):
        train_step(state, next(epoch_from(Batches(development.train, recipe, 5), 0)), recipe)
    assert all(torch.equal(tensor, before[name]) for name, tensor in state.model.state_dict().items())


def test_the_second_pass_needs_draws_of_its_own(tiny_recipe: Recipe, development: Development) -> None:
    recipe = replace(tiny_recipe, optimizer=replace(SGD, sam_rho=RADIUS))
    state = state_for(recipe, development)
    share_generator(state.model, torch.Generator())
    with pytest.raises(AssertionError, match="no second generator"):
        train_step(state, next(epoch_from(Batches(development.train, recipe, 5), 0)), recipe)
