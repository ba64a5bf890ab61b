"""Metrics as pure functions of logits (N, classes) and labels (N), or of the confusion matrix that they give.

Precision, recall, F1 and support follow scikit-learn's definitions: 0 where nothing was predicted, and their plain mean
is over the classes that some image has as its label or its prediction. A class without images has no figures.
"""

from dataclasses import dataclass
from operator import mul

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor


@dataclass(frozen=True)
class ClassScores:
    """Precision, recall and F1 in [0, 1], None of a class without images; and the number of images."""

    precision: float | None
    recall: float | None
    f1: float | None
    support: int

    @property
    def figures(self) -> tuple[float | None, float | None, float | None]:
        """Precision, recall and F1."""
        return self.precision, self.recall, self.f1


def accuracy(logits: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"]) -> float:
    """Return the share of images whose largest logit is their label's."""
    return top_accuracy(logits, labels, 1)


def top_accuracy(logits: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"], k: int) -> float:
    """Return the share of images whose label is among the ``k`` largest logits; of equal ones the first class wins."""
    largest = logits.argsort(dim=1, descending=True, stable=True)[:, :k]  # as argmax has it: topk breaks ties anyhow
    return int((largest == labels[:, None]).any(dim=1).sum()) / len(labels)


def cross_entropy(logits: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"]) -> float:
    """Return the mean negative log-probability of the label, in nats."""
    return F.cross_entropy(logits.double(), labels).item()


def brier(logits: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"]) -> float:
    """Return the mean squared distance of the probabilities from the truth, 0 to 2 (Brier, 1950)."""
    truth = F.one_hot(labels, logits.shape[1])
    return (logits.double().softmax(1) - truth).square().sum(1).mean().item()


def confusion(logits: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"]) -> Int64[Tensor, "classes classes"]:
    """Count images by label (row) and predicted class (column)."""
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
    """Return the mean over the classes that are an image's label or prediction, each counting the same."""
    return _mean(matrix, (matrix.sum(0) + matrix.sum(1) > 0).long().tolist())


def weighted_mean(matrix: Int64[Tensor, "classes classes"]) -> ClassScores:
    """Return the mean over classes, each counting by its support."""
    return _mean(matrix, matrix.sum(1).tolist())


def _figures(matrix: Int64[Tensor, "classes classes"]) -> list[tuple[float, float, float]]:
    """Return precision, recall and F1 of each class, 0 where they are not defined."""
    hits, predicted, present = matrix.diag().tolist(), matrix.sum(0).tolist(), matrix.sum(1).tolist()
    return [
        (_ratio(hit, guesses), _ratio(hit, truths), _ratio(2 * hit, guesses + truths))
        for hit, guesses, truths in zip(hits, predicted, present, strict=True)
    ]


def _mean(matrix: Int64[Tensor, "classes classes"], weights: list[int]) -> ClassScores:
    columns = zip(*_figures(matrix), strict=True)
    precision, recall, f1 = (sum(map(mul, column, weights)) / sum(weights) for column in columns)
    return ClassScores(precision, recall, f1, int(matrix.sum()))


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
