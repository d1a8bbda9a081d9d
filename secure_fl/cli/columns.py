"""Tables for terminals of any width: where room is short, the least important columns go, never the ends of lines.

Cells are plain text and are shown as they are; nothing in them is taken for markup.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Column", "count", "cut", "fitted", "size_text"]

_GAP = 2


@dataclass(frozen=True, slots=True)
class Column:
    """A column of text. When room is short, the column with the highest `rank` goes first; 0 always stays."""

    title: str
    cells: Sequence[str]
    rank: int = 0
    is_number: bool = False
    styles: Sequence[str] = ()

    @property
    def width(self) -> int:
        return max(len(text) for text in (self.title, *self.cells))


def fitted(columns: Sequence[Column], width: int) -> Table:
    """As many of the columns as fit into `width` characters, in their order; empty ones are left out."""
    from rich.table import Table
    from rich.text import Text

    kept = [column for column in columns if any(column.cells)]
    while sum(column.width + _GAP for column in kept) - _GAP > width and max(column.rank for column in kept):
        kept.remove(max(reversed(kept), key=lambda column: column.rank))
    has_header = any(column.title for column in kept)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, _GAP, 0, 0), show_header=has_header)
    for column in kept:
        table.add_column(
            Text(column.title), justify="right" if column.is_number else "left", no_wrap=column is not kept[-1]
        )
    for index in range(len(columns[0].cells)):
        cells = [Text(c.cells[index], style=c.styles[index] if c.styles else "") for c in kept]
        table.add_row(*cells)
    return table


def size_text(size_bytes: float) -> str:
    """Bytes as people say them, in decimal units: `812 B`, `9.0 MB`."""
    value, unit = size_bytes, "B"
    for larger in ("kB", "MB", "GB"):
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" or value >= 99.5 else f"{value:.1f} {unit}"


def count(number: int, what: str) -> str:
    """`1 round`, `2 rounds`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def cut(text: str, most: int) -> str:
    """`text` in at most so many characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
