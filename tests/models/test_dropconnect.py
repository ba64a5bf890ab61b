"""DropConnect against real masks, and without dropping against a dense layer."""

import pytest
import torch

from modiste.models.dropconnect import DropConnect


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


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
    for training in (True, False):
        layer.zero_grad()
        layer.train(training)(x).sum().backward()
        assert layer.linear.weight.grad is not None
        assert layer.linear.weight.grad.isfinite().all()
        assert layer.linear.weight.grad.any()


def test_a_rate_of_less_than_a_byte_can_hold_drops_nothing():
    layer = DropConnect(12, 5, rate=0.001, samples=8)
    x = torch.randn(3, 12, generator=generator()).requires_grad_()
    for training in (True, False):
        found = layer.train(training)(x)
        assert torch.equal(found, torch.relu(layer.linear(x)))
        assert torch.autograd.grad(found.sum(), x)[0].isfinite().all()


@pytest.mark.parametrize(("rate", "kept"), [(0.5, 128), (0.7, 77), (0.99, 3), (0.995, 1), (0.999, 1)])
def test_evaluation_assumes_the_rate_that_training_draws(rate: float, kept: int):
    """Masks are drawn from bytes: the share of weights kept is a multiple of 1/256, and never 0."""
    layer = DropConnect(1, 1, rate=rate, samples=8)
    torch.nn.init.ones_(layer.linear.weight)
    torch.nn.init.zeros_(layer.linear.bias)
    layer.generator = generator(5)
    share, count = kept / 256, 200_000
    drawn = layer._mask(count, 1, 1).float().mean().item()
    assert abs(drawn - share) < 6 * (share * (1 - share) / count) ** 0.5
    mean, variance = layer.moments(torch.ones(1, 1))
    assert mean.item() == share
    assert variance.item() == share * (1 - share)
