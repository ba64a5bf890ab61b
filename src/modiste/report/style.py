"""The style of every figure: sizes, colours, fonts, the format of numbers and names, and how a figure is saved.

The colours are those of Okabe and Ito (2008), which colour-blind readers can distinguish. No figure relies on colour
alone.
"""

import functools
import html
import io
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.textpath import TextPath
from matplotlib.ticker import MaxNLocator, PercentFormatter

from modiste.runs import storage

SPACE = "\N{NO-BREAK SPACE}"


def percent(share: float, digits: int = 2) -> str:
    """Return a share as ``91.32 %``, with a space that no line breaks at."""
    return f"{100 * share:.{digits}f}{SPACE}%"


def shorten(name: str, length: int) -> str:
    """Return ``name``, cut with an ellipsis when it is longer than ``length``."""
    return name if len(name) <= length else name[: length - 1].rstrip() + "…"


def breakable(name: str) -> Markup:
    """Return a name such as ``learning_rate_factor`` as HTML that breaks lines behind its underscores, not in words."""
    return escape(name).replace("_", Markup("_<wbr>"))


def number_of(count: int, noun: str) -> str:
    """Return ``1 image`` or ``2,000 images``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


P = ParamSpec("P")

BLUE, VERMILLION = "#0072b2", "#d55e00"
INK, FAINT, RULE, PAPER = "#1c1c1c", "#5f6368", "#d0d3d6", "#ffffff"
MUTED, PALE_BLUE, PALE_GREEN, PALE_ORANGE = "#e3e5e7", "#b5dcf3", "#a6dccb", "#f5d38c"
ON_LIGHT, ON_DARK = "#111111", "#fdfdfd"
"""Text upon a fill that stays as it is when the page turns dark."""

WIDTH = 5.4
"""Inches: the column of a printed page, and still legible when shrunk to a phone."""
TEXT, SMALL = 9.5, 8.5
"""Points."""
DPI = 300
ENLARGED = 1.36
"""How much larger a figure may be shown on a page, so that it fills the column of text."""

STYLE: dict[Any, Any] = {
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.08,
    "figure.constrained_layout.w_pad": 0.08,
    "figure.facecolor": PAPER,
    "font.family": "sans-serif",
    "font.size": TEXT,
    "text.color": INK,
    "text.parse_math": False,  # a class may be called "$1 to $5"
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.labelsize": TEXT,
    "axes.titlesize": TEXT,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.frameon": False,
    "legend.fontsize": TEXT,
    "lines.linewidth": 1.6,
    "image.composite_image": False,  # each picture stays in its own pixels
    "pdf.fonttype": 42,
    "svg.hashsalt": "modiste",  # the same figure, the same bytes
}
THEMED = {INK: "--ink", FAINT: "--faint", RULE: "--rule", PAPER: "--paper", BLUE: "--accent"}
"""Colours that the page replaces when it turns dark."""
UNDATED: dict[str, dict[str, str | None]] = {
    "svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
    "pdf": {"CreationDate": None},
    "png": {"Software": None},
}


@contextmanager
def house_style() -> Iterator[None]:
    """Set the style for the block, whatever the person's own settings of matplotlib are."""
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # the page's reader has more fonts
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield


def drawn(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Let ``draw`` work in the house style, and lay its figure out before the style is gone."""

    @functools.wraps(draw)
    def styled(*args: P.args, **options: P.kwargs) -> Figure:
        with house_style():
            figure = draw(*args, **options)
            figure.draw_without_rendering()
        return figure

    return styled


def schematic(width: float, height: float) -> tuple[Figure, Axes]:
    """Return a figure whose only axes are invisible and measure in inches from the lower left."""
    figure = Figure(figsize=(width, height))
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    return figure, axes


def fit(text: str, width: float, points: float) -> str:
    """Return ``text`` with each line cut by an ellipsis where it would be wider than ``width`` inches."""
    return "\n".join(_fit_line(line, width, points) for line in text.split("\n"))


def _fit_line(line: str, width: float, points: float) -> str:
    shown, letters = line, len(line)
    while letters > 1 and TextPath((0, 0), shown, size=points).get_extents().width > 72 * width:
        letters -= 1
        shown = shorten(line, letters)
    return shown


def percent_axis(axes: Axes, which: str) -> None:
    """Let the ``x`` or ``y`` axis of shares read in percent, without ticks at halves that would be rounded."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10]))
    axis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))


def save(figure: Figure, path: Path, *, dpi: int = DPI) -> Path:
    """Write a figure as .png, .svg or .pdf, whole or not at all; the same figure gives the same bytes."""
    storage.write_bytes(path, render(figure, path.suffix.removeprefix("."), dpi=dpi))
    return path


def render(figure: Figure, kind: str, *, dpi: int = DPI) -> bytes:
    """Return a figure as the bytes of a ``png``, ``svg`` or ``pdf`` file, without a date."""
    buffer = io.BytesIO()
    with house_style():
        figure.savefig(buffer, format=kind, dpi=dpi, metadata=UNDATED[kind])
    return buffer.getvalue()


def inline_svg(figure: Figure, name: str, title: str, description: str) -> str:
    """Return a figure as an ``<svg>`` element of a page: text as text, colours that follow the page's.

    Args:
        figure: what to show.
        name: unlike any other figure's on the page; every id starts with it.
        title: what the figure is.
        description: what it shows, for those who cannot see it.
    """
    buffer = io.StringIO()
    with house_style(), mpl.rc_context({"svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata=UNDATED["svg"])
    body = buffer.getvalue().partition("<svg")[2].partition(">")[2]
    body = re.sub(r"<style.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", body)
    for colour, variable in THEMED.items():
        body = re.sub(rf": {colour}\b", f": var({variable})", body)
    width, height = figure.get_size_inches() * 72
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" style="max-width: {ENLARGED * width / 72:g}in" role="img" '
        f'aria-labelledby="{name}-title" aria-describedby="{name}-description">'
        f'<title id="{name}-title">{html.escape(title)}</title>'
        f'<desc id="{name}-description">{html.escape(description)}</desc>{body}'
    )
