"""Figures made of pictures: the sample (Figure 4 of the paper), confident mistakes, the commonest confusions."""

from collections.abc import Sequence

from jaxtyping import UInt8
from matplotlib.figure import Figure
from torch import Tensor

from modiste.report.mistakes import Cell, Mistake
from modiste.report.pixels import draw_picture
from modiste.report.style import SMALL, TEXT, WIDTH, drawn, schematic
from modiste.report.wording import number_of, percent, shorten

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
