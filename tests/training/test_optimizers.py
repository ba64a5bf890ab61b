"""Optimizers against slow references written out from the papers, and their state there and back."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from modiste.models.registry import Task, build_model
from modiste.recipes.networks import CNNRecipe, MLPRecipe
from modiste.recipes.recipe import OptimizerRecipe
from modiste.training.optimizers import (
    OPTIMIZERS,
    AdamW,
    Groups,
    Momentum,
    build_optimizer,
    gradient_norm,
    parameter_groups,
    restore_state,
    state_tensors,
)

TASK = Task(image_shape=(1, 8, 8), class_names=("a", "b", "c"))
MODELS = [CNNRecipe(filters=(2, 3), pools=1, hidden=(4,), batch_norm=True), MLPRecipe(hidden=(5,), batch_norm=True)]
every_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)


def network(recipe: CNNRecipe | MLPRecipe = MODELS[0]) -> nn.Sequential:
    return build_model(recipe, TASK)


def give_gradients(model: nn.Module, step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    for parameter in model.parameters():
        gradient = torch.randn(parameter.shape, generator=generator) * 10.0 ** (step % 5 - 2)
        parameter.grad = torch.empty_like(parameter).copy_(gradient)


class TestGroups:
    @pytest.mark.parametrize("recipe", MODELS, ids=["cnn", "mlp"])
    def test_every_parameter_stands_in_exactly_one(self, recipe: CNNRecipe | MLPRecipe) -> None:
        model = network(recipe)
        groups = parameter_groups(model, 0.1)
        held = [id(parameter) for group in groups for parameter in group["params"]]  # type: ignore[attr-defined]
        assert sorted(held) == sorted(id(parameter) for parameter in model.parameters())

    def test_biases_and_normalisation_never_decay(self) -> None:
        model = network()
        decay, rest = parameter_groups(model, 0.1)
        assert (decay["weight_decay"], rest["weight_decay"]) == (0.1, 0.0)
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        assert all(names[id(item)].endswith(".weight") and item.ndim > 1 for item in decay["params"])  # type: ignore[attr-defined]
        assert all(item.ndim == 1 for item in rest["params"])  # type: ignore[attr-defined]

    def test_frozen_parameters_stand_in_none(self) -> None:
        model = network()
        frozen = next(model.parameters())
        frozen.requires_grad_(False)
        held = [id(item) for group in parameter_groups(model, 0.1) for item in group["params"]]  # type: ignore[attr-defined]
        assert id(frozen) not in held
        assert len(held) == len(list(model.parameters())) - 1

    @every_optimizer
    def test_the_learning_rate_of_every_group_is_set(self, name: str) -> None:
        optimizer = build_optimizer(network(), OptimizerRecipe(name=name))  # type: ignore[arg-type]
        optimizer.set_learning_rate(0.25)
        assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]


def keras_adam(weights: np.ndarray, gradients: list[np.ndarray], recipe: OptimizerRecipe) -> np.ndarray:
    """Kingma and Ba (2015), end of section 2: the correction goes into the step size, epsilon hat beside the root."""
    first, second = np.zeros_like(weights), np.zeros_like(weights)
    for step, gradient in enumerate(gradients, start=1):
        first = recipe.betas[0] * first + (1 - recipe.betas[0]) * gradient
        second = recipe.betas[1] * second + (1 - recipe.betas[1]) * gradient**2
        size = recipe.learning_rate * np.sqrt(1 - recipe.betas[1] ** step) / (1 - recipe.betas[0] ** step)
        weights = weights - size * first / (np.sqrt(second) + recipe.epsilon)
    return weights


def adamw(weights: np.ndarray, gradients: list[np.ndarray], recipe: OptimizerRecipe, decay: float) -> np.ndarray:
    """Loshchilov and Hutter (2019), algorithm 2, with torch's decay per unit of learning rate."""
    first, second = np.zeros_like(weights), np.zeros_like(weights)
    for step, gradient in enumerate(gradients, start=1):
        weights = weights * (1 - recipe.learning_rate * decay)
        first = recipe.betas[0] * first + (1 - recipe.betas[0]) * gradient
        second = recipe.betas[1] * second + (1 - recipe.betas[1]) * gradient**2
        corrected = np.sqrt(second / (1 - recipe.betas[1] ** step)) + recipe.epsilon
        weights = weights - recipe.learning_rate * first / (1 - recipe.betas[0] ** step) / corrected
    return weights


def nesterov(weights: np.ndarray, gradients: list[np.ndarray], recipe: OptimizerRecipe, decay: float) -> np.ndarray:
    velocity = np.zeros_like(weights)
    for gradient in gradients:
        whole = gradient + decay * weights
        velocity = recipe.momentum * velocity + whole
        ahead = whole + recipe.momentum * velocity if recipe.nesterov else velocity
        weights = weights - recipe.learning_rate * ahead
    return weights


def follow(recipe: OptimizerRecipe, steps: int) -> dict[str, tuple[np.ndarray, list[np.ndarray], np.ndarray]]:
    """Each parameter before, its gradients, and after, in double precision."""
    model = network().double()
    optimizer = build_optimizer(model, recipe)
    before = {name: parameter.detach().numpy().copy() for name, parameter in model.named_parameters()}
    gradients: dict[str, list[np.ndarray]] = {name: [] for name in before}
    for step in range(steps):
        give_gradients(model, step)
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None
            gradients[name].append(parameter.grad.numpy().copy())
        optimizer.step()
    return {name: (before[name], gradients[name], item.detach().numpy()) for name, item in model.named_parameters()}


@pytest.mark.parametrize("epsilon", [1e-7, 1e-2, 1.0])
@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.5, 0.9), (0.0, 0.0)])
def test_adam_has_its_epsilon_where_keras_has_it(epsilon: float, betas: tuple[float, float]) -> None:
    recipe = OptimizerRecipe(epsilon=epsilon, betas=betas, learning_rate=0.01)
    for name, (before, gradients, after) in follow(recipe, 12).items():
        np.testing.assert_allclose(after, keras_adam(before, gradients, recipe), rtol=1e-9, atol=1e-12, err_msg=name)


def test_adam_with_a_large_epsilon_is_not_that_of_torch() -> None:
    """Else the test before this one would prove nothing."""
    recipe = OptimizerRecipe(epsilon=0.01, learning_rate=0.01)
    differences = [
        np.abs(after - adamw(before, gradients, recipe, 0.0)).max()
        for before, gradients, after in follow(recipe, 3).values()
    ]
    assert max(differences) > 1e-4


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_adamw_and_sgd_equal_their_references(decay: float) -> None:
    for recipe, reference in [
        (OptimizerRecipe(name="adamw", weight_decay=decay, learning_rate=0.01, epsilon=1e-3), adamw),
        (OptimizerRecipe(name="sgd", weight_decay=decay, learning_rate=0.01), nesterov),
        (OptimizerRecipe(name="sgd", weight_decay=decay, learning_rate=0.01, nesterov=False), nesterov),
        (OptimizerRecipe(name="sgd", learning_rate=0.1, momentum=0.0, nesterov=False, weight_decay=decay), nesterov),
    ]:
        for name, (before, gradients, after) in follow(recipe, 8).items():
            expected = reference(before, gradients, recipe, decay if before.ndim > 1 else 0.0)
            np.testing.assert_allclose(after, expected, rtol=1e-9, atol=1e-12, err_msg=f"{recipe.name} {name}")


@pytest.mark.parametrize(
    ("recipe", "theirs"),
    [
        (
            OptimizerRecipe(name="sgd", learning_rate=0.05, momentum=0.9, weight_decay=0.1),
            lambda groups: torch.optim.SGD(groups, 0.05, momentum=0.9, nesterov=True, fused=True),
        ),
        (
            OptimizerRecipe(name="sgd", learning_rate=0.05, momentum=0.0, nesterov=False),
            lambda groups: torch.optim.SGD(groups, 0.05, fused=True),
        ),
        (
            OptimizerRecipe(name="adamw", learning_rate=0.01, weight_decay=0.3, betas=(0.8, 0.95), epsilon=1e-6),
            lambda groups: torch.optim.AdamW(groups, 0.01, betas=(0.8, 0.95), eps=1e-6, fused=True),
        ),
    ],
    ids=["nesterov", "without momentum", "adamw"],
)
def test_weights_and_state_are_those_of_torch_to_the_last_bit(
    recipe: OptimizerRecipe, theirs: Callable[[Groups], torch.optim.Optimizer]
) -> None:
    mine, yours = network(), network()
    one, other = build_optimizer(mine, recipe), theirs(parameter_groups(yours, recipe.weight_decay))
    for step in range(6):
        for model, optimizer in ((mine, one), (yours, other)):
            give_gradients(model, step)
            optimizer.step()
    for (name, left), right in zip(mine.named_parameters(), yours.parameters(), strict=True):
        assert torch.equal(left, right), name
        kept = {key: value for key, value in other.state[right].items() if value is not None}
        assert one.state[left].keys() == kept.keys()
        assert all(torch.equal(one.state[left][key], value) for key, value in kept.items()), name


@every_optimizer
def test_what_has_no_gradient_stays_and_goes_on_from_its_first(name: str) -> None:
    """Torch's own SGD fails there: some parameters have a velocity, others none yet."""
    recipe = OptimizerRecipe(name=name, learning_rate=0.01)  # type: ignore[arg-type]
    model, late = network(), network()
    waiting = next(late.parameters())
    one, other = build_optimizer(model, recipe), build_optimizer(late, recipe)
    give_gradients(late, 7)
    waiting.grad, before = None, waiting.clone()
    other.step()
    assert torch.equal(waiting, before)
    for optimizer, each in ((one, model), (other, late)):
        give_gradients(each, 0)
        optimizer.step()
    if name != "adam":  # which counts the steps of all, as Keras does
        assert torch.equal(waiting, next(model.parameters()))


@every_optimizer
def test_a_refused_update_moves_nothing(name: str) -> None:
    model = network()
    optimizer = build_optimizer(model, OptimizerRecipe(name=name, learning_rate=0.1))  # type: ignore[arg-type]
    refused = torch.zeros(())
    optimizer.make_recordable(refused)
    give_gradients(model, 0)
    optimizer.step()
    before = [parameter.clone() for parameter in model.parameters()]
    refused.fill_(1)
    optimizer.step()
    assert all(torch.equal(one, other) for one, other in zip(before, model.parameters(), strict=True))


@every_optimizer
@pytest.mark.parametrize("moved", [0, 3])
def test_state_there_and_back_goes_on_bit_by_bit(name: str, moved: int) -> None:
    recipe = OptimizerRecipe(name=name, learning_rate=0.01, weight_decay=0.1)  # type: ignore[arg-type]
    model = network()
    optimizer = build_optimizer(model, recipe)
    for step in range(moved):
        give_gradients(model, step)
        optimizer.step()
    tensors = {path: tensor.clone().contiguous() for path, tensor in state_tensors(model, optimizer).items()}
    assert bool(tensors) == bool(moved)
    twin = network()
    twin.load_state_dict(model.state_dict())
    restored = build_optimizer(twin, recipe)
    restore_state(twin, restored, tensors)
    again = state_tensors(twin, restored)
    assert again.keys() == tensors.keys()
    assert all(torch.equal(again[path], tensors[path]) for path in tensors)
    for step in range(moved, moved + 4):
        for one, other in ((model, optimizer), (twin, restored)):
            give_gradients(one, step)
            other.step()
    for mine, yours in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(mine, yours)


def test_gradient_norm_is_that_of_the_whole() -> None:
    model = network()
    give_gradients(model, 1)
    whole = torch.cat([parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None])
    assert gradient_norm(model).item() == pytest.approx(whole.norm().item(), rel=1e-6)
    for value in (float("nan"), float("inf")):
        give_gradients(model, 1)
        list(model.parameters())[-1].grad[0] = value  # type: ignore[index]
        assert not gradient_norm(model).isfinite()


def test_a_recipe_says_the_optimizer_whole() -> None:
    recipe = OptimizerRecipe(name="adamw", betas=(0.8, 0.95), epsilon=1e-5, learning_rate=0.2)
    optimizer = build_optimizer(network(), recipe)
    assert isinstance(optimizer, AdamW)
    assert (optimizer.betas, optimizer.epsilon) == ((0.8, 0.95), 1e-5)
    assert [group["lr"] for group in optimizer.param_groups] == [0.2, 0.2]
    sgd = build_optimizer(network(), replace(recipe, name="sgd", momentum=0.7))
    assert isinstance(sgd, Momentum)
    assert (sgd.momentum, sgd.nesterov) == (0.7, True)
