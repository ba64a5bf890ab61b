"""From a recipe to an optimizer whose groups hold every parameter exactly once, and its state there and back."""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from modiste.recipe import OptimizerRecipe
from modiste.training.updates import Adam, AdamW, Groups, Momentum, Optimizer


def build_optimizer(model: nn.Module, recipe: OptimizerRecipe, factors: Mapping[str, float] | None = None) -> Optimizer:
    """Return the recipe's optimizer over every trainable parameter of ``model``.

    ``factors`` multiply the learning rate of the parameters they name.
    """
    groups = parameter_groups(model, recipe.weight_decay, factors)
    return OPTIMIZERS[recipe.name](groups, recipe)


def parameter_groups(model: nn.Module, weight_decay: float, factors: Mapping[str, float] | None = None) -> Groups:
    """Divide the parameters by learning rate, and into those that decay (matrices, kernels) and those that do not."""
    parameters = {name: item for name, item in model.named_parameters() if item.requires_grad}
    factor_of = {name: (factors or {}).get(name, 1.0) for name in parameters}
    groups: Groups = [
        {
            "params": [
                item for name, item in parameters.items() if (item.ndim > 1, factor_of[name]) == (decays, factor)
            ],
            "weight_decay": weight_decay if decays else 0.0,
            "factor": factor,
        }
        for factor in sorted({1.0, *factor_of.values()}, reverse=True)
        for decays in (True, False)
    ]
    _check_cover(parameters.values(), groups)
    return groups


def gradient_norm(model: nn.Module) -> Tensor:
    """Return the Euclidean norm of the whole gradient; not finite if any part of it is not."""
    return torch.nn.utils.get_total_norm([item.grad for item in model.parameters() if item.grad is not None])


def state_tensors(model: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """Return the optimizer's tensors under ``parameter's name/key``."""
    return {
        f"{name}/{key}": torch.as_tensor(value)
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def restore_state(model: nn.Module, optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    """Give back to the optimizer what state_tensors took, each in its parameter's memory layout and device."""
    parameters = dict(model.named_parameters())
    for path, tensor in tensors.items():
        name, _, key = path.rpartition("/")
        parameter = parameters[name]
        like_parameter = tensor.shape == parameter.shape
        value = torch.empty_like(parameter).copy_(tensor) if like_parameter else tensor.to(parameter.device)
        optimizer.state[parameter][key] = value


def _check_cover(parameters: Iterable[Tensor], groups: Groups) -> None:
    held = [id(item) for group in groups for item in group["params"]]
    assert len(held) == len(set(held)), "a parameter stands in two groups"
    assert set(held) == {id(item) for item in parameters}, "a parameter stands in no group"


def _adam(groups: Groups, recipe: OptimizerRecipe) -> Optimizer:
    return Adam(groups, recipe.learning_rate, recipe.betas, recipe.epsilon)


def _adamw(groups: Groups, recipe: OptimizerRecipe) -> Optimizer:
    return AdamW(groups, recipe.learning_rate, recipe.betas, recipe.epsilon)


def _sgd(groups: Groups, recipe: OptimizerRecipe) -> Optimizer:
    return Momentum(groups, recipe.learning_rate, recipe.momentum, nesterov=recipe.nesterov)


OPTIMIZERS: dict[str, Callable[[Groups, OptimizerRecipe], Optimizer]] = {
    "adam": _adam,
    "adamw": _adamw,
    "sgd": _sgd,
}
