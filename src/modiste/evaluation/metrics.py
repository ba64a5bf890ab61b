"""Metrics as pure functions of logits (N, classes) and labels (N), or of the confusion matrix that they give.

Precision, recall, F1 and support follow scikit-learn's definitions, 0 where nothing was predicted or present.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor


@dataclass(frozen=True)
class ClassScores:
    """Precision, recall and F1 in [0, 1], and the number of images."""

    precision: float
    recall: float
    f1: float
    support: int


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
    hits, predicted, present = matrix.diag().tolist(), matrix.sum(0).tolist(), matrix.sum(1).tolist()
    return [
        ClassScores(_ratio(hit, guesses), _ratio(hit, truths), _ratio(2 * hit, guesses + truths), truths)
        for hit, guesses, truths in zip(hits, predicted, present, strict=True)
    ]


def macro_mean(scores: list[ClassScores]) -> ClassScores:
    """Return the mean over classes, each counting the same."""
    return _mean(scores, [1] * len(scores))


def weighted_mean(scores: list[ClassScores]) -> ClassScores:
    """Return the mean over classes, each counting by its support."""
    return _mean(scores, [score.support for score in scores])


def _mean(scores: list[ClassScores], weights: list[int]) -> ClassScores:
    def mean(values: list[float]) -> float:
        return sum(value * weight for value, weight in zip(values, weights, strict=True)) / sum(weights)

    return ClassScores(
        precision=mean([score.precision for score in scores]),
        recall=mean([score.recall for score in scores]),
        f1=mean([score.f1 for score in scores]),
        support=sum(score.support for score in scores),
    )


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
