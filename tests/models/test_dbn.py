"""Restricted Boltzmann machines small enough to sum over every state."""

from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

from modiste.models.dbn import RBM


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small_machine(visible: int = 5, hidden: int = 3, seed: int = 0) -> RBM:
    layer = nn.Linear(visible, hidden)
    machine = RBM(layer)
    for tensor in (machine.weight, machine.visible_bias, machine.hidden_bias):
        tensor.normal_(0, 0.5, generator=generator(seed))
    return machine


def states(units: int) -> torch.Tensor:
    return torch.tensor(list(product((0.0, 1.0), repeat=units)))


def energy(machine: RBM, visible: torch.Tensor, hidden: torch.Tensor) -> float:
    return -float(hidden @ machine.weight @ visible + visible @ machine.visible_bias + hidden @ machine.hidden_bias)


def log_likelihood(machine: RBM, data: torch.Tensor) -> float:
    partition = torch.logsumexp(-machine.free_energy(states(5)), 0)
    return float((-machine.free_energy(data) - partition).mean())


def test_free_energy_sums_the_hidden_states_out():
    machine = small_machine()
    for visible in states(5):
        total = sum(np.exp(-energy(machine, visible, hidden)) for hidden in states(3))
        assert machine.free_energy(visible[None]).item() == pytest.approx(-np.log(total), abs=1e-5)


def exact_gradient(machine: RBM, data: torch.Tensor) -> torch.Tensor:
    """Gradient of the mean log-likelihood for the weights: data minus model expectation of h v'."""
    everything = states(5)
    share = torch.softmax(-machine.free_energy(everything), 0)
    model = (machine.hidden(everything) * share[:, None]).T @ everything
    return machine.hidden(data).T @ data / len(data) - model


def test_long_chains_approach_the_exact_gradient():
    """Up to what the last layer's being left as probabilities costs (Hinton, 2010, section 3.2)."""
    machine = small_machine()
    data = states(5)[[3, 7, 12, 30]].repeat(5000, 1)
    (weight, _, _), _ = machine.gradient(data, 50, generator(1))
    assert torch.allclose(weight, exact_gradient(machine, data), atol=0.04)


def test_one_step_points_where_the_exact_gradient_points():
    data = states(5)[[3, 7, 12, 30]].repeat(5000, 1)
    for seed in range(5):
        machine = small_machine(seed=seed)
        (weight, _, _), _ = machine.gradient(data, 1, generator(seed))
        exact = exact_gradient(machine, data)
        clear = exact.abs() > 0.05
        assert (weight.sign() == exact.sign())[clear].float().mean() > 0.8
        assert torch.cosine_similarity(weight.flatten(), exact.flatten(), dim=0) > 0.7


def test_contrastive_divergence_raises_the_exact_likelihood():
    machine = small_machine()
    data = states(5)[[3, 7, 12, 30]]
    before, draws = log_likelihood(machine, data), generator(2)
    for _ in range(1500):
        slopes, _ = machine.gradient(data.repeat(10, 1), 1, draws)
        for tensor, slope in zip((machine.weight, machine.visible_bias, machine.hidden_bias), slopes, strict=True):
            tensor.add_(slope, alpha=0.1)
    after = log_likelihood(machine, data)
    assert after > before + 1
    assert after > -2.0  # four equally likely patterns: at best -log 4 = -1.386
