"""Answers of a model of four classes, drawn at random, with and without drift."""

import numpy as np

from modiste.monitoring.answer_log import LoggedAnswers
from modiste.monitoring.reference import Reference

NAMES = ("<b>coat</b>", "bag", "boot", "hat")


def answers(number: int, seed: int, *, lower: float = 0.0, higher: float = 0.0, bags: float = 0.25) -> LoggedAnswers:
    """Drawn answers: confidence and novelty of usual shapes, moved by a number."""
    random = np.random.default_rng(seed)
    shares = [bags if name == "bag" else (1 - bags) / 3 for name in NAMES]
    confidence = (1 - random.beta(0.5, 6, number) - lower).clip(0.25, 1).round(6)
    novelty = random.gamma(4, 0.1, number) + higher
    return LoggedAnswers(random.choice(4, number, p=shares), confidence, novelty, ("2026-11-23", "2026-11-29"))


def reference(seed: int, number: int = 3000) -> Reference:
    return Reference.of_log(answers(number, seed), 4)
