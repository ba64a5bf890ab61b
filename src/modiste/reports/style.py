"""The style of every figure: colours, sizes, fonts, file formats, and how numbers and names are written.

The colours are those of Okabe and Ito (2008), which colour-blind readers can distinguish. No figure relies on colour
alone.
"""

import functools
import html
import io
import re
import warnings
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.textpath import TextPath
from matplotlib.ticker import FuncFormatter, MaxNLocator

from modiste.runs import storage

P = ParamSpec("P")

BLUE, VERMILLION = "#0072b2", "#d55e00"
INK, FAINT, RULE, PAPER = "#1c1c1c", "#5f6368", "#d0d3d6", "#ffffff"
MUTED, PALE_BLUE, PALE_GREEN, PALE_ORANGE = "#e3e5e7", "#b5dcf3", "#a6dccb", "#f5d38c"
ON_LIGHT, ON_DARK = "#111111", "#fdfdfd"
"""Text on a filled area, whose colour does not change in the page's dark mode."""

WIDTH = 5.4
"""Inches: the column of a printed page. Text stays legible when the figure is shrunk to a phone."""
TEXT, SMALL = 9.5, 8.5
"""Font sizes in points."""
DPI = 300
ENLARGED = 1.36
"""Largest scale at which a page shows a figure, so that it fills the column of text."""

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
"""Colours that become CSS variables in a page, so that its dark mode can replace them."""
UNDATED: dict[str, dict[str, str | None]] = {
    "svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
    "pdf": {"CreationDate": None},
    "png": {"Software": None},
}


@contextmanager
def figure_style() -> Iterator[None]:
    """Apply the style in the block, regardless of the user's own matplotlib settings."""
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # a browser has more fonts
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield


def drawn(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Decorate a drawing function: it runs under ``figure_style``, which also lays its figure out."""

    @functools.wraps(draw)
    def styled(*args: P.args, **options: P.kwargs) -> Figure:
        with figure_style():
            figure = draw(*args, **options)
            figure.draw_without_rendering()
        return figure

    return styled


def schematic(width: float, height: float) -> tuple[Figure, Axes]:
    """Return a figure with one invisible pair of axes, measured in inches from the lower left."""
    figure = Figure(figsize=(width, height))
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    return figure, axes


def percent_axis(axes: Axes, which: str) -> None:
    """Label the ``x`` or ``y`` axis of shares in percent, at steps of 1, 2 or 5; only short axes need decimals."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))


def save(figure: Figure, path: Path, *, dpi: int = DPI) -> Path:
    """Write a figure as .png, .svg or .pdf, atomically; the same figure gives the same bytes."""
    storage.write_bytes(path, render(figure, path.suffix.removeprefix("."), dpi=dpi))
    return path


def render(figure: Figure, kind: str, *, dpi: int = DPI) -> bytes:
    """Return a figure as the bytes of a ``png``, ``svg`` or ``pdf`` file that holds no date."""
    buffer = io.BytesIO()
    with figure_style():
        figure.savefig(buffer, format=kind, dpi=dpi, metadata=UNDATED[kind])
    return buffer.getvalue()


def inline_svg(figure: Figure, name: str, title: str, description: str) -> str:
    """Return a figure as an ``<svg>`` element for a page: its text is text, its colours follow the page's.

    Args:
        figure: The figure.
        name: Prefix of every id in the element; must be unique on the page.
        title: What the figure is.
        description: What the figure shows, for screen readers.
    """
    buffer = io.StringIO()
    with figure_style(), mpl.rc_context({"svg.fonttype": "none"}):
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


SPACE = "\N{NO-BREAK SPACE}"


def percent(share: float, digits: int = 2) -> str:
    """Return a share from 0 to 1 as ``91.32 %``, with a no-break space."""
    return f"{100 * share:.{digits}f}{SPACE}%"


def number_of(count: int, noun: str) -> str:
    """Return ``1 image`` or ``2,000 images``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def breakable(name: str) -> Markup:
    """Return HTML for a name such as ``learning_rate_factor`` that may break after each underscore."""
    return escape(name).replace("_", Markup("_<wbr>"))


def shorten(name: str, length: int) -> str:
    """Return ``name``, cut with an ellipsis if it is longer than ``length`` characters."""
    return name if len(name) <= length else name[: length - 1].rstrip() + "…"


MOST_LETTERS = 200
"""Letters of a line that are measured; no figure is wide enough for more."""


def fit(text: str, width: float, points: float) -> str:
    """Return ``text`` with an ellipsis in each line that would be wider than ``width`` inches."""
    return "\n".join(_fit_line(shorten(line, MOST_LETTERS), width, points) for line in text.split("\n"))


def _fit_line(line: str, width: float, points: float) -> str:
    def is_too_wide(shown: str) -> bool:
        return bool(TextPath((0, 0), shown, size=points).get_extents().width > 72 * width)

    if len(line) <= 1 or not is_too_wide(line):
        return line
    fitting = bisect_left(range(2, len(line)), True, key=lambda letters: is_too_wide(shorten(line, letters)))
    return shorten(line, fitting + 1)
