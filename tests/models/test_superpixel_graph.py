"""What the graph over superpixels computes, against plain loops, and what must hold where a region has no pixel."""

from math import sqrt

import pytest
import torch

from modiste.models import layers, superpixels
from modiste.models.superpixel_graph import GraphAttention, SuperpixelGraph, Superpixels
from modiste.models.superpixels import Graph, describe, join
from modiste.recipes.networks import SuperpixelGraphRecipe


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def attention_layer(channels: int = 6, heads: int = 2) -> GraphAttention:
    layer = GraphAttention(channels, heads)
    layer.initialize(generator())
    torch.nn.init.normal_(layer.bias, generator=generator(1))
    return layer


def random_graph(nodes: int, most: int, images: int = 2) -> Graph:
    """Nodes at random places, of which a third touch."""
    touching = torch.rand(images, nodes, nodes, generator=generator(2)) < 1 / 6
    touching = touching | touching.mT | torch.eye(nodes, dtype=torch.bool)
    return join(touching, torch.rand(images, nodes, 2, generator=generator(3)), most)


def test_a_region_is_joined_to_the_nearest_that_it_touches() -> None:
    touching = torch.rand(2, 9, 9, generator=generator()) < 0.3
    touching = touching | touching.mT | torch.eye(9, dtype=torch.bool)
    places = torch.randn(2, 9, 2, generator=generator(1))
    graph = join(touching, places, 4)
    for image in range(2):
        for node in range(9):
            apart = {j: (places[image, j] - places[image, node]) for j in range(9) if touching[image, node, j]}
            expected = sorted(apart, key=lambda j: apart[j].norm().item())[:4]
            real = graph.touching[image, :, node]
            assert graph.neighbours[image, real, node].tolist() == expected
            assert expected[0] == node
            between = torch.stack([torch.cat([apart[j], apart[j].norm()[None]]) for j in expected])
            torch.testing.assert_close(graph.between[image, real, node], between)
            assert not graph.between[image, ~real, node].any()


def slow_attention(layer: GraphAttention, x: torch.Tensor, graph: Graph) -> torch.Tensor:
    """Velickovic et al. (2018), equations 1 to 5, with a term for the edge, node by node and head by head."""
    results = torch.zeros_like(x)
    heads, share, _ = layer.weight.shape
    for image, node, head in torch.cartesian_prod(*map(torch.arange, (len(x), x.shape[1], heads))).tolist():
        real = graph.touching[image, :, node]
        around, between = graph.neighbours[image, real, node].tolist(), graph.between[image, real, node]
        own = layer.weight[head] @ x[image, node]
        others = [layer.weight[head] @ x[image, j] for j in around]
        towards, of = layer.attention[:, head]
        scores = [
            torch.nn.functional.leaky_relu(towards @ own + of @ other + layer.edge[head] @ edge, 0.2)
            for other, edge in zip(others, between, strict=True)
        ]
        shares = torch.stack(scores).softmax(0)
        mean = sum(a * other for a, other in zip(shares, others, strict=True))
        results[image, node, head * share : (head + 1) * share] = mean + layer.bias[head * share : (head + 1) * share]
    return results


def test_attention_and_its_gradient_equal_loops() -> None:
    layer, graph = attention_layer(), random_graph(7, most=4)
    x = torch.randn(2, 7, 6, generator=generator(4)).requires_grad_()
    results = [layer(x, graph), slow_attention(layer, x, graph)]
    torch.testing.assert_close(*results)
    weights = torch.randn(2, 7, 6, generator=generator(5))
    wanted = (x, *layer.parameters())
    gradients = [torch.autograd.grad((result * weights).sum(), wanted, retain_graph=True) for result in results]
    torch.testing.assert_close(*gradients)


def test_attention_does_not_care_how_regions_are_numbered() -> None:
    layer, graph = attention_layer(), random_graph(7, most=7)
    x = torch.randn(2, 7, 6, generator=generator(4))
    order = torch.randperm(7, generator=generator(6))
    place_of = order.argsort()
    renumbered = Graph(place_of[graph.neighbours[:, :, order]], graph.touching[:, :, order], graph.between[:, :, order])
    torch.testing.assert_close(layer(x[:, order], renumbered), layer(x, graph)[:, order])


def test_a_node_hears_its_neighbours_alone() -> None:
    layer, graph = attention_layer(), random_graph(7, most=7)
    x = torch.randn(1, 7, 6, generator=generator(4)).expand(2, -1, -1)
    for node in range(7):
        changed = x.clone()
        changed[:, node] += 1
        heard = (layer(changed, graph) != layer(x, graph)).any(2)
        joined = ((graph.neighbours == node) & graph.touching).any(1)
        assert torch.equal(heard, joined)


def test_what_is_known_of_a_region_equals_loops() -> None:
    images = torch.randn(2, 3, 9, 14, generator=generator())
    labels = torch.randint(0, 6, (2, 9, 14), generator=generator(1))
    labels[labels == 4] = 3
    known, cell = describe(images, labels, 6), sqrt(9 * 14 / 6 / 12)
    for image in range(2):
        for region in range(6):
            within = labels[image] == region
            if not within.any():
                assert region == 4
                assert not known[image, region].any()
                continue
            values, (rows, columns) = images[image, :, within], within.nonzero().T.float()
            expected = [*values.mean(1), (rows.mean() - 4) / 4.5, (columns.mean() - 6.5) / 7]
            expected += [*values.std(1, correction=0), rows.std(correction=0) / cell, columns.std(correction=0) / cell]
            expected += [within.sum() / (9 * 14 / 6)]
            torch.testing.assert_close(known[image, region], torch.stack(expected), rtol=1e-3, atol=1e-3)


def noise(count: int = 20) -> torch.Tensor:
    return torch.randn(count, 1, 12, 12, generator=generator())


def small_network() -> SuperpixelGraph:
    recipe = SuperpixelGraphRecipe(regions=36, compactness=0.05, channels=8, heads=2, blocks=2)
    network = SuperpixelGraph(recipe, image_shape=(1, 12, 12), classes=3)
    layers.initialize(network, generator())
    return network


def test_regions_without_pixels_count_for_nothing() -> None:
    """Noise and little compactness leave some regions empty; whatever stands in their place changes no logit."""
    network, images = small_network(), noise()
    known, graph = network.read(images)
    empty = known[:, :, -1] == 0
    assert empty.any()
    assert network(images).isfinite().all()
    network(images).square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())
    expected = network.classify(known, graph)
    known[:, :, :-1][empty] = 7.0
    torch.testing.assert_close(network.classify(known, graph), expected)


def test_a_black_image_has_finite_logits_and_gradients() -> None:
    network = small_network()
    logits = network(torch.zeros(2, 1, 12, 12))
    assert logits.isfinite().all()
    logits.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


def test_half_precision_changes_no_region() -> None:
    network, images = Superpixels((6, 6), 0.5, 5), noise()
    expected = network(images)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(network(images), expected)
        known, graph = small_network().read(images)
    exact, exact_graph = small_network().read(images)
    assert torch.equal(known, exact)
    assert all(torch.equal(getattr(graph, name), getattr(exact_graph, name)) for name in vars(graph))


def test_places_are_multiples_of_a_cell_in_images_of_any_shape() -> None:
    """Of a constant image the regions are the grid's cells, here four pixels a side."""
    for height, width in ((12, 12), (8, 24), (24, 8)):
        recipe = SuperpixelGraphRecipe(regions=height * width // 16, channels=8, heads=2, neighbours=5)
        network = SuperpixelGraph(recipe, image_shape=(1, height, width), classes=3)
        _, graph = network.read(torch.full((1, 1, height, width), 0.3))
        beside = graph.between[:, 1:][graph.touching[:, 1:]]
        torch.testing.assert_close(beside[:, 2], torch.ones(len(beside)))
        torch.testing.assert_close(beside[:, :2].abs().sum(1), torch.ones(len(beside)))


@pytest.mark.parametrize("height", [28, 30])
def test_flipped_images_have_flipped_regions(height: int) -> None:
    """Where no pixel lies equally near to two centres: the first of them is taken, and flipping swaps them."""
    images = torch.randn(4, 1, height, 28, generator=generator())
    options = {"grid": (7, 7), "compactness": 0.7, "iterations": 5}
    straight = superpixels.slic(images, **options)
    back = superpixels.slic(images.flip(3), **options).flip(2)
    assert torch.equal(straight, back // 7 * 7 + 6 - back % 7)
