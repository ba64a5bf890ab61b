"""From a recipe to an optimizer whose groups hold every parameter exactly once."""

from collections.abc import Callable, Iterable, Mapping
from math import sqrt
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.adam import adam

from modiste.recipe import OptimizerRecipe

Groups = list[dict[str, object]]


class Adam(Optimizer):
    """Adam with its epsilon where Keras has it: beside the root of the uncorrected second moment.

    That is the last form of section 2 in Kingma and Ba (2015), with its "epsilon hat"; torch adds epsilon after the
    correction. The two differ in the first steps, where the correction is large. Here as there the correction goes into
    the rate, which the host works out in ``prepare``; torch's fused kernel does the rest, told of so many steps that
    its own corrections are 1: where a float32 stays as it is when 1 is added, no power of a beta is left.

    Args:
        groups: parameters, each group with its weight decay.
        learning_rate: of all groups until set.
        betas: decay of the first and second moment.
        epsilon: their "epsilon hat".
    """

    def __init__(self, groups: Groups, learning_rate: float, betas: tuple[float, float], epsilon: float) -> None:
        super().__init__(groups, {"lr": learning_rate, "betas": betas, "eps": epsilon, "rate": learning_rate})
        parameters = (parameter for group in self.param_groups for parameter in group["params"])
        device = next((parameter.device for parameter in parameters), None)
        self.many_steps = torch.tensor(2.0**24, device=device)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Update every parameter once."""
        self.prepare()
        self.update()

    def prepare(self) -> None:
        """Count the step and work out its corrected rate."""
        for group in self.param_groups:
            first, second = group["betas"]
            for parameter in group["params"]:
                state = self.state[parameter]
                if not state:
                    state.update(step=0.0, exp_avg=torch.zeros_like(parameter), exp_avg_sq=torch.zeros_like(parameter))
                state["step"] = steps_done = float(state["step"]) + 1
            if group["params"]:
                _set(group, "rate", group["lr"] * sqrt(1 - second**steps_done) / (1 - first**steps_done))

    @torch.no_grad()
    def update(self) -> None:
        """Move every parameter that has a gradient, by the rates that ``prepare`` has worked out."""
        for group in self.param_groups:
            moved = [parameter for parameter in group["params"] if parameter.grad is not None]
            states = [self.state[parameter] for parameter in moved]
            adam(
                moved,
                [parameter.grad for parameter in moved],
                [state["exp_avg"] for state in states],
                [state["exp_avg_sq"] for state in states],
                [],
                [self.many_steps] * len(moved),
                fused=True,
                amsgrad=False,
                beta1=group["betas"][0],
                beta2=group["betas"][1],
                lr=group["rate"],
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                maximize=False,
                found_inf=getattr(self, "found_inf", None),
            )


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


def set_learning_rate(optimizer: Optimizer, learning_rate: float) -> None:
    """Set the learning rate of every group, times the group's own factor."""
    for group in optimizer.param_groups:
        _set(group, "lr", learning_rate * group["factor"])


def make_recordable(optimizer: Optimizer, refused: Float[Tensor, ""]) -> None:
    """Let a GPU repeat the optimizer's update: what changes from step to step lies in tensors, and stays there.

    Args:
        optimizer: over parameters on a GPU.
        refused: 1 when the update shall not move anything, else 0; read by every update.
    """
    optimizer.found_inf = refused  # type: ignore[attr-defined]
    for group in optimizer.param_groups:
        name = "rate" if isinstance(optimizer, Adam) else "lr"
        group[name] = torch.tensor(float(group[name]), device=refused.device)
        group["capturable"] = True


def prepare(optimizer: Optimizer) -> None:
    """Do what the host does of a step."""
    if isinstance(optimizer, Adam):
        optimizer.prepare()


def update(optimizer: Optimizer) -> None:
    """Do what the device does of a step: all of it but for ``prepare``."""
    if isinstance(optimizer, Adam):
        optimizer.update()
    else:
        optimizer.step()


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


def _set(group: dict[str, Any], name: str, value: float) -> None:
    if isinstance(group[name], Tensor):
        group[name].fill_(value)
    else:
        group[name] = value


def _check_cover(parameters: Iterable[Tensor], groups: Groups) -> None:
    held = [id(item) for group in groups for item in group["params"]]  # type: ignore[attr-defined]
    assert len(held) == len(set(held)), "a parameter stands in two groups"
    assert set(held) == {id(item) for item in parameters}, "a parameter stands in no group"


def _adam(groups: Groups, recipe: OptimizerRecipe) -> Optimizer:
    return Adam(groups, recipe.learning_rate, recipe.betas, recipe.epsilon)


def _adamw(groups: Groups, recipe: OptimizerRecipe) -> Optimizer:
    return AdamW(groups, recipe.learning_rate, betas=recipe.betas, eps=recipe.epsilon, fused=True)


def _sgd(groups: Groups, recipe: OptimizerRecipe) -> Optimizer:
    return SGD(groups, recipe.learning_rate, momentum=recipe.momentum, nesterov=recipe.nesterov, fused=True)


OPTIMIZERS: dict[str, Callable[[Groups, OptimizerRecipe], Optimizer]] = {
    "adam": _adam,
    "adamw": _adamw,
    "sgd": _sgd,
}
