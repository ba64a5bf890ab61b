"""Capsules against the equations of their papers, written with loops."""

from itertools import product

import numpy as np
import pytest
import torch

from modiste.models.capsnet import attend, route, squash
from modiste.training.objectives import margin


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def slow_route(votes: np.ndarray, iterations: int) -> np.ndarray:
    """Procedure 1 of the paper with loops over one image's capsules."""
    lower, upper, size = votes.shape
    logits = np.zeros((lower, upper))
    for iteration in range(iterations):
        outputs = np.zeros((upper, size))
        for j in range(upper):
            for i in range(lower):
                outputs[j] += np.exp(logits[i, j]) / np.exp(logits[i]).sum() * votes[i, j]
            square = (outputs[j] ** 2).sum()
            outputs[j] *= square / (1 + square) / np.sqrt(square)
        if iteration < iterations - 1:
            for i, j in product(range(lower), range(upper)):
                logits[i, j] += votes[i, j] @ outputs[j]
    return outputs


@pytest.mark.parametrize("iterations", [1, 2, 3])
def test_routing_equals_the_procedure_with_loops(iterations):
    draws = generator()
    lower = torch.randn(2, 6, 5, generator=draws, dtype=torch.float64)
    weights = torch.randn(6, 3, 4, 5, generator=draws, dtype=torch.float64)
    votes = torch.einsum("ijde,nie->nijd", weights, lower)
    ours = route(lower, weights, iterations)
    for image, outputs in zip(votes, ours, strict=True):
        np.testing.assert_allclose(outputs, slow_route(image.numpy(), iterations), atol=1e-8)


def test_gradients_flow_through_every_round():
    """As finite differences of the procedure with loops have them."""
    draws = generator(1)
    lower = torch.randn(1, 6, 5, generator=draws, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(6, 3, 4, 5, generator=draws, dtype=torch.float64, requires_grad=True)
    directions = [torch.randn(known.shape, generator=draws, dtype=torch.float64) for known in (lower, weights)]
    gradients = torch.autograd.grad(route(lower, weights, 3).sum(), (lower, weights))

    def outputs_at(distance: float) -> float:
        parts, matrix = (
            known.detach() + distance * along for known, along in zip((lower, weights), directions, strict=True)
        )
        return slow_route(torch.einsum("ijde,ie->ijd", matrix, parts[0]).numpy(), 3).sum()

    slope = (outputs_at(1e-5) - outputs_at(-1e-5)) / 2e-5
    ours = sum((gradient * along).sum() for gradient, along in zip(gradients, directions, strict=True))
    assert ours == pytest.approx(slope, rel=1e-6)


def test_attention_equals_the_equations_with_loops():
    draws = generator()
    votes = torch.randn(2, 5, 3, 4, generator=draws, dtype=torch.float64)
    prior = torch.randn(5, 3, generator=draws, dtype=torch.float64)
    ours = attend(votes, prior)
    for n, j in product(range(2), range(3)):
        vector = torch.zeros(4, dtype=torch.float64)
        for i in range(5):
            scores = [sum(votes[n, i, k] @ votes[n, m, k] for m in range(5)) / 4**0.5 for k in range(3)]
            share = torch.stack(scores).softmax(0)[j] + prior[i, j]
            vector += share * votes[n, i, j]
        square = vector.square().sum()
        assert torch.allclose(ours[n, j], vector * square / (1 + square) / square.sqrt(), atol=1e-8)


def test_squash_keeps_direction_and_bounds_length():
    vectors = torch.randn(100, 8, generator=generator()) * 10
    squashed = squash(vectors)
    assert torch.allclose(torch.cosine_similarity(vectors, squashed), torch.ones(100), atol=1e-5)
    assert squashed.norm(dim=1).max() < 1


def test_margin_equals_the_equation_with_loops():
    lengths = torch.rand(7, 4, generator=generator())
    targets = torch.eye(4)[torch.tensor([0, 1, 2, 3, 0, 1, 2])]
    total = 0.0
    for image, k in product(range(7), range(4)):
        t, v = targets[image, k].item(), lengths[image, k].item()
        total += t * max(0, 0.9 - v) ** 2 + 0.5 * (1 - t) * max(0, v - 0.1) ** 2
    assert margin(lengths, targets).item() == pytest.approx(total / 7, rel=1e-5)
