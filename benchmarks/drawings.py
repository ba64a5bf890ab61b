"""Drawings as people make them on the page's sheet, generated: silhouettes of the ten classes, and nonsense.

One dark pen on a light sheet, as ``serving/page/page.js`` has them. No drawing is of a real hand: outlines
waver, shapes are filled whole or by going to and fro, and lie larger, smaller, turned or mirrored.
"""

import io
from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
from PIL import Image, ImageDraw

SIDE, FINER = 420, 2
"""Pixels of the sheet, and how many times finer it is drawn on before it is reduced, for soft edges."""
SHEET, INK = (253, 253, 253), (32, 36, 42)
PENS, FILLING_PENS = (10.0, 50.0), (8.0, 26.0)
"""Widths of the pen in pixels, and of one that fills a shape; the page's own starts at 30."""
STYLES = ("solid", "to and fro", "outline")

Random = np.random.Generator

HALVES = {
    "T-shirt/top": (
        "50,20 38,15 20,22 6,42 18,50 28,42 28,86 50,86",
        "50,34 40,26 38,12 30,12 30,34 24,42 26,88 50,88",
    ),
    "Trouser": (
        "50,10 32,10 28,92 44,92 50,36",
        "50,10 34,10 26,92 42,92 50,28",
    ),
    "Pullover": (
        "50,18 38,14 22,20 12,50 8,84 20,86 30,48 30,88 50,88",
        "50,18 38,14 24,20 4,70 14,78 30,46 30,86 50,86",
    ),
    "Dress": (
        "50,20 42,8 38,8 38,34 41,44 28,92 50,92",
        "50,16 40,10 28,16 22,36 32,40 38,32 40,46 28,92 50,92",
    ),
    "Coat": (
        "50,14 38,10 22,17 10,74 22,78 29,46 26,94 50,94",
        "50,16 40,8 32,14 20,20 12,56 10,78 22,80 28,50 24,94 50,94",
    ),
    "Shirt": (
        "50,20 42,10 34,14 20,20 8,44 19,50 28,42 28,88 50,88",
        "50,20 42,10 34,14 22,20 12,52 8,80 19,82 30,46 29,90 50,90",
    ),
}
"""Left halves of symmetric garments, from the middle of the neck to that of the hem; a sheet has 100 units a side."""
WHOLES = {
    "Sandal": (
        ("6,76 30,70 60,66 94,58 94,66 62,76 8,83", "16,74 32,54 46,69"),
        ("6,80 34,74 62,60 92,46 94,84 88,84 84,60 56,76 8,88", "18,78 34,58 46,70"),
    ),
    "Sneaker": (
        ("6,68 8,60 24,56 44,44 54,34 64,38 74,36 92,32 95,56 95,76 6,76", ""),
        ("5,70 10,58 30,52 50,40 60,44 90,40 94,74 5,76", ""),
    ),
    "Bag": (
        ("14,40 86,40 90,86 10,86", "30,40 36,20 50,13 64,20 70,40"),
        ("12,44 88,44 92,62 80,88 20,88 8,62", "20,44 34,18 66,18 80,44"),
    ),
    "Ankle boot": (
        ("8,72 12,62 30,58 48,48 50,14 84,14 88,50 92,84 78,84 76,77 54,82 8,84", ""),
        ("6,80 12,68 34,62 50,48 52,18 82,16 90,56 90,90 82,90 80,70 52,84 6,86", ""),
    ),
}
"""Outlines of the others, shoes to the left, each with a strap or handle, which is one stroke of the pen; or none."""
SIGNS = {
    "1": ("35,25 52,10 52,90",),
    "2": ("30,28 40,12 60,12 70,28 64,44 30,88 72,88",),
    "3": ("30,16 52,10 68,24 62,42 46,48 66,56 70,76 52,90 28,84",),
    "4": ("62,90 62,10 28,62 78,62",),
    "5": ("68,12 36,12 32,44 58,42 70,60 62,84 30,86",),
    "7": ("28,12 72,12 44,90",),
    "8": ("50,48 32,36 36,14 62,12 68,34 34,62 32,82 54,92 70,78 66,58 50,48",),
    "A": (
        "24,90 50,10 76,90",
        "34,62 66,62",
    ),
    "B": ("30,10 30,90 62,84 66,62 32,48 62,40 58,14 30,10",),
    "E": (
        "70,12 30,12 30,88 70,88",
        "30,50 62,50",
    ),
    "K": (
        "30,10 30,90",
        "70,10 32,50 72,90",
    ),
    "M": ("22,90 26,12 50,60 74,12 78,90",),
    "R": ("30,90 30,10 62,14 66,40 30,50 72,90",),
    "S": ("70,22 52,10 32,22 38,44 64,56 68,78 48,90 28,80",),
    "X": (
        "26,12 74,88",
        "74,12 26,88",
    ),
    "Z": ("28,12 72,12 28,88 74,88",),
}
"""Digits and letters as strokes of the pen."""
THINGS = {
    "house": (
        "20,90 20,46 50,14 80,46 80,90 20,90",
        "44,90 44,64 58,64 58,90",
    ),
    "star": ("50,8 62,88 10,38 90,38 38,88 50,8",),
    "tree": (
        "50,94 50,60",
        "50,60 26,56 20,34 40,12 64,14 80,36 72,56 50,60",
    ),
    "stick figure": (
        "50,34 50,64 34,92",
        "50,64 66,92",
        "28,50 72,46",
        "50,34 42,22 50,12 58,22 50,34",
    ),
    "fish": (
        "10,50 36,30 66,40 90,26 88,74 66,58 36,70 10,50",
        "28,46 30,48",
    ),
}
"""Other things as strokes of the pen."""


class Sheet:
    """A sheet with a pen. Places are in units, of which the sheet has 100 a side."""

    def __init__(self, pen: float) -> None:
        self.image = Image.new("RGB", (SIDE * FINER, SIDE * FINER), SHEET)
        self.draw, self.width, self.pen = ImageDraw.Draw(self.image), pen * FINER, pen * 100 / SIDE

    def stroke(self, points: np.ndarray) -> None:
        """Draw a line through the points with a round pen."""
        places, half = points * self.image.width / 100, self.width / 2
        self.draw.line([tuple(one) for one in places], INK, round(self.width), joint="curve")
        for x, y in places:
            self.draw.ellipse((x - half, y - half, x + half, y + half), INK)

    def fill(self, points: np.ndarray) -> None:
        """Fill an outline."""
        self.draw.polygon([tuple(one) for one in points * self.image.width / 100], INK)

    def file(self) -> bytes:
        """Return the sheet as the bytes of a PNG."""
        content = io.BytesIO()
        self.image.resize((SIDE, SIDE), Image.Resampling.BOX).save(content, "PNG", compress_level=1)
        return content.getvalue()


def garment(label: str, style: str, random: Random) -> bytes:
    """Return a drawn silhouette as the bytes of a PNG.

    Args:
        label: Name of a class.
        style: One of STYLES: filled whole, filled by going to and fro with the pen, or not filled.
        random: Draws its form, place, pen and wavering.
    """
    outline, strap = _form(label, random)
    place, sheet = (
        _placement(random, mirrored=random.random() < 0.3),
        Sheet(random.uniform(*(PENS if style == "outline" else FILLING_PENS))),
    )
    around = place(_closed(_wavering(_closed(outline), random)))
    if style == "solid":
        sheet.fill(around)
    if style == "to and fro":
        for line in _to_and_fro(around, sheet.pen * random.uniform(0.6, 1.1)):
            sheet.stroke(line)
    if style != "solid":
        sheet.stroke(around)
    if len(strap):
        sheet.stroke(place(_wavering(strap, random)))
    return sheet.file()


def sign(names: str, random: Random) -> bytes:
    """Return a drawn digit or letter, one of ``names``, as the bytes of a PNG."""
    return _strokes(map(_points, SIGNS[names[random.integers(len(names))]]), random)


def thing(random: Random) -> bytes:
    """Return a drawn house, star, tree, stick figure or fish as the bytes of a PNG."""
    return _strokes(map(_points, list(THINGS.values())[random.integers(len(THINGS))]), random)


def face(random: Random) -> bytes:
    """Return a drawn face, not filled, as the bytes of a PNG."""
    angles = np.linspace(0, 2 * np.pi, 25)
    head = np.stack([50 + 36 * np.sin(angles), 50 + 42 * np.cos(angles)], axis=1)
    rest = map(_points, ("36,40 36,43", "64,40 64,43", "50,48 46,60", "34,68 50,76 66,68"))
    return _strokes((head, *rest), random, most=24)


def scribble(random: Random) -> bytes:
    """Return one to four aimless strokes as the bytes of a PNG."""
    sheet = Sheet(random.uniform(*PENS))
    for _ in range(random.integers(1, 5)):
        turns = np.cumsum(random.normal(0, 0.5, random.integers(8, 60))) + random.uniform(0, 2 * np.pi)
        steps = np.stack([np.cos(turns), np.sin(turns)], axis=1) * random.uniform(3, 9)
        line = random.uniform(20, 80, 2) + np.cumsum(steps, axis=0)
        sheet.stroke(line[(abs(line - 50) < 47).all(axis=1)])
    return sheet.file()


NONSENSE: dict[str, Callable[[Random], bytes]] = {
    "scribbles": scribble,
    "digits": partial(sign, "1234578"),
    "letters": partial(sign, "ABEKMRSXZ"),
    "faces": face,
    "things": thing,
}


def _form(label: str, random: Random) -> tuple[np.ndarray, np.ndarray]:
    """Return outline and strap of a garment, its corners moved by chance; the strap may be empty."""
    if label in HALVES:
        half = _points(HALVES[label][random.integers(len(HALVES[label]))])
        outline, strap = np.concatenate([half, half[-2:0:-1] * (-1, 1) + (100, 0)]), _points("")
    else:
        outline, strap = map(_points, WHOLES[label][random.integers(len(WHOLES[label]))])
    return outline + random.normal(0, 1.5, outline.shape), strap


def _points(text: str) -> np.ndarray:
    """Return the points of a table's line, "x,y x,y ...", as rows."""
    return np.array([one.split(",") for one in text.split()], float).reshape(-1, 2)


def _strokes(strokes: Iterable[np.ndarray], random: Random, most: float = PENS[1]) -> bytes:
    place, sheet = _placement(random, mirrored=False), Sheet(random.uniform(PENS[0], most))
    for one in strokes:
        sheet.stroke(place(_wavering(one, random)))
    return sheet.file()


def _placement(random: Random, *, mirrored: bool) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function that turns, scales and shifts points, and keeps them on the sheet."""
    angle, scale = np.radians(random.uniform(-8, 8)), random.uniform(0.5, 0.9)
    aspect, shift = np.array([random.uniform(0.85, 1.18), 1]), random.uniform(-5, 5, 2)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    flip = np.array([-1 if mirrored else 1, 1])

    def place(points: np.ndarray) -> np.ndarray:
        placed: np.ndarray = ((points - 50) * aspect * flip * scale) @ turn + 50 + shift
        return placed.clip(5, 95)

    return place


def _closed(points: np.ndarray) -> np.ndarray:
    return np.concatenate([points, points[:1]])


def _wavering(points: np.ndarray, random: Random) -> np.ndarray:
    """Return more points on the same line, moved as by a hand that is not steady."""
    lengths = np.hypot(*np.diff(points, axis=0).T)
    along = np.concatenate([[0], np.cumsum(lengths)])
    places = np.linspace(0, along[-1], max(3, int(along[-1] / 3)))
    line = np.stack([np.interp(places, along, points[:, axis]) for axis in (0, 1)], axis=1)
    noise = random.normal(0, 1, (len(line) + 4, 2))
    smooth = sum(noise[start : start + len(line)] for start in range(5)) / 5**0.5
    return line + random.uniform(0.2, 0.9) * smooth


def _to_and_fro(outline: np.ndarray, pitch: float) -> list[np.ndarray]:
    """Return strokes from edge to edge of an outline, ``pitch`` apart."""
    lines = []
    for y in np.arange(outline[:, 1].min() + pitch / 2, outline[:, 1].max(), pitch):
        first, second = outline[:-1], outline[1:]
        crosses = (first[:, 1] <= y) != (second[:, 1] <= y)
        share = (y - first[crosses, 1]) / (second[crosses, 1] - first[crosses, 1])
        xs = np.sort(first[crosses, 0] + share * (second[crosses, 0] - first[crosses, 0]))
        lines += [np.array([(left, y), (right, y)]) for left, right in zip(xs[::2], xs[1::2], strict=True)]
    return lines
