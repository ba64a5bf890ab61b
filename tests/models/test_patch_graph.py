"""Graphs over patches against brute force and loops."""

from itertools import product

import torch

from modiste.models.patch_graph import max_relative, nearest_neighbours


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_neighbours_are_the_most_similar_by_brute_force():
    nodes = torch.randn(2, 9, 4, generator=generator())
    found = nearest_neighbours(nodes, 3)
    for image, node in product(range(2), range(9)):
        similar = [torch.cosine_similarity(nodes[image, node], other, dim=0).item() for other in nodes[image]]
        expected = sorted(range(9), key=lambda index: -similar[index])[:3]
        assert set(found[image, node].tolist()) == set(expected)
        assert node in found[image, node]


def test_neighbours_are_found_in_float32_where_the_network_computes_in_bfloat16():
    nodes = torch.randn(4, 49, 16, generator=generator())
    with torch.autocast("cpu", torch.bfloat16):
        found = nearest_neighbours(nodes, 9)
    assert torch.equal(found, nearest_neighbours(nodes, 9))


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
