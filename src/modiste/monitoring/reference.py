"""What a model answers where nothing has drifted: the distribution of its answers on validation images, in short.

``modiste export`` stores it in the ONNX file. A test of drift needs counts by class, and quantiles of confidence and
novelty: about ten kilobytes.
"""

import json
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float, Int64

from modiste.errors import RunError
from modiste.inference.classifier import Scores
from modiste.inference.onnx_model import OnnxModel
from modiste.monitoring.answer_log import LoggedAnswers

KEY = "answers"
"""Of the ONNX file's metadata, whose value is the reference as JSON."""
QUANTILES = 500
"""Most numbers kept of a distribution: distances between distributions are then right to 0.001."""
DIGITS = 6
"""Significant digits of these numbers, as of those in a log."""
MOST_IMAGES = 10**9


@dataclass(frozen=True)
class Reference:
    """The distribution of a model's answers on images of one kind.

    Attributes:
        images: Number of images, 1 or more.
        classes: How many of them have each class as the most probable one.
        confidence: Ascending quantiles of the largest probability, evenly spaced; all values if they are few.
        novelty: The same of the novelty score; None if the model has no detector.
    """

    images: int
    classes: tuple[int, ...]
    confidence: tuple[float, ...]
    novelty: tuple[float, ...] | None

    @classmethod
    def of_scores(cls, scores: Scores) -> "Reference":
        """Return the distribution of a classifier's answers."""
        shares = scores.probabilities
        return cls.of(shares.argmax(1), shares.max(1), scores.novelty, shares.shape[1])

    @classmethod
    def of_log(cls, answers: LoggedAnswers, classes: int) -> "Reference":
        """Return the distribution of logged answers, to compare later ones with them."""
        return cls.of(answers.classes, answers.confidence, answers.novelty, classes)

    @classmethod
    def of(
        cls,
        labels: Int64[np.ndarray, " n"],
        confidence: Float[np.ndarray, " n"],
        novelty: Float[np.ndarray, " n"] | None,
        classes: int,
    ) -> "Reference":
        """Return the distribution of answers that are given as columns; see the attributes of ``LoggedAnswers``."""
        counts = tuple(np.bincount(labels, minlength=classes).tolist())
        return cls(len(labels), counts, _quantiles(confidence), None if novelty is None else _quantiles(novelty))

    def as_plain(self) -> dict[str, Any]:
        """Return the distribution as JSON values."""
        return {
            "images": self.images,
            "classes": list(self.classes),
            "confidence": list(self.confidence),
            "novelty": None if self.novelty is None else list(self.novelty),
        }


def of_model(model: OnnxModel, name: str) -> Reference:
    """Return the distribution that a file holds.

    Args:
        model: Model of the file.
        name: Name of the file, for messages.

    Raises:
        RunError: An earlier version wrote the file, without the distribution; or it is damaged.
    """
    if KEY not in model.metadata:
        raise RunError(
            f"{name}: holds no distribution of its answers on validation, an earlier version wrote it; "
            "export the run again: modiste export RUN"
        )
    try:
        found = _from_plain(json.loads(model.metadata[KEY]), len(model.class_names), "novelty" in model.outputs)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunError(
            f"{name}: its answers on validation are damaged; export the run again: modiste export RUN"
        ) from error
    return found


def _quantiles(values: Float[np.ndarray, " n"]) -> tuple[float, ...]:
    """Return the values in order if they are few, else the middles of as many equal parts, each as it occurs."""
    ordered = np.sort(values.astype(np.float64))
    places = np.arange(len(ordered))
    if len(ordered) > QUANTILES:
        places = ((np.arange(QUANTILES) + 0.5) * len(ordered) / QUANTILES).astype(np.int64)
    return tuple(float(f"{one:.{DIGITS}g}") for one in ordered[places].tolist())


def _from_plain(plain: Any, classes: int, has_novelty: bool) -> Reference:
    """Return the distribution that ``as_plain`` gave; ValueError, KeyError or TypeError if it is none."""
    images, counts, confidence, novelty = (plain[name] for name in ("images", "classes", "confidence", "novelty"))
    whole = all(type(one) is int and 0 <= one <= MOST_IMAGES for one in [images, *counts])
    if not whole or len(counts) != classes or sum(counts) != images or images < 1:
        raise ValueError("counts")
    if (novelty is not None) != has_novelty:
        raise ValueError("novelty")
    for one in [confidence] if novelty is None else [confidence, novelty]:
        if len(one) != min(images, QUANTILES) or not all(type(value) is float and 0 <= value < np.inf for value in one):
            raise ValueError("quantiles")
        if any(low > high for low, high in pairwise(one)):
            raise ValueError("order of quantiles")
    return Reference(images, tuple(counts), tuple(confidence), None if novelty is None else tuple(novelty))
