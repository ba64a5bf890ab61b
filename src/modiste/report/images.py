"""The images of a report: the sample (figure 4 of the paper), confident errors, the most frequent confusions."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float, Int64, UInt8
from matplotlib.figure import Figure
from torch import Tensor

from modiste.evaluation.calibration import confidence_and_prediction
from modiste.report.image_rows import draw_picture
from modiste.report.style import SMALL, TEXT, WIDTH, drawn, number_of, percent, schematic, shorten


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


MARGIN = 0.1
GAP = 0.12
LINE = 0.145
"""Inches of one line of text beneath a picture."""
SPACING = 0.17
"""Inches between a caption and the pictures beneath it."""


@drawn
def sample_grid(
    images: UInt8[Tensor, "n c h w"], labels: Sequence[int], names: Sequence[str], columns: int = 5
) -> Figure:
    """Draw pictures in rows, each with its label and class name beneath it."""
    captions = [[f"{label} {shorten(names[label], 12)}"] for label in labels]
    return _grid(images, captions, columns)


@drawn
def mistake_grid(
    images: UInt8[Tensor, "n c h w"], mistakes: Sequence[Mistake], names: Sequence[str], columns: int = 4
) -> Figure:
    """Draw wrongly classified pictures, each with its class, the class predicted and the confidence."""
    captions = [
        [f"is {shorten(names[item.label], 15)}", f"read as {shorten(names[item.predicted], 12)}", sureness(item)]
        for item in mistakes
    ]
    return _grid(images, captions, columns)


@drawn
def cell_rows(images: Sequence[UInt8[Tensor, "_ c h w"]], cells: Sequence[Cell], names: Sequence[str]) -> Figure:
    """Draw one row for each confusion: which class was taken for which, how often, and some of the pictures."""
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


def sureness(mistake: Mistake) -> str:
    """Return the confidence, never rounded up to certainty."""
    tenths = int(mistake.confidence * 1000)
    return f"over {percent(0.999, 1)} sure" if tenths >= 999 else f"{percent(tenths / 1000, 1)} sure"


def _describe(cell: Cell, names: Sequence[str]) -> str:
    label, predicted = shorten(names[cell.label], 16), shorten(names[cell.predicted], 16)
    return f"{label} read as {predicted}: {number_of(cell.count, 'image')}, {percent(cell.share, 1)} of its class"


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
