"""What the systems of related work compute, against slow and plain references."""

from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

from modiste.models.capsnet import attend, route, squash
from modiste.models.dbn import RBM
from modiste.models.dropconnect import DropConnect
from modiste.models.fashionnet import Keypoints
from modiste.models.layers import MaxPool, flatten_maps
from modiste.models.patch_graph import max_relative, nearest_neighbours
from modiste.training.objectives import margin


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Restricted Boltzmann machine: small enough to sum over every state.


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


# Capsules.


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


# DropConnect.


def test_moments_are_those_of_real_masks():
    """The Gaussian of test time stands for the masked sum: the mean activity over 8,000 drawn masks is the same."""
    layer = DropConnect(300, 5, rate=0.3, samples=20_000)
    layer.linear.weight.data.normal_(std=0.1, generator=generator())
    layer.linear.bias.data.normal_(std=0.1, generator=generator(1))
    x = torch.randn(1, 300, generator=generator(3))
    layer.generator = generator(4)
    with torch.no_grad():
        real = layer.train()(x.expand(8_000, -1)).mean(0)
        assert torch.allclose(layer.eval()(x)[0], real, rtol=0.03, atol=0.01)


def test_a_mask_is_fresh_for_every_image_and_follows_the_generator():
    layer = DropConnect(12, 5, rate=0.5, samples=8).train()
    x = torch.ones(2, 12)
    outputs = []
    for _ in range(2):
        layer.generator = generator(5)
        outputs.append(layer(x))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0][0], outputs[0][1])


def test_without_dropping_it_is_a_dense_layer():
    layer = DropConnect(12, 5, rate=0.0, samples=8)
    x = torch.randn(3, 12, generator=generator())
    expected = torch.relu(layer.linear(x))
    assert torch.allclose(layer.train()(x), expected, atol=1e-6)
    assert torch.allclose(layer.eval()(x), expected, atol=1e-6)


# Graphs over patches.


def test_neighbours_are_the_most_similar_by_brute_force():
    nodes = torch.randn(2, 9, 4, generator=generator())
    found = nearest_neighbours(nodes, 3)
    for image, node in product(range(2), range(9)):
        similar = [torch.cosine_similarity(nodes[image, node], other, dim=0).item() for other in nodes[image]]
        expected = sorted(range(9), key=lambda index: -similar[index])[:3]
        assert set(found[image, node].tolist()) == set(expected)
        assert node in found[image, node]


def test_max_relative_and_its_gradient_equal_loops():
    nodes = torch.randn(2, 5, 3, generator=generator()).requires_grad_()
    edges = torch.randint(0, 5, (2, 5, 2), generator=generator())
    ours, slow = max_relative(nodes, edges), torch.zeros(2, 5, 3)
    for image, node, channel in product(range(2), range(5), range(3)):
        differences = [nodes[image, j, channel] - nodes[image, node, channel] for j in set(edges[image, node].tolist())]
        slow[image, node, channel] = torch.stack(differences).max()
    assert torch.allclose(ours, slow)
    weights = torch.randn(2, 5, 3, generator=generator(1))
    gradients = [torch.autograd.grad((result * weights).sum(), nodes, retain_graph=True)[0] for result in (ours, slow)]
    assert torch.allclose(*gradients, atol=1e-6)


# Keypoints.


def test_a_keypoint_lands_on_a_bright_spot():
    finder = Keypoints(1, 1)
    finder.score.weight.data.fill_(50.0)
    maps = torch.zeros(1, 1, 7, 7)
    maps[0, 0, 1, 5] = 1.0
    row, column = finder.locate(maps)[0, 0].tolist()
    assert (row, column) == (pytest.approx(-2 / 3, abs=0.01), pytest.approx(2 / 3, abs=0.01))


# Maps in a row.


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_row_is_what_flatten_gives_and_its_gradient_comes_back_channels_last(layout: torch.memory_format):
    maps = torch.randn(3, 4, 5, 6, generator=generator()).contiguous(memory_format=layout).requires_grad_()
    wanted, weights = maps.flatten(1), torch.randn(3, 120, generator=generator(1))
    assert torch.equal(flatten_maps(maps), wanted)
    with torch.no_grad():
        assert torch.equal(flatten_maps(maps), wanted)
    (found,) = torch.autograd.grad((flatten_maps(maps) * weights).sum(), maps)
    assert torch.equal(found, torch.autograd.grad((wanted * weights).sum(), maps)[0])
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("side", [(28, 28), (7, 7), (6, 5), (2, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_pooling_without_a_gradient_gives_what_it_gives_with_one(
    side: tuple[int, int], dtype: torch.dtype, layout: torch.memory_format
) -> None:
    maps = torch.randn(3, 4, *side, generator=generator()).to(dtype).contiguous(memory_format=layout)
    maps[0] = 0.5  # ties
    learnt, frozen = MaxPool()(maps.requires_grad_()), MaxPool()(maps.detach())
    assert torch.equal(learnt, frozen)
    assert torch.equal(frozen, nn.functional.max_pool2d(maps.detach(), 2))
    assert frozen.is_contiguous(memory_format=layout)


def test_pooling_is_exported_as_pooling() -> None:
    program = torch.export.export(MaxPool(), (torch.zeros(1, 3, 8, 8),))
    assert any("max_pool2d" in str(node.target) for node in program.graph.nodes)
