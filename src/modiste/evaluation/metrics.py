"""Metrics: pure functions of logits (N, classes) and labels (N), or of their confusion matrix.

Precision, recall, F1 and support are defined as in scikit-learn. A ratio without a denominator is 0. The macro mean is
over the classes that appear as a label or a prediction. A class without images has no precision, recall or F1 of its
own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

LEAST = 1e-300
"""The least mean probability whose logarithm is taken; logits are finite."""


@dataclass(frozen=True)
class ClassScores:
    """Precision, recall and F1, each 0 to 1 or None for a class without images; and the number of images."""

    precision: float | None
    recall: float | None
    f1: float | None
    support: int

    @property
    def figures(self) -> tuple[float | None, float | None, float | None]:
        """Precision, recall and F1."""
        return self.precision, self.recall, self.f1


def accuracy(logits: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"]) -> float:
    """Return the share of images whose label has the largest logit.

    >>> accuracy(torch.tensor([[2.0, 1.0], [0.0, 3.0], [1.0, 0.0]]), torch.tensor([0, 1, 1]))
    0.6666666666666666
    """
    return top_accuracy(logits, labels, 1)


def top_accuracy(logits: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"], k: int) -> float:
    """Return the share of images whose label is among the ``k`` largest logits; the first class wins a tie."""
    largest = logits.argsort(dim=1, descending=True, stable=True)[:, :k]  # topk would break ties in any order
    return int((largest == labels[:, None]).any(dim=1).sum()) / len(labels)


def cross_entropy(logits: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"]) -> float:
    """Return the mean of the negative log-probability of each image's label, in nats."""
    return F.cross_entropy(logits.double(), labels).item()


def brier(logits: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"]) -> float:
    """Return the mean squared distance of the probabilities from the one-hot labels, 0 to 2 (Brier, 1950)."""
    truth = F.one_hot(labels, logits.shape[1])
    return (logits.double().softmax(1) - truth).square().sum(1).mean().item()


def confusion(logits: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"]) -> Int64[Tensor, "classes classes"]:
    """Return the confusion matrix: the number of images by label (row) and predicted class (column)."""
    classes = logits.shape[1]
    return torch.bincount(labels * classes + logits.argmax(1), minlength=classes**2).view(classes, classes)


def class_scores(matrix: Int64[Tensor, "classes classes"]) -> list[ClassScores]:
    """Return each class's scores from the confusion matrix."""
    rows, present = _figures(matrix), matrix.sum(1).tolist()
    return [
        ClassScores(precision, recall, f1, count) if count else ClassScores(None, None, None, 0)
        for (precision, recall, f1), count in zip(rows, present, strict=True)
    ]


def macro_mean(matrix: Int64[Tensor, "classes classes"]) -> ClassScores:
    """Return the plain mean over the classes that appear as a label or a prediction."""
    return _mean(matrix, (matrix.sum(0) + matrix.sum(1) > 0).long().tolist())


def weighted_mean(matrix: Int64[Tensor, "classes classes"]) -> ClassScores:
    """Return the mean over classes, weighted by support."""
    return _mean(matrix, matrix.sum(1).tolist())


def _figures(matrix: Int64[Tensor, "classes classes"]) -> list[tuple[float, float, float]]:
    """Return precision, recall and F1 of each class; 0 where one is not defined."""
    hits, predicted, present = matrix.diag().tolist(), matrix.sum(0).tolist(), matrix.sum(1).tolist()
    return [
        (_ratio(hit, guesses), _ratio(hit, truths), _ratio(2 * hit, guesses + truths))
        for hit, guesses, truths in zip(hits, predicted, present, strict=True)
    ]


def _mean(matrix: Int64[Tensor, "classes classes"], weights: list[int]) -> ClassScores:
    """Return the weighted mean of the classes' scores."""
    columns = zip(*_figures(matrix), strict=True)
    precision, recall, f1 = (sum(map(mul, column, weights)) / sum(weights) for column in columns)
    return ClassScores(precision, recall, f1, int(matrix.sum()))


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def mean_probabilities(logits: Sequence[Float[Tensor, "n classes"]]) -> Float[Tensor, "n classes"]:
    """Return the mean over networks of the probabilities that their logits give, in float64."""
    return torch.stack([one.double().softmax(1) for one in logits]).mean(0)


def ensemble_logits(logits: Sequence[Float[Tensor, "n classes"]]) -> Float[Tensor, "n classes"]:
    """Return the logarithm of the mean over networks of their probabilities, in float64."""
    return mean_probabilities(logits).clamp_min(LEAST).log()
