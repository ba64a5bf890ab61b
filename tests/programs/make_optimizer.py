"""Minimise by an optimizer of torch's; then add to its parameters. Print after each whether the compiler is loaded."""

import sys

import torch

from modiste.compat import without_compiler

weight = torch.ones(1, requires_grad=True)
with without_compiler():
    optimizer = torch.optim.LBFGS([weight])


def loss() -> torch.Tensor:
    weight.grad = None
    value = weight.square().sum()
    value.backward()  # type: ignore[no-untyped-call]
    return value


optimizer.step(loss)  # type: ignore[no-untyped-call]
assert abs(weight.item()) < 1e-3
print("torch._dynamo" in sys.modules)
optimizer.add_param_group({"params": [torch.ones(1, requires_grad=True)]})
print("torch._dynamo" in sys.modules)
