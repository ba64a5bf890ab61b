"""The logarithmic opinion pool: one prediction from several networks, with a weight for each that validation fits.

The pool's logits are the weighted sum of the networks' logits, so its probabilities are the normalised product of
theirs, each to the power of its weight (Genest and Zidek, 1986; Heskes, 1998). Weights are not negative. Their sum is
free: it is the inverse temperature of the pool, which is therefore calibrated as well. The cross-entropy of the pool is
convex in the weights; that of a mean of probabilities is too, but such a mean of calibrated networks is underconfident
(Ranjan and Gneiting, 2010).
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from modiste.data.dataset import rank_within_class

MOST_STEPS = 200
"""Limit of Newton's method, which usually needs about eight steps."""
PRECISION = 1e-9
"""The search ends when no weight can lower the loss by more than this, in nats for each unit of the weight."""
RIDGE = 1e-9
"""Added to the curvature, as a share of its trace: two equal networks leave it singular."""
LEAST_STEP = 1e-10
SUFFICIENT = 1e-4
"""Share of the decrease that the slope promises, which a step must reach (Armijo, 1966)."""

Logits = Float[Tensor, "runs n k"]
Weights = Float[Tensor, " runs"]


def pooled(weights: Weights, logits: Logits) -> Float[Tensor, "n k"]:
    """Return the logits of the pool, in float64.

    >>> pooled(torch.tensor([2.0, 0.5]), torch.tensor([[[1.0, 0.0]], [[0.0, 4.0]]])).tolist()
    [[2.0, 2.0]]
    """
    return torch.einsum("r,rnk->nk", weights.double(), logits.double())


def fit_weights(logits: Logits, labels: Int64[Tensor, " n"]) -> Weights:
    """Return the weights that minimise the mean cross-entropy of the pool, in float64; none is negative.

    The method is Newton's on the weights that are free, those at the bound of 0 being held there (projected Newton;
    Bertsekas, 1982). It is deterministic. Networks that do not help get exactly 0.

    If every image is classified correctly, no finite weights are optimal, and the search ends after MOST_STEPS.

    Args:
        logits: Logits of each network for images that it was not trained on.
        labels: Labels of these images.
    """
    scores = logits.double() - logits.double().mean(2, keepdim=True)  # softmax is the same, and sums are more precise
    weights = torch.full((len(scores),), 1 / len(scores), dtype=torch.float64)
    for _ in range(MOST_STEPS):
        slope, curvature = _derivatives(weights, scores, labels)
        free = (weights > 0) | (slope < 0)
        if not free.any() or slope[free].abs().max() <= PRECISION:
            break
        weights, before = _stepped(weights, _direction(slope, curvature, free), slope, scores, labels), weights
        if weights.equal(before):
            break
    return weights


def cross_fitted(logits: Logits, labels: Int64[Tensor, " n"]) -> Float[Tensor, "n k"]:
    """Return the pool's logits of each image with weights that were fitted to the other half of the images.

    The images of each class are divided in half. Measured on these logits, a pool is not flattered by the fit.

    Args:
        logits: Logits of each network.
        labels: Labels of the images.
    """
    second, found = rank_within_class(labels, "opinion pool") % 2 == 1, torch.empty(logits.shape[1:]).double()
    for half in (second, ~second):
        found[half] = pooled(fit_weights(logits[:, ~half], labels[~half]), logits[:, half])
    return found


def _loss(weights: Weights, scores: Logits, labels: Int64[Tensor, " n"]) -> float:
    return torch.nn.functional.cross_entropy(pooled(weights, scores), labels).item()


def _derivatives(
    weights: Weights, scores: Logits, labels: Int64[Tensor, " n"]
) -> tuple[Weights, Float[Tensor, "runs runs"]]:
    """Return slope and curvature of the loss: means of (expected score - score of the label), and of covariances."""
    probabilities = pooled(weights, scores).softmax(1)
    expected = torch.einsum("nk,rnk->rn", probabilities, scores)
    right = scores.gather(2, labels.view(1, -1, 1).expand(len(scores), -1, 1))[..., 0]
    away = scores - expected[..., None]
    return (expected - right).mean(1), torch.einsum("nk,rnk,snk->rs", probabilities, away, away) / len(labels)


def _direction(slope: Weights, curvature: Float[Tensor, "runs runs"], free: Tensor) -> Weights:
    """Return Newton's step for the weights that are free, 0 for the others."""
    some = curvature[free][:, free]
    ridge = (RIDGE * some.trace() + torch.finfo(torch.float64).tiny) * torch.eye(len(some), dtype=torch.float64)
    step = torch.zeros_like(slope)
    step[free] = -torch.linalg.solve(some + ridge, slope[free])
    return step


def _stepped(
    weights: Weights, direction: Weights, slope: Weights, scores: Logits, labels: Int64[Tensor, " n"]
) -> Weights:
    """Return the weights after the longest step, halved as needed, that lowers the loss enough; else the same ones."""
    before, length = _loss(weights, scores, labels), 1.0
    while length > LEAST_STEP:
        ahead = (weights + length * direction).clamp(min=0)
        if _loss(ahead, scores, labels) <= before + SUFFICIENT * (slope @ (ahead - weights)).item():
            return ahead
        length /= 2
    return weights
