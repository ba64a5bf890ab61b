"""Weights of an ensemble: the best ones, found again, and not flattering where cross-fitted."""

import pytest
import torch
from scipy.optimize import minimize

from modiste.evaluation import metrics
from modiste.evaluation.calibration import fit_temperature
from modiste.evaluation.opinion_pool import cross_fitted, fit_weights, pooled

CLASSES = 4


def networks(count: int, images: int, *, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits of unlike networks, each with more noise than the one before, and the labels."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (images,), generator=draw)
    truth = torch.nn.functional.one_hot(labels, CLASSES).double()
    noise = torch.randn(count, images, CLASSES, generator=draw, dtype=torch.float64)
    return 2 * truth + noise * torch.linspace(1, 4, count, dtype=torch.float64).view(-1, 1, 1), labels


def loss(weights: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor) -> float:
    return metrics.cross_entropy(pooled(weights, logits), labels)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_weights_are_those_of_a_public_optimiser(count: int) -> None:
    logits, labels = networks(count, 400)
    found = fit_weights(logits, labels)
    expected = minimize(
        lambda weights: loss(torch.from_numpy(weights), logits, labels),
        [0.5] * count,
        method="L-BFGS-B",
        bounds=[(0, None)] * count,
        options={"ftol": 1e-15, "gtol": 1e-10},
    )
    torch.testing.assert_close(found, torch.from_numpy(expected.x), rtol=1e-4, atol=1e-5)
    assert loss(found, logits, labels) <= expected.fun + 1e-12


def test_of_one_network_the_weight_is_the_inverse_temperature() -> None:
    logits, labels = networks(1, 500)
    assert fit_weights(logits, labels).item() == pytest.approx(1 / fit_temperature(logits[0], labels), rel=1e-6)


def test_a_network_that_is_wrong_gets_nothing() -> None:
    logits, labels = networks(2, 300)
    weights = fit_weights(torch.cat([logits, -logits[:1]]), labels)
    assert weights[2] == 0
    assert (weights >= 0).all()
    torch.testing.assert_close(weights[:2], fit_weights(logits, labels), rtol=1e-6, atol=1e-8)


def test_if_all_networks_are_wrong_every_class_is_equally_probable() -> None:
    logits, labels = networks(2, 300)
    assert fit_weights(-logits, labels).tolist() == [0.0, 0.0]


def test_equal_networks_share_the_weight_of_one() -> None:
    logits, labels = networks(1, 300)
    twice = fit_weights(logits.expand(2, -1, -1), labels)
    assert twice.sum().item() == pytest.approx(fit_weights(logits, labels).item(), rel=1e-6)


def test_the_order_of_networks_and_a_constant_in_the_logits_do_not_matter() -> None:
    logits, labels = networks(3, 300)
    weights = fit_weights(logits, labels)
    torch.testing.assert_close(fit_weights(logits.flip(0), labels).flip(0), weights, rtol=1e-6, atol=1e-8)
    moved = logits + 1000 * torch.arange(300).view(1, -1, 1)
    torch.testing.assert_close(fit_weights(moved, labels), weights, rtol=1e-6, atol=1e-8)


def test_where_every_image_is_right_the_search_ends() -> None:
    _, labels = networks(1, 50)
    sure = torch.nn.functional.one_hot(labels, CLASSES).double()
    weights = fit_weights(torch.stack([sure, sure]), labels)
    assert torch.isfinite(weights).all()
    assert loss(weights, torch.stack([sure, sure]), labels) < 1e-3


def test_cross_fitted_figures_are_those_of_other_images() -> None:
    """Weights of many useless networks flatter on the images they were fitted to; on the other half they do not."""
    draw = torch.Generator().manual_seed(3)
    logits, labels = networks(2, 200)
    useless = torch.randn(40, 200, CLASSES, generator=draw, dtype=torch.float64)
    many = torch.cat([logits, useless])
    fitted = loss(fit_weights(many, labels), many, labels)
    honest = metrics.cross_entropy(cross_fitted(many, labels), labels)
    few = metrics.cross_entropy(cross_fitted(logits, labels), labels)
    assert fitted < loss(fit_weights(logits, labels), logits, labels) < few < honest


def test_each_image_is_measured_without_its_own_label() -> None:
    logits, labels = networks(3, 60)
    before = cross_fitted(logits, labels)
    changed = logits.clone()
    changed[:, 7] *= 3
    after = cross_fitted(changed, labels)
    fixed = (before == after).all(1)
    assert 20 <= int(fixed.sum()) <= 40, "the images of its own half keep their weights"
    torch.testing.assert_close(after[7], 3 * before[7])
