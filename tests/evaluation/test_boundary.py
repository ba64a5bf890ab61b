"""The plane against scikit-learn's logistic regression, and heights brought to one scale."""

import pytest
import torch
from sklearn.linear_model import LogisticRegression

from modiste.evaluation.out_of_distribution import boundary
from modiste.evaluation.out_of_distribution.boundary import separate


@pytest.fixture(scope="module")
def two_clouds() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    inside = torch.randn(600, 3, generator=generator) * torch.tensor([1.0, 20.0, 0.1])
    return inside, torch.randn(200, 3, generator=generator) * torch.tensor([1.0, 20.0, 0.1]) + torch.tensor([2, 0, 0.1])


def test_the_plane_is_that_of_logistic_regression(two_clouds: tuple[torch.Tensor, torch.Tensor]) -> None:
    inside, outside = two_clouds
    found = separate(inside, outside)
    scaled = ((torch.cat(two_clouds).double() - found.centre) / found.spread).clamp(-8, 8).numpy()
    labels, shares = [0] * 600 + [1] * 200, [1 / 600] * 600 + [1 / 200] * 200
    reference = LogisticRegression(C=1 / (2 * boundary.DECAY), tol=1e-9, max_iter=10_000)
    reference.fit(scaled, labels, sample_weight=shares)
    assert found.weights.tolist() == pytest.approx(reference.coef_[0].tolist(), rel=1e-3, abs=1e-3)
    assert found.heights(outside).numpy() == pytest.approx(
        reference.decision_function(scaled)[600:], rel=1e-2, abs=1e-2
    )


def test_standardised_heights_have_mean_zero_and_deviation_one(two_clouds: tuple[torch.Tensor, torch.Tensor]) -> None:
    plane = separate(*two_clouds)
    heights = plane.standardised(two_clouds[0]).heights(two_clouds[0])
    assert heights.mean().item() == pytest.approx(0, abs=1e-9)
    assert heights.std(correction=0).item() == pytest.approx(1)
    order = plane.heights(two_clouds[1]).argsort()
    assert torch.equal(plane.standardised(two_clouds[0]).heights(two_clouds[1]).argsort(), order)


def test_one_feature_far_out_outweighs_nothing(two_clouds: tuple[torch.Tensor, torch.Tensor]) -> None:
    plane = separate(*two_clouds)
    far, farther = torch.tensor([[0.0, 1e4, 0.0]]), torch.tensor([[0.0, 1e9, 0.0]])
    assert torch.equal(plane.heights(far), plane.heights(farther))
