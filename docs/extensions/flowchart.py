"""Draws Mermaid's flowcharts as SVG when the site is built, so that its pages need no script and no other site.

GitHub draws the same text by itself. Read are ``flowchart TD`` and lines of the form ``box --> box``.
"""

import html
import re
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

ARROW = re.compile(r"\s*([\w.-]+)\s*-->\s*([\w.-]+)\s*")
LETTER, PADDING, HEIGHT = 8.2, 24, 30
"""Pixels of a letter, around a name, and of a box's height."""
GAP, RISE = 26, 44
"""Pixels between boxes of a row, and between rows."""
SWEEPS = 12
"""Passes that bring boxes closer to those that they are linked with."""
STYLE = (
    ".flowchart {max-width: 100%; height: auto; color: var(--color-foreground-primary, #222); font: 14px sans-serif} "
    ".flowchart rect {fill: var(--color-background-secondary, #f8f9fb); stroke: currentColor} "
    ".flowchart text {fill: currentColor; text-anchor: middle} "
    ".flowchart path {fill: none; stroke: var(--color-foreground-muted, #666)} "
    ".flowchart marker path {fill: var(--color-foreground-muted, #666)}"
)
Place = tuple[str, str, int]
"""A box, as (name, name, row); or a point of an arrow that passes a row, as (start, end, row)."""


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive; the setting ``myst_fence_as_directive`` makes fences of this language use it."""
    app.add_directive("mermaid", Mermaid)
    return {"parallel_read_safe": True}


class Mermaid(Directive):
    """A flowchart."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return the drawing; the build fails if it cannot be drawn."""
        try:
            arrows = read_arrows(list(self.content))
        except ValueError as error:
            raise self.error(f"mermaid: {error}") from error
        return [nodes.raw("", drawing(arrows), format="html")]


def read_arrows(lines: Sequence[str]) -> list[tuple[str, str]]:
    """Return the arrows of a flowchart; ValueError for other text, or if arrows form a circle."""
    found = [line for line in lines if line.strip()]
    if not found or found[0].strip() != "flowchart TD":
        raise ValueError(f"expected 'flowchart TD' first, found {found[:1]}; write it so, or add an image")
    matches = [ARROW.fullmatch(line) for line in found[1:]]
    if None in matches:
        raise ValueError(f"expected 'box --> box', found {found[matches.index(None) + 1]!r}; write it so")
    arrows = [(match[1], match[2]) for match in matches if match]
    rows_of(arrows)
    return arrows


def rows_of(arrows: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Return the row of each box, from 0 at the top: one below the lowest of those that point to it."""
    rows = {name: 0 for arrow in arrows for name in arrow}
    for _ in rows:
        lower = [(end, rows[start] + 1) for start, end in arrows if rows[end] <= rows[start]]
        if not lower:
            return rows
        for end, row in lower:
            rows[end] = max(rows[end], row)
    raise ValueError("expected arrows that point downward, found a circle; remove an arrow")


def layout(arrows: Sequence[tuple[str, str]]) -> tuple[dict[Place, float], dict[tuple[str, str], list[Place]]]:
    """Return the middle of every place in pixels, and the places through which each arrow runs.

    An arrow over several rows keeps a place of its own in the rows between, so that it crosses no box.
    """
    rows = rows_of(arrows)
    ways = {
        (start, end): [
            (start, start, rows[start]),
            *((start, end, row) for row in range(rows[start] + 1, rows[end])),
            (end, end, rows[end]),
        ]
        for start, end in arrows
    }
    linked: dict[Place, list[Place]] = defaultdict(list)
    for way in ways.values():
        for upper, lower in pairwise(way):
            linked[upper].append(lower)
            linked[lower].append(upper)
    order = [[place for place in linked if place[2] == row] for row in range(max(rows.values()) + 1)]
    middles: dict[Place, float] = {}
    for row in order:
        middles |= spread(row, [0.0] * len(row))
    for _ in range(SWEEPS):
        for row in [*order, *order[-2::-1]]:
            wanted = {one: sum(middles[other] for other in linked[one]) / len(linked[one]) for one in row}
            row.sort(key=wanted.__getitem__)
            middles |= spread(row, [wanted[place] for place in row])
    left = min(middle - width(place) / 2 for place, middle in middles.items())
    return {place: middle - left for place, middle in middles.items()}, ways


def width(place: Place) -> float:
    """Return the width of a box in pixels; that of an arrow on its way is 0."""
    return LETTER * len(place[0]) + PADDING if place[0] == place[1] else 0.0


def spread(row: Sequence[Place], wanted: Sequence[float]) -> dict[Place, float]:
    """Return middles as near to the wanted ones as the widths allow: least squares, by pooling of neighbours."""
    offsets = [0.0]
    for before, after in pairwise(row):
        offsets.append(offsets[-1] + (width(before) + width(after)) / 2 + GAP)
    pools: list[tuple[float, int]] = []  # the mean shift of neighbours that touch, and their number
    for middle, offset in zip(wanted, offsets, strict=True):
        shift, count = middle - offset, 1
        while pools and pools[-1][0] > shift:
            other, others = pools.pop()
            shift, count = (shift * count + other * others) / (count + others), count + others
        pools.append((shift, count))
    shifts = [shift for shift, count in pools for _ in range(count)]
    return {place: shift + offset for place, shift, offset in zip(row, shifts, offsets, strict=True)}


def drawing(arrows: Sequence[tuple[str, str]]) -> str:
    """Return the SVG of a flowchart."""
    middles, ways = layout(arrows)
    right = max(middle + width(place) / 2 for place, middle in middles.items())
    bottom = max(place[2] for place in middles) * (HEIGHT + RISE) + HEIGHT
    words = "; ".join(f"{start} to {end}" for start, end in arrows)
    paths = [f'<path d="{path(way, middles)}" marker-end="url(#arrowhead)"/>' for way in ways.values()]
    boxes = [box(place, middle) for place, middle in middles.items() if place[0] == place[1]]
    return "\n".join(
        [
            f'<svg class="flowchart" role="img" viewBox="-1 -1 {right + 2:.0f} {bottom + 2}" width="{right + 2:.0f}" '
            f'xmlns="http://www.w3.org/2000/svg"><title>Flowchart</title><desc>{html.escape(words)}</desc>',
            f"<style>{STYLE}</style>",
            '<marker id="arrowhead" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
            '<path d="M0 0 8 4 0 8z"/></marker>',
            *paths,
            *boxes,
            "</svg>",
        ]
    )


def box(place: Place, middle: float) -> str:
    """Return the SVG of a box with its name."""
    left, top = middle - width(place) / 2, place[2] * (HEIGHT + RISE)
    return (
        f'<rect x="{left:.1f}" y="{top}" width="{width(place):.1f}" height="{HEIGHT}" rx="4"/>'
        f'<text x="{middle:.1f}" y="{top + HEIGHT / 2 + 5:.0f}">{html.escape(place[0])}</text>'
    )


def path(way: Sequence[Place], middles: dict[Place, float]) -> str:
    """Return the curve of an arrow: from below its first box, through its places, to the top of its last box."""
    x, y = middles[way[0]], way[0][2] * (HEIGHT + RISE) + HEIGHT
    parts = [f"M{x:.1f} {y}"]
    for number, place in enumerate(way[1:], start=1):
        end, top = middles[place], place[2] * (HEIGHT + RISE)
        parts.append(f"C{x:.1f} {y + RISE / 2:.0f} {end:.1f} {top - RISE / 2:.0f} {end:.1f} {top}")
        x, y = end, top + HEIGHT
        if number < len(way) - 1:
            parts.append(f"V{y}")
    return " ".join(parts)
