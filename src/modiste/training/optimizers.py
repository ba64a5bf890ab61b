"""Optimizers: Adam as in Keras, AdamW, gradient descent with momentum; their parameter groups and stored state."""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from math import sqrt
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from modiste.compat import adam, sgd
from modiste.recipes.recipe import OptimizerRecipe

ParameterGroup = dict[str, Any]
Groups = list[ParameterGroup]
BIAS_CORRECTION_OFF = 2.0**24
"""A step count that switches off the bias correction of torch's kernel: powers of beta with this exponent are 0.

The kernel adds 1 to the count, which leaves a float32 of this size as it is.
"""


class Optimizer(ABC):
    """Base of the optimizers, which update parameters in groups by torch's fused kernels.

    It does not derive from ``torch.optim.Optimizer``, because that loads torch's compiler. Loading takes 0.8 s of every
    run, and nothing is compiled.

    Args:
        groups: Parameters, each group with its weight decay and the factor of its learning rate.
        learning_rate: Initial rate of all groups.
    """

    def __init__(self, groups: Groups, learning_rate: float) -> None:
        self.param_groups: Groups = [group | {"lr": learning_rate} for group in groups]
        self.state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        self.refused: Float[Tensor, ""] | None = None

    def set_learning_rate(self, learning_rate: float) -> None:
        """Set the learning rate of every group, times the group's own factor."""
        for group in self.param_groups:
            set_number(group, "lr", learning_rate * group["factor"])

    def zero_grad(self) -> None:
        """Delete every gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def step(self) -> None:
        """Update every parameter once."""
        with torch.profiler.record_function("Optimizer.step"):
            self.prepare()
            self.update()

    def prepare(self) -> None:  # noqa: B027, because most optimizers need no such part
        """Do the host's part of a step."""

    @torch.no_grad()
    def update(self) -> None:
        """Do the device's part of a step: update every parameter that has a gradient."""
        for group in self.param_groups:
            moved = [parameter for parameter in group["params"] if parameter.grad is not None]
            self.move(moved, [parameter.grad for parameter in moved], group)

    @abstractmethod
    def move(self, parameters: list[Tensor], gradients: list[Tensor], group: ParameterGroup) -> None:
        """Update parameters of a group by their gradients, unless ``refused`` is 1."""

    def make_recordable(self, refused: Float[Tensor, ""]) -> None:
        """Keep numbers that change from step to step in tensors, so that a CUDA graph can replay ``update``.

        Args:
            refused: 1 to skip the update, 0 to do it; read by every update.
        """
        self.refused = refused
        for group in self.param_groups:
            name = "rate" if "rate" in group else "lr"  # of the two, the one that ``update`` reads
            group[name] = torch.tensor(float(group[name]), device=refused.device)


class Moments(Optimizer):
    """Base of both forms of Adam: keeps the first and second moment of every gradient.

    Args:
        groups, learning_rate: See Optimizer.
        betas: Decay rates of the two moments, each in [0, 1).
        epsilon: Added to the square root of the second moment.
    """

    def __init__(self, groups: Groups, learning_rate: float, betas: tuple[float, float], epsilon: float) -> None:
        super().__init__(groups, learning_rate)
        self.betas, self.epsilon = betas, epsilon

    def remembered(self, parameter: Tensor) -> dict[str, Any]:
        """Return the stored moments and step count of a parameter; at first all 0."""
        state = self.state[parameter]
        if not state:
            moments = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
            state.update(step=self.no_step(parameter), **moments)
        return state

    @abstractmethod
    def no_step(self, parameter: Tensor) -> float | Tensor:
        """Return a step count of 0, as a number or a tensor."""

    def kernel(self, parameters: list[Tensor], gradients: list[Tensor], steps: list[Tensor], **options: Any) -> None:
        """Update parameters by torch's fused kernel; ``steps`` holds each parameter's number of earlier steps."""
        states = [self.state[parameter] for parameter in parameters]
        adam(
            parameters,
            gradients,
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            steps,
            fused=True,
            amsgrad=False,
            beta1=self.betas[0],
            beta2=self.betas[1],
            eps=self.epsilon,
            maximize=False,
            found_inf=self.refused,
            **options,
        )


class Adam(Moments):
    """Adam as in Keras: epsilon is added to the root of the second moment before bias correction.

    This is the last form of section 2 in Kingma and Ba (2015), with its "epsilon hat". torch adds epsilon after the
    correction. The two differ in the first steps, where the correction is large. ``prepare`` puts the correction into
    the learning rate, as the paper does. torch's fused kernel does the rest, with its own correction switched off.

    Args:
        groups, learning_rate, betas: See Moments.
        epsilon: The paper's "epsilon hat".
    """

    def __init__(self, groups: Groups, learning_rate: float, betas: tuple[float, float], epsilon: float) -> None:
        super().__init__(groups, learning_rate, betas, epsilon)
        for group in self.param_groups:
            group["rate"] = learning_rate
        parameters = (parameter for group in self.param_groups for parameter in group["params"])
        device = next((parameter.device for parameter in parameters), None)
        self.correction_off = torch.tensor(BIAS_CORRECTION_OFF, device=device)

    def prepare(self) -> None:
        """Count the step and compute its learning rate with bias correction."""
        for group in self.param_groups:
            first, second = self.betas
            for parameter in group["params"]:
                state = self.remembered(parameter)
                state["step"] = steps_done = float(state["step"]) + 1
            if group["params"]:
                set_number(group, "rate", group["lr"] * sqrt(1 - second**steps_done) / (1 - first**steps_done))

    def no_step(self, parameter: Tensor) -> float:
        return 0.0

    def move(self, parameters: list[Tensor], gradients: list[Tensor], group: ParameterGroup) -> None:
        steps = [self.correction_off] * len(parameters)
        self.kernel(parameters, gradients, steps, lr=group["rate"], weight_decay=group["weight_decay"])


class AdamW(Moments):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019), as in torch."""

    def no_step(self, parameter: Tensor) -> Tensor:
        return torch.zeros((), device=parameter.device)

    def move(self, parameters: list[Tensor], gradients: list[Tensor], group: ParameterGroup) -> None:
        steps = [self.remembered(parameter)["step"] for parameter in parameters]
        decay = group["weight_decay"]
        self.kernel(parameters, gradients, steps, lr=group["lr"], weight_decay=decay, decoupled_weight_decay=True)


class Momentum(Optimizer):
    """Gradient descent with momentum (Polyak, 1964) or Nesterov momentum (Sutskever et al., 2013), as in torch.

    Args:
        groups, learning_rate: See Optimizer.
        momentum: Share of its velocity that a parameter keeps in a step, in [0, 1); 0 means no momentum.
        nesterov: Whether to use Nesterov momentum.
    """

    def __init__(self, groups: Groups, learning_rate: float, momentum: float, *, nesterov: bool) -> None:
        super().__init__(groups, learning_rate)
        self.momentum, self.nesterov = momentum, nesterov

    def move(self, parameters: list[Tensor], gradients: list[Tensor], group: ParameterGroup) -> None:
        sgd(
            parameters,
            gradients,
            [self.velocity(parameter) for parameter in parameters],
            fused=True,
            foreach=False,
            found_inf=self.refused,
            weight_decay=group["weight_decay"],
            momentum=self.momentum,
            lr=group["lr"],
            dampening=0.0,
            nesterov=self.nesterov,
            maximize=False,
        )

    def velocity(self, parameter: Tensor) -> Tensor | None:
        """Return the velocity of a parameter, at first 0; None without momentum."""
        state = self.state[parameter]
        if self.momentum and not state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        return state.get("momentum_buffer")


def set_number(group: ParameterGroup, name: str, value: float) -> None:
    """Set a number of a group; in place if it is a tensor."""
    if isinstance(group[name], Tensor):
        group[name].fill_(value)
    else:
        group[name] = value


def build_optimizer(model: nn.Module, recipe: OptimizerRecipe, factors: Mapping[str, float] | None = None) -> Optimizer:
    """Return the recipe's optimizer over every trainable parameter of ``model``.

    ``factors`` multiply the learning rate of the parameters they name.
    """
    groups = parameter_groups(model, recipe.weight_decay, factors)
    return OPTIMIZERS[recipe.name](groups, recipe)


def parameter_groups(model: nn.Module, weight_decay: float, factors: Mapping[str, float] | None = None) -> Groups:
    """Group the trainable parameters by learning-rate factor and weight decay; only matrices and kernels decay."""
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
    """Return the Euclidean norm of the whole gradient; it is not finite if any part of the gradient is not."""
    return torch.nn.utils.get_total_norm([item.grad for item in model.parameters() if item.grad is not None])


def state_tensors(model: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """Return the optimizer's stored tensors; their names are ``PARAMETER/KEY``."""
    return {
        f"{name}/{key}": torch.as_tensor(value)
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def restore_state(model: nn.Module, optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    """Restore the tensors that ``state_tensors`` returned, each in its parameter's memory layout and on its device."""
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
