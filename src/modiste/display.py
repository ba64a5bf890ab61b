"""Objects that show themselves: as a short table of text at a Python prompt, as an HTML table in a notebook."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from modiste.errors import NAME_LETTERS, printable

GAP = "  "
TABLE_STYLE = "width:auto;margin-left:0;font-variant-numeric:tabular-nums"
CELL_STYLE = "padding:0.25em 0.75em;text-align:"


@dataclass(frozen=True)
class Table:
    """What an object shows of itself.

    Attributes:
        title: One line above the rows.
        rows: The cells of each row, as text.
        header: Header of the columns; empty for rows of a name and a value.
        notes: Lines beneath the rows.
        figure: A picture beneath the table in a notebook, as an SVG document; empty for none.
    """

    title: str
    rows: Sequence[Sequence[str]]
    header: Sequence[str] = ()
    notes: Sequence[str] = ()
    figure: str = field(default="", repr=False)

    def as_text(self) -> str:
        """Return the table as lines, its columns aligned: the first to the left, others to the right under a header."""
        lines = [
            [printable(cell, NAME_LETTERS) for cell in row]
            for row in [*([self.header] * bool(self.header)), *self.rows]
        ]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        shown = [GAP.join(map(self._aligned, row, widths, range(len(row)))) for row in lines]
        return "\n".join(
            [printable(self.title), *(f"    {row}".rstrip() for row in shown), *map(printable, self.notes)]
        )

    def as_html(self) -> str:
        """Return the table as HTML, aligned as ``as_text`` does; all text is escaped.

        The styles stand at each element, because notebooks centre tables and align their cells to the right.
        """
        head = f"<thead>{self._row(self.header, 'th')}</thead>" if self.header else ""
        body = "".join(self._row(row, "td") for row in self.rows)
        notes = "".join(f"<p>{escape(note)}</p>" for note in self.notes)
        return (
            f'<p><b>{escape(self.title)}</b></p><table style="{TABLE_STYLE}">{head}<tbody>{body}</tbody></table>'
            f"{notes}{self.figure}"
        )

    def _row(self, cells: Sequence[str], kind: str) -> str:
        shown = (
            f'<{kind} style="{CELL_STYLE}{"right" if self._is_figure(column) else "left"}">{escape(cell)}</{kind}>'
            for column, cell in enumerate(cells)
        )
        return f"<tr>{''.join(shown)}</tr>"

    def _is_figure(self, column: int) -> bool:
        """Whether a column holds figures: under a header, all but the first do."""
        return bool(self.header) and column > 0

    def _aligned(self, cell: str, width: int, column: int) -> str:
        return cell.rjust(width) if self._is_figure(column) else cell.ljust(width)


class Displayed(ABC):
    """Base of objects that show themselves by a table; a dataclass among them is declared with ``repr=False``."""

    @abstractmethod
    def table(self) -> Table:
        """Return what is shown."""

    def __repr__(self) -> str:
        return self.table().as_text()

    def _repr_html_(self) -> str:
        return self.table().as_html()


def percent(share: float) -> str:
    """Return a share from 0 to 1 as a percentage with two digits after the point."""
    return f"{share:.2%}"


def times(count: int) -> str:
    """Return how often something happened, as text.

    >>> times(1), times(3)
    ('once', '3 times')
    """
    return "once" if count == 1 else f"{count:,} times"


def interval(bounds: tuple[float, float] | None) -> str:
    """Return a 95 % interval of shares as text; empty for None."""
    return "" if bounds is None else f"95 % interval {bounds[0]:.2%} to {bounds[1]:.2%}"
