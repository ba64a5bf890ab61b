"""What clients were answered, for those who watch the server: its metrics, and the log if there is one."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from modiste.inference.onnx_model import OnnxModel
from modiste.monitoring.answer_log import AnswerLog
from modiste.serving.metrics import Metrics, reason_for
from modiste.serving.schemas import Answer


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
