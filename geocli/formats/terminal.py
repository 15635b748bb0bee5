"""The console, its colours, and tables that fit its width; rich is imported when one is drawn."""

from __future__ import annotations

import sys
from io import StringIO, TextIOWrapper
from typing import TYPE_CHECKING, NamedTuple, TextIO

from geocli.immutable import Value
from geocli.sanitize import safe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

    Cell = str | tuple[str, str]
    """The text of a cell, perhaps with a style of Rich."""

PIPE_CELLS = 4096
"""Width of output that does not go to a terminal, so that nothing is cut off."""
MARGIN_CELLS, GAP_CELLS = 2, 3
"""Width of the margins, and of the space between two columns."""
BAR_CELLS = 30
"""Maximum length of a bar."""
LABEL_CELLS = 45
"""Cells of a line that are not for the bar, by default."""
GREEN, AMBER, RED, BLUE = "color(28)", "color(130)", "color(160)", "color(31)"
"""Colours of medium lightness, which have contrast to a light background as well as to a dark one."""

_THEME = {
    "bar.complete": BLUE,
    "bar.finished": GREEN,
    "bar.pulse": BLUE,
    **{f"progress.{name}": BLUE for name in ("remaining", "download")},
}


class Column(NamedTuple):
    """A column of a table."""

    name: str
    is_number: bool = False
    """Whether its cells are aligned to the right."""
    is_fixed: bool = False
    """Whether it is neither cut nor dropped."""
    is_minor: bool = False
    """Whether it is dropped before any other column is cut."""
    min_cells: int = 12
    """Width to which it may be cut before another column is dropped."""
    is_cut_before: bool = False
    """Whether the beginning of a cell is cut off, as of a path, whose end is more useful."""


class Listing(Value):
    """A table, which has no header if no column has a name; cells are not interpreted as markup."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def fitted(self, width: int) -> tuple[Table, bool]:
        """Return a table of a width, and whether cells were cut or columns dropped for it; words are not broken."""
        from rich import box
        from rich.table import Column as RichColumn
        from rich.table import Table

        columns = zip(self.columns, *self.rows, strict=True)
        natural = [max(harmless(cell).cell_len for cell in (column.name, *cells)) for column, *cells in columns]
        widths = _fit(self.columns, natural, width)
        headers = [
            RichColumn(
                harmless(column.name),
                justify="right" if column.is_number else "left",
                width=widths[number],
                no_wrap=True,
                overflow="ellipsis",
            )
            for number, column in enumerate(self.columns)
            if number in widths
        ]
        has_header = any(column.name for column in self.columns)
        table = Table(*headers, box=box.SIMPLE_HEAD, pad_edge=False, show_header=has_header)
        for row in self.rows:
            table.add_row(*(_shortened(row[number], self.columns[number], cells) for number, cells in widths.items()))
        return table, [*widths.values()] != natural


def _spare(columns: Sequence[Column], widths: Mapping[int, int]) -> dict[int, int]:
    """Return by how much columns may be cut, by their numbers."""
    spare = {number: cells - columns[number].min_cells for number, cells in widths.items()}
    return {number: cells for number, cells in spare.items() if cells > 0 and not columns[number].is_fixed}


def _fit(columns: Sequence[Column], natural: Sequence[int], width: int) -> dict[int, int]:
    """Return the widths of the columns that fit, by their numbers; the first column is cut rather than dropped."""
    widths = {number: min(cells, width) for number, cells in enumerate(natural)}
    while True:
        excess = sum(widths.values()) + GAP_CELLS * (len(widths) - 1) + MARGIN_CELLS - width
        if excess <= 0:
            return widths
        spare, dropped = _spare(columns, widths), _dropped(columns, widths)
        if sum(spare.values()) >= excess and not (dropped and columns[dropped].is_minor):
            widths[max(spare, key=widths.__getitem__)] -= 1
        elif dropped:
            del widths[dropped]
        elif widths[0] > 1 and not columns[0].is_fixed:
            widths[0] -= 1
        else:
            return widths


def _dropped(columns: Sequence[Column], widths: Mapping[int, int]) -> int:
    """Return the number of the column to drop next: the last minor one, else the last; 0 if there is none."""
    numbers = (number for number in widths if not columns[number].is_fixed)
    return max(numbers, key=lambda number: (number > 0, columns[number].is_minor, number), default=0)


def _shortened(cell: Cell, column: Column, cells: int) -> Text:
    text = harmless(cell)
    if column.is_cut_before and text.cell_len > cells:
        while text.cell_len >= cells and text:
            text = text[1:]
        return harmless("…") + text
    return text


def show(console: Console, *parts: RenderableType | Listing, complete: str = "") -> None:
    """Print tables and other parts; if one was cut, the last line names `complete`, the option to show everything."""
    from rich.console import Group

    fitted = [part.fitted(console.width) if isinstance(part, Listing) else (part, False) for part in parts]
    console.print(Group(*(part for part, _ in fitted)))
    if complete and any(is_cut for _, is_cut in fitted):
        console.print(harmless((f"{complete} shows everything", "dim")))


def text_of(parts_of: Callable[[Console], Iterable[RenderableType | Listing]]) -> str:
    """Return what a function draws for a console, with nothing cut off."""
    text = StringIO()
    console = open_console(text)
    show(console, *parts_of(console))
    return text.getvalue()


def open_console(stream: TextIO | None = None) -> Console:
    """Return a console for a stream, by default standard output; it cuts nothing off unless that is a terminal."""
    from rich.console import Console
    from rich.theme import Theme

    stream = stream or sys.stdout
    if isinstance(stream, TextIOWrapper):
        # Characters outside the encoding of the terminal are escaped.
        stream.reconfigure(errors="backslashreplace")
    width = None if stream.isatty() else PIPE_CELLS
    return Console(
        file=stream, width=width, theme=Theme(_THEME), highlight=False, emoji=False, markup=False, soft_wrap=False
    )


def has_blocks(console: Console) -> bool:
    """Return whether the console's encoding has characters to draw with, beyond ASCII."""
    return console.encoding.lower().startswith("utf")


def harmless(cell: Cell) -> Text:
    """Return a cell as text without markup, and without characters that control a terminal."""
    from rich.text import Text

    text, style = (cell, "") if isinstance(cell, str) else cell
    return Text(safe(text), style)


def bars_of(counts: Sequence[int], console: Console, labels: Sequence[Sequence[str]] = ()) -> list[str]:
    """Return a bar for each number, the largest of which has the longest; rows of labels take a part of the width."""
    full = "█" if has_blocks(console) else "#"
    label_cells = MARGIN_CELLS + sum(GAP_CELLS + max(map(len, column)) for column in zip(*labels, strict=True))
    cells = max(min(BAR_CELLS, console.width - (label_cells if labels else LABEL_CELLS)), 5)
    return [full * -(-count * cells // max(counts)) for count in counts]


def share_text(count: int, total: int) -> str:
    """Return a share in percent, which is never rounded to nothing or to everything.

    >>> [share_text(count, 3000) for count in (0, 1, 300, 2999, 3000)]
    ['0.0%', '<0.1%', '10.0%', '>99.9%', '100.0%']
    """
    share = f"{count / total:.1%}"
    if count and share == "0.0%":
        return "<0.1%"
    return ">99.9%" if count < total and share == "100.0%" else share


def ago(at: datetime | None, now: datetime) -> str:
    """Return how long ago an instant was, in the largest unit of which at least one has passed."""
    if at is None:
        return ""
    seconds = max(int((now - at).total_seconds()), 0)
    unit, size = next(((unit, size) for unit, size in _UNITS if seconds >= size), ("s", 1))
    return f"{seconds // size} {unit} ago"


_UNITS = (("days", 86400), ("h", 3600), ("min", 60))


def size_text(size_bytes: int) -> str:
    """Return a size as people read it."""
    from rich.filesize import decimal

    return decimal(size_bytes)
