"""Which images to show: a sample with every class, the mistakes made most confidently, the cells where most lie."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float, Int64
from torch import Tensor

from modiste.evaluation.calibration import confidence_and_prediction


@dataclass(frozen=True)
class Mistake:
    """One image classified wrongly: its position, its label, the class predicted, and how surely, 0 to 1."""

    index: int
    label: int
    predicted: int
    confidence: float


@dataclass(frozen=True)
class Cell:
    """Images of one class taken for one other: how many, the share of their class, and the first few positions."""

    label: int
    predicted: int
    count: int
    share: float
    indices: tuple[int, ...]


def choose_samples(labels: Int64[Tensor, " n"], count: int) -> list[int]:
    """Choose ``count`` positions: the first image of every class in turn, then the second of every class, and so on.

    Every class appears when there are no more classes than ``count``; else the first ``count`` classes do.
    """
    members = [(labels == label).nonzero().squeeze(1)[:count].tolist() for label in sorted(set(labels.tolist()))]
    turns = [positions[turn] for turn in range(count) for positions in members if turn < len(positions)]
    return turns[:count]


def most_confident(logits: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"], count: int) -> list[Mistake]:
    """Return the ``count`` mistakes of highest confidence, the surest first; fewer when there are fewer."""
    confidence, predicted = confidence_and_prediction(logits.double())
    wrong = (predicted != labels).nonzero().squeeze(1)
    surest = wrong[confidence[wrong].argsort(descending=True, stable=True)[:count]].tolist()
    return [Mistake(i, int(labels[i]), int(predicted[i]), float(confidence[i])) for i in surest]


def largest_cells(
    logits: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"], *, cells: int, images: int
) -> Sequence[Cell]:
    """Return the ``cells`` commonest confusions, each with the positions of its first ``images``."""
    predicted = logits.argmax(1)
    pairs = list(zip(labels.tolist(), predicted.tolist(), strict=True))
    positions: dict[tuple[int, int], list[int]] = {}
    for index, (label, guess) in enumerate(pairs):
        if label != guess:
            positions.setdefault((label, guess), []).append(index)
    present = labels.bincount().tolist()
    largest = sorted(positions.items(), key=lambda item: (-len(item[1]), item[0]))[:cells]
    return [
        Cell(label, guess, len(members), len(members) / present[label], tuple(members[:images]))
        for (label, guess), members in largest
    ]
