"""Grids of images for a report: a sample (figure 4 of the paper), confident mistakes, the most frequent confusions."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float, Int64, UInt8
from matplotlib.figure import Figure
from torch import Tensor

from modiste.evaluation.calibration import confidence_and_prediction
from modiste.reports.image_rows import draw_picture
from modiste.reports.style import SMALL, TEXT, WIDTH, drawn, number_of, percent, schematic, shorten

MARGIN, GAP = 0.1, 0.12
"""Inches around a figure and between pictures."""
LINE = 0.145
"""Inches of one line of text beneath a picture."""
SPACING = 0.17
"""Inches between a caption and the pictures beneath it."""


def choose_samples(labels: Int64[Tensor, " n"], count: int) -> list[int]:
    """Return ``count`` positions: the first image of every class in turn, then the second of every class, and so on.

    Every class appears if there are at most ``count`` classes; otherwise the first ``count`` classes do.
    """
    members = [(labels == label).nonzero().squeeze(1)[:count].tolist() for label in sorted(set(labels.tolist()))]
    turns = [positions[turn] for turn in range(count) for positions in members if turn < len(positions)]
    return turns[:count]


@drawn
def sample_grid(
    images: UInt8[Tensor, "n c h w"], labels: Sequence[int], names: Sequence[str], columns: int = 5
) -> Figure:
    """Return a grid of pictures, each with its label and class name beneath it."""
    captions = [[f"{label} {shorten(names[label], 12)}"] for label in labels]
    return _grid(images, captions, columns)


@dataclass(frozen=True)
class Mistake:
    """A misclassified image.

    Attributes:
        index: Its position.
        label: Its class.
        predicted: The predicted class.
        confidence: The probability of the predicted class, from 0 to 1.
    """

    index: int
    label: int
    predicted: int
    confidence: float


def most_confident(logits: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"], count: int) -> list[Mistake]:
    """Return the ``count`` mistakes of highest confidence, highest first; fewer if there are fewer mistakes."""
    confidence, predicted = confidence_and_prediction(logits.double())
    wrong = (predicted != labels).nonzero().squeeze(1)
    chosen = wrong[confidence[wrong].argsort(descending=True, stable=True)[:count]].tolist()
    return [Mistake(i, int(labels[i]), int(predicted[i]), float(confidence[i])) for i in chosen]


@drawn
def mistake_grid(
    images: UInt8[Tensor, "n c h w"], mistakes: Sequence[Mistake], names: Sequence[str], columns: int = 4
) -> Figure:
    """Return a grid of misclassified pictures, each with number, class, predicted class and confidence."""
    captions = [
        [
            f"{item.index}: {shorten(names[item.label], 12)}",
            f"read as {shorten(names[item.predicted], 12)}",
            confidence_text(item),
        ]
        for item in mistakes
    ]
    return _grid(images, captions, columns)


@drawn
def captioned_grid(images: UInt8[Tensor, "n c h w"], captions: Sequence[Sequence[str]], columns: int = 4) -> Figure:
    """Return a grid of pictures, each with its lines of text beneath it, the first of them bold."""
    return _grid(images, captions, columns)


def confidence_text(mistake: Mistake) -> str:
    """Return the confidence, rounded down: ``98.2 % sure``, or ``over 99.9 % sure``."""
    tenths = int(mistake.confidence * 1000)
    return f"over {percent(0.999, 1)} sure" if tenths >= 999 else f"{percent(tenths / 1000, 1)} sure"


def _grid(images: UInt8[Tensor, "n c h w"], captions: Sequence[Sequence[str]], columns: int) -> Figure:
    side = (WIDTH - 2 * MARGIN - (columns - 1) * GAP) / columns
    height = side + LINE * max(map(len, captions)) + SPACING
    rows = -(-len(images) // columns)
    top = MARGIN + rows * height - SPACING + MARGIN / 2
    figure, axes = schematic(WIDTH, top)
    for number, (image, lines) in enumerate(zip(images, captions, strict=True)):
        x = MARGIN + (number % columns) * (side + GAP)
        y = top - MARGIN - (number // columns) * height - side
        draw_picture(axes, image, (x, y), side)
        for line, text in enumerate(lines):
            weight = "normal" if line else "bold"
            axes.text(x + side / 2, y - 0.03 - LINE * line, text, ha="center", va="top", fontsize=SMALL, weight=weight)
    return figure


@dataclass(frozen=True)
class Cell:
    """A cell of the confusion matrix off the diagonal.

    Attributes:
        label: The true class.
        predicted: The predicted class.
        count: Number of images.
        share: Their share of the true class, from 0 to 1.
        indices: Positions of the first few images.
    """

    label: int
    predicted: int
    count: int
    share: float
    indices: tuple[int, ...]


def largest_cells(
    logits: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"], *, cells: int, images: int
) -> Sequence[Cell]:
    """Return the ``cells`` most frequent confusions, each with the positions of its first ``images`` images."""
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


@drawn
def cell_rows(images: Sequence[UInt8[Tensor, "_ c h w"]], cells: Sequence[Cell], names: Sequence[str]) -> Figure:
    """Return a figure with one row for each confusion: both classes, the number of images, and some of them."""
    columns = max(len(row) for row in images)
    side = (WIDTH - 2 * MARGIN) / max(columns, 8) - GAP / 2
    height = side + 0.42
    figure, axes = schematic(WIDTH, height * len(cells) + MARGIN)
    for number, (row, cell) in enumerate(zip(images, cells, strict=True)):
        top = height * (len(cells) - number)
        axes.text(MARGIN, top - 0.12, _describe(cell, names), va="center", fontsize=TEXT)
        for column, image in enumerate(row):
            draw_picture(axes, image, (MARGIN + column * (side + GAP / 2), top - 0.26 - side), side)
    return figure


def _describe(cell: Cell, names: Sequence[str]) -> str:
    label, predicted = shorten(names[cell.label], 16), shorten(names[cell.predicted], 16)
    return f"{label} read as {predicted}: {number_of(cell.count, 'image')}, {percent(cell.share, 1)} of its class"
