"""Conformal prediction: sets of classes that hold the label with a stated probability.

Images that no network was trained on set a threshold for a score of each class (split conformal prediction; Vovk,
Gammerman and Shafer, 2005). For further images of the same kind, the set of all classes up to that threshold holds the
label with at least the stated probability, whatever the network. The promise is about the average over images. It does
not hold for pictures of another kind.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, inf, lgamma

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from modiste import machine
from modiste.evaluation.calibration import fit_temperature
from modiste.evaluation.coverage import COVERAGES, CoverageTable, check_coverage
from modiste.runs.run_folder import Run

Probabilities = Float[Tensor, "n classes"]


def least_ambiguous_scores(probabilities: Probabilities) -> Probabilities:
    """Return 1 - probability of each class: the smallest sets on average (Sadinle, Lei and Wasserman, 2019)."""
    return 1 - probabilities


def adaptive_scores(probabilities: Probabilities, draw: torch.Generator) -> Probabilities:
    """Return the probability of all more probable classes, and a random part of the class's own.

    Sets by this score are larger for hard images (adaptive prediction sets; Romano, Sesia and Candès, 2020).

    Args:
        probabilities: Probabilities of each class.
        draw: Draws the random parts, one for each image.
    """
    ordered, order = probabilities.sort(dim=1, descending=True, stable=True)
    part = torch.rand(len(ordered), 1, generator=draw, dtype=torch.float64)
    up_to = ordered.cumsum(1) - (1 - part) * ordered
    return torch.empty_like(up_to).scatter_(1, order, up_to)


def threshold(scores: Float[Tensor, " n"], coverage: float) -> float:
    """Return the score up to which a class belongs to the set; infinity if there are too few images to say.

    Args:
        scores: Scores of the label of each calibration image.
        coverage: Probability with which the set shall hold the label, between 0 and 1.

    Raises:
        RecipeError: The coverage is out of range.

    Example:
        >>> threshold(torch.arange(1.0, 10.0), 0.8)
        8.0
    """
    check_coverage(coverage)
    rank = _rank(len(scores), coverage)
    return inf if rank > len(scores) else scores.sort().values[rank - 1].item()


def _rank(calibration: int, coverage: float) -> int:
    """Return the rank of the threshold among the scores of calibration images, the smallest first, from 1."""
    return max(1, ceil(round((calibration + 1) * coverage, 9)))  # 0.95 has no exact binary form


def expected_interval(calibration: int, images: int, coverage: float) -> tuple[float, float]:
    """Return where 95 % or a little more of the measured coverages lie if the promise holds, 0 to 1.

    The number of covered images has a beta-binomial law, whatever the network and the images, as long as no two scores
    are equal (Vovk, 2012; Angelopoulos and Bates, 2021). The law counts two uncertainties: which images set the
    threshold, and which were measured. It is also that of random divisions of one set of images, which are independent
    of each other: ranks alone matter, and they are as random as in new images.

    Args:
        calibration: Number of images that set the threshold.
        images: Number of images that were measured, at least 1.
        coverage: That was stated.

    Example:
        >>> expected_interval(5000, 5000, 0.95)
        (0.9412, 0.9582)
    """
    rank = _rank(calibration, coverage)
    if rank > calibration:
        return 1.0, 1.0
    covered, total = torch.arange(images + 1, dtype=torch.float64), calibration + 1
    ways = -(covered + 1).lgamma() - (images - covered + 1).lgamma()
    chances = ways + (covered + rank).lgamma() + (images - covered + total - rank).lgamma()
    constant = lgamma(images + 1) + lgamma(total) - lgamma(rank) - lgamma(total - rank) - lgamma(images + total)
    up_to = (chances + constant).exp().cumsum(0)
    low, high = (int((up_to < share).sum()) / images for share in (0.025, 0.975))
    return low, high


@dataclass(frozen=True)
class Method:
    """A way to score classes.

    Attributes:
        scores: Scores of all classes, from probabilities and a generator for random parts.
        about: What it is for.
    """

    scores: Callable[[Probabilities, torch.Generator], Probabilities]
    about: str


METHODS: dict[str, Method] = {
    "least ambiguous": Method(lambda probabilities, _: least_ambiguous_scores(probabilities), "smallest on average"),
    "adaptive": Method(adaptive_scores, "larger for hard images"),
}


def prediction_sets(
    calibration: tuple[Float[Tensor, "m classes"], Int64[Tensor, " m"]],
    logits: Float[Tensor, "n classes"],
    coverage: float,
    method: str,
    seed: int = 0,
) -> Bool[Tensor, "n classes"]:
    """Return which classes belong to the set of each image.

    Args:
        calibration: Logits and labels of images that the network was not trained on; they set the temperature too.
        logits: Logits of the images.
        coverage: Probability with which a set shall hold the label, between 0 and 1.
        method: A key of METHODS.
        seed: Seed of random parts.

    Raises:
        RecipeError: The coverage is out of range.
    """
    known, labels = calibration
    temperature, scores = fit_temperature(known, labels), METHODS[method].scores
    draw = machine.generator(seed, "conformal")
    own = scores((known.double() / temperature).softmax(1), draw)
    limit = threshold(own.gather(1, labels[:, None])[:, 0], coverage)
    return scores((logits.double() / temperature).softmax(1), draw) <= limit


def least_probability_of(run: Run, coverage: float) -> float:
    """Return ``least_probability`` by the validation images of a run, whose logits it keeps.

    Raises:
        RecipeError: The coverage is out of range.
        RunError: The run's validation logits are damaged.
    """
    known = run.measured()
    return least_probability(known.logits, known.labels, coverage)


def least_probability(logits: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"], coverage: float) -> float:
    """Return the calibrated probability from which on a class belongs to the least ambiguous set.

    Args:
        logits: Logits of calibration images.
        labels: Labels of these.
        coverage: See ``threshold``.

    Raises:
        RecipeError: The coverage is out of range.
    """
    probabilities = (logits.double() / fit_temperature(logits, labels)).softmax(1)
    return 1 - threshold(_scores_of_labels(probabilities, labels), coverage)


def coverage_table(probabilities: Probabilities, labels: Int64[Tensor, " n"]) -> CoverageTable:
    """Return the least probability of a class in the least ambiguous set, for every one of COVERAGES.

    It is 0 where there are too few images to say.

    Args:
        probabilities: Probabilities of the calibration images. The probabilities of which sets are made later are
            calibrated in the same way.
        labels: Labels of these images.
    """
    scores = _scores_of_labels(probabilities.double(), labels)
    return CoverageTable(COVERAGES, tuple(max(0.0, 1 - threshold(scores, coverage)) for coverage in COVERAGES))


def _scores_of_labels(probabilities: Probabilities, labels: Int64[Tensor, " n"]) -> Float[Tensor, " n"]:
    return least_ambiguous_scores(probabilities.gather(1, labels[:, None]))[:, 0]
