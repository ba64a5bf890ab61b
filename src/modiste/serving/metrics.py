"""The metrics of a server for Prometheus: its requests, and what the model answers, which it may also log.

Classes, confidence and novelty of answers show whether the pictures change after the model was deployed; see
``modiste.monitoring`` for a test of that.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

from modiste.inference.onnx_model import OnnxModel
from modiste.monitoring.answer_log import AnswerLog
from modiste.serving.schemas import Answer

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
    ("the image holds fractions", "unsupported"),
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


class Watch:
    """Counts and logs every answer.

    Args:
        model: That answers.
        metrics: Metrics of the server.
        log: Folder of the log; None for no log.
        warn: Called with a line if the log cannot be written while the server runs.

    Raises:
        StorageError: The log cannot be written.
    """

    def __init__(self, model: OnnxModel, metrics: Metrics, log: Path | None, warn: Callable[[str], object]) -> None:
        self.class_names, self.metrics = model.class_names, metrics
        self.log = None if log is None else AnswerLog(log, model, warn=warn, count=self._count)

    def see_answers(self, answers: Sequence[Answer]) -> None:
        """Count and log the answers for pictures; those that could not be read are counted by their reason."""
        for answer in answers:
            self.metrics.pictures.labels(_outcome(answer)).inc()
            if answer.fault is not None:
                self.metrics.faults.labels(reason_for(answer.fault)).inc()
        given = [answer for answer in answers if answer.fault is None]
        if given:
            rows = np.array([[answer.probabilities[name] for name in self.class_names] for answer in given])
            scores = [answer.novelty for answer in given if answer.novelty is not None]
            self._see(rows, np.array(scores) if len(scores) == len(given) else None)

    def see_outputs(self, outputs: Mapping[str, np.ndarray]) -> None:
        """Count and log the outputs of the network for images that a client prepared, where they are finite."""
        probabilities, novelty = outputs["probabilities"], outputs.get("novelty")
        finite = np.isfinite(probabilities).all(1)
        if novelty is not None:
            finite &= np.isfinite(novelty)
        if finite.any():
            self._see(probabilities[finite], None if novelty is None else novelty[finite])

    def close(self) -> None:
        """Write what waits to be logged."""
        if self.log is not None:
            self.log.close()

    def _see(self, probabilities: Float[np.ndarray, "n classes"], novelty: Float[np.ndarray, " n"] | None) -> None:
        self.metrics.answers.add(probabilities, novelty)
        if self.log is not None:
            self.log.add(probabilities, novelty)

    def _count(self, outcome: str, number: int) -> None:
        self.metrics.logged.labels(outcome).inc(number)


def _outcome(answer: Answer) -> str:
    """Return the label under which an answer is counted."""
    if answer.fault is not None:
        return "fault"
    return "none of the classes" if answer.none_of_the_classes else "answered"
