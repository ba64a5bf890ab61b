"""The metrics of a server for Prometheus: its requests, and what the model answers.

Classes, confidence and novelty of answers show whether the pictures change after the model was deployed; see
``modiste.monitoring`` for a test of that.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SIZES = (1, 2, 4, 8, 16, 32, 64)
CONFIDENCES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999, 1.0)
NOVELTIES = (0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
"""Upper ends of the histograms' bins: of seconds, images in a batch, largest probabilities, and novelty scores."""
REASONS = (
    ("expected base64", "not base64"),
    ("not a readable image", "not an image"),
    ("the file is empty", "empty"),
    ("the image is damaged", "damaged"),
    ("nothing stands out", "nothing found"),
    ("the network gives no finite", "no finite answer"),
    ("cannot be read", "unreadable"),
    ("expected an image of", "wrong size"),
    ("unsupported kind", "unsupported"),
    ("camera raw", "unsupported"),
    ("the TIFF has compression", "unsupported"),
    ("needs", "unsupported"),
    ("takes more than", "too complex"),
    ("the image has", "too complex"),
    ("the file has", "too large"),
    ("million pixels", "too large"),
    ("the image is", "wrong shape"),
)
"""Reasons why a picture gets no answer, each after words of its message; the first that fits counts.

Messages hold numbers and other details, and a metric must not have a value for each of them.
"""
OTHER = "other"


def reason_for(fault: str) -> str:
    """Return the kind of a picture's fault, for a metric with few values.

    >>> reason_for("the image is damaged (its end is missing)")
    'damaged'
    """
    return next((reason for words, reason in REASONS if words in fault), OTHER)


class Metrics:
    """The counters of one server, in a registry of their own: two servers in one process share none.

    Args:
        class_names: Class names of the model.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        own = CollectorRegistry()
        self.registry = own
        self.requests = Counter("modiste_requests", "Requests answered.", ("route", "status"), registry=own)
        self.seconds = Histogram(
            "modiste_request_seconds", "From head to answer.", ("route",), buckets=SECONDS, registry=own
        )
        self.batch = Histogram("modiste_batch_images", "Images computed together.", buckets=SIZES, registry=own)
        self.pictures = Counter("modiste_pictures", "Pictures seen.", ("outcome",), registry=own)
        self.faults = Counter("modiste_picture_faults", "Pictures without an answer.", ("reason",), registry=own)
        self.at_work = Gauge("modiste_requests_at_work", "Requests at work or waiting.", registry=own)
        self.logged = Counter("modiste_logged_answers", "Answers for the log.", ("outcome",), registry=own)
        self.answers = AnswerMetrics(class_names)
        own.register(self.answers)
        for reason in dict.fromkeys([*(reason for _, reason in REASONS), OTHER]):
            self.faults.labels(reason)  # a series that begins at 0 has a rate from the first fault on

    def text(self) -> bytes:
        """Return all counters in Prometheus' text format."""
        return generate_latest(self.registry)


class AnswerMetrics:
    """Counts of the model's answers: by class, of none of the classes, histograms of confidence and of novelty.

    Many images are counted in one step; the client library's own histogram takes one value at a time.

    Args:
        class_names: Class names of the model.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self.class_names = tuple(class_names)
        self._classes = np.zeros(len(class_names), np.int64)
        self._none = 0
        self._confidence, self._novelty = _Bins(CONFIDENCES), _Bins(NOVELTIES)

    def add(self, probabilities: Float[np.ndarray, "n classes"], novelty: Float[np.ndarray, " n"] | None) -> None:
        """Count answers.

        Args:
            probabilities: Probabilities of each class, finite.
            novelty: Scores; above 1 the image shows none of the classes. None if the model has no detector.
        """
        self._classes += np.bincount(probabilities.argmax(1), minlength=len(self.class_names))
        self._confidence.add(probabilities.max(1).clip(max=1))
        if novelty is not None:
            self._novelty.add(novelty)
            self._none += int((novelty > 1).sum())

    def collect(self) -> Iterator[Any]:
        """Yield the metrics, as the client library asks for them."""
        classes = CounterMetricFamily("modiste_answers", "Answers by their most probable class.", labels=["class"])
        for name, count in zip(self.class_names, self._classes.tolist(), strict=True):
            classes.add_metric([name], count)
        yield classes
        yield CounterMetricFamily("modiste_none_of_the_classes", "Answers with a novelty above 1.", value=self._none)
        yield self._confidence.metric("modiste_confidence", "Largest probability of each answer.")
        yield self._novelty.metric("modiste_novelty", "Novelty score of each answer.")


class _Bins:
    """A histogram with these upper ends, and one more bin above the last."""

    def __init__(self, ends: Sequence[float]) -> None:
        self.ends, self.counts, self.sum = np.array(ends), np.zeros(len(ends) + 1, np.int64), 0.0

    def add(self, values: Float[np.ndarray, " n"]) -> None:
        self.counts += np.bincount(np.searchsorted(self.ends, values), minlength=len(self.counts))
        self.sum += float(values.sum())

    def metric(self, name: str, about: str) -> HistogramMetricFamily:
        names: Iterable[str] = [*map(str, self.ends.tolist()), "+Inf"]
        buckets = list(zip(names, self.counts.cumsum().tolist(), strict=True))
        return HistogramMetricFamily(name, about, buckets=buckets, sum_value=self.sum)
