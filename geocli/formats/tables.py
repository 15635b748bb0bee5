"""Tables for people; rich is imported when one is drawn."""

from __future__ import annotations

import sys
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any, TextIO

from geocli.console import complain
from geocli.countries import country_name
from geocli.databases.licences import ATTRIBUTIONS, attribution_of
from geocli.sanitize import safe
from geocli.timestamps import instant_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from datetime import datetime

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from geocli.stats import DatabaseStats

    Cell = str | tuple[str, str]
    """The text of a cell, perhaps with a style of Rich."""

FRESH_DAYS, OLD_DAYS = 31, 35
"""Age up to which a database is fresh (green), or not yet old (yellow)."""
PIPE_CELLS = 4096
"""Width of output that does not go to a terminal, so that nothing is cut off."""


def open_console(stream: TextIO | None = None) -> Console:
    """Return a console for a stream, by default standard output; it cuts nothing off unless that is a terminal."""
    from rich.console import Console

    stream = stream or sys.stdout
    if isinstance(stream, TextIOWrapper):
        # Characters that the encoding of a terminal lacks are escaped.
        stream.reconfigure(errors="backslashreplace")
    width = None if stream.isatty() else PIPE_CELLS
    return Console(file=stream, width=width, highlight=False, emoji=False, markup=False, soft_wrap=False)


def has_blocks(console: Console) -> bool:
    """Return whether the console's encoding has characters to draw with, beyond ASCII."""
    return console.encoding.lower().startswith("utf")


def make_table(columns: Sequence[str], rows: Iterable[Sequence[Cell]], fixed: Collection[int] = (0,)) -> Table:
    """Return a table, without a header if no column has a name; cells are not interpreted as markup.

    Args:
        columns: their names.
        rows: their cells.
        fixed: indexes of the columns that keep their width on a narrow terminal; the others are folded.

    """
    from rich import box
    from rich.table import Column, Table

    headers = [Column(harmless(name), no_wrap=number in fixed, overflow="fold") for number, name in enumerate(columns)]
    table = Table(*headers, box=box.SIMPLE_HEAD, pad_edge=False, show_header=any(columns))
    for row in rows:
        table.add_row(*map(harmless, row))
    return table


def harmless(cell: Cell) -> Text:
    """Return a cell as text without markup, and without characters that control a terminal."""
    from rich.text import Text

    text, style = (cell, "") if isinstance(cell, str) else cell
    return Text(safe(text), style)


def print_summary(counts: Mapping[str, int]) -> None:
    """Print the number of rows of each country and status to standard error."""
    total = sum(counts.values())
    rows = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    cells = [[code, country_name(code) or "", f"{count:,}", f"{count / total:.1%}"] for code, count in rows]
    open_console(sys.stderr).print(
        make_table(["", "country", "rows", "share"], [*cells, ["all", "", f"{total:,}", ""]])
    )


def print_databases(databases: Sequence[DatabaseStats], now: datetime) -> None:
    """Print a table of databases, and the attributions that their licences require."""
    console = open_console()
    console.print(databases_table(databases, now))
    for line in dict.fromkeys(filter(None, [*(row.attribution for row in databases), ATTRIBUTIONS["rir"]])):
        console.print(harmless(line))


def databases_table(databases: Sequence[DatabaseStats], now: datetime) -> Table:
    """Return a table of databases, coloured by age."""
    rows: list[tuple[Cell, ...]] = [
        (
            row.name,
            row.built_at.date().isoformat() if row.built_at else "",
            (ago(row.built_at, now), freshness(row.built_at, now)),
            size_text(row.size_bytes) if row.size_bytes else "",
            row.kind or "",
            row.error or row.path,
        )
        for row in databases
    ]
    built_in: list[tuple[Cell, ...]] = [("rir", "", "", "", "", "built in: no .mmdb file was found")]
    return make_table(("database", "built", "age", "size", "records", "path"), rows or built_in)


def print_replaced(names: Sequence[str]) -> None:
    """Print which databases were replaced, and the attributions that licences require, to standard error."""
    lines = [f"{', '.join(names) or 'nothing'} replaced", *filter(None, map(attribution_of, names))]
    print(*dict.fromkeys(lines), sep="\n", file=sys.stderr)


def databases_json(databases: Sequence[DatabaseStats]) -> list[dict[str, Any]]:
    """Return databases as values of JSON."""
    return [{**row.as_dict(), "built_at": row.built_at and instant_text(row.built_at)} for row in databases]


def ago(at: datetime | None, now: datetime) -> str:
    """Return how long ago an instant was, in the largest unit of which at least one has passed."""
    if at is None:
        return ""
    seconds = max(int((now - at).total_seconds()), 0)
    unit, size = next(((unit, size) for unit, size in _UNITS if seconds >= size), ("s", 1))
    return f"{seconds // size} {unit} ago"


_UNITS = (("days", 86400), ("h", 3600), ("min", 60))


def freshness(built_at: datetime | None, now: datetime) -> str:
    """Return the colour of a database's age; databases are built at least once a month."""
    if built_at is None:
        return ""
    days = (now - built_at).days
    return "green" if days <= FRESH_DAYS else "yellow" if days <= OLD_DAYS else "red"


def size_text(size_bytes: int) -> str:
    """Return a size as people read it."""
    from rich.filesize import decimal

    return decimal(size_bytes)


def print_reasons(reasons: Sequence[str]) -> int:
    """Print complaints to standard error, and return the exit status."""
    for reason in reasons:
        complain(reason)
    return 1 if reasons else 0
