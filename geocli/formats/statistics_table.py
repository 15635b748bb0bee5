"""Statistics of a cache as a table with bars and a map."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geocli.countries import country_name
from geocli.formats.database_list import databases_table
from geocli.formats.terminal import (
    AMBER,
    BLUE,
    PIPE_CELLS,
    RED,
    Column,
    Listing,
    ago,
    bars_of,
    has_blocks,
    open_console,
    share_text,
    show,
    size_text,
)
from geocli.formats.text_map import ASCII, BLOCKS, COLUMNS, world
from geocli.timestamps import instant

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console, RenderableType

    from geocli.formats.terminal import Cell
    from geocli.stats import Stats
    from geocli.storage.journal_reader import JournalStatus

SHARE_CELLS = 6
"""Width of the largest share, `100.0%`."""
LATE_SECONDS = 300
"""Age of the oldest dirty entry from which it is coloured; cron flushes every minute."""
_BAR_COLUMNS = (
    Column("rows", is_number=True, is_fixed=True),
    Column("share", is_number=True, is_fixed=True),
    Column("", is_fixed=True),
)
MAP_STYLES = ("dim", f"bold {RED}")
"""Styles of land and sea, and of marks."""


def print_table(stats: Stats) -> None:
    """Print the table to standard output."""
    console = open_console()
    show(console, *parts(stats, console), complete="-f json")


def parts(stats: Stats, console: Console) -> Iterator[RenderableType | Listing]:
    """Return the tables, and the map if countries were counted."""
    columns = (Column("cache", is_fixed=True), Column("", is_number=True, is_fixed=True), Column(""))
    yield Listing(columns=columns, rows=tuple(_rows(stats)))
    yield databases_table(stats.databases, stats.at)
    if stats.top:
        yield _bars(stats, console)
    if stats.countries is not None:
        yield _map(stats, console)


def _rows(stats: Stats) -> Iterator[tuple[str, str, Cell]]:
    """Return the rows of the first table: names, numbers, and other values."""
    total = sum(stats.statuses.values())
    yield "rows", f"{total:,}", ""
    for status, count in stats.statuses.items():
        yield f"  {status}", f"{count:,}", share_text(count, total).rjust(SHARE_CELLS) if count else ""
    if stats.journal is not None:
        yield from _journal_rows(stats, stats.journal)
    if stats.last_flush is not None:
        at, entries, seconds = stats.last_flush
        yield "last flush", "", f"{ago(instant(at), stats.at)}: {entries:,} entries in {seconds:g} s"


def _journal_rows(stats: Stats, journal: JournalStatus) -> Iterator[tuple[str, str, Cell]]:
    yield "dirty entries", f"{journal.entries:,}", ""
    yield "  size", "", size_text(journal.size_bytes)
    if journal.oldest_at is not None:
        is_late = (stats.at - journal.oldest_at).total_seconds() > LATE_SECONDS
        yield "  oldest", "", (ago(journal.oldest_at, stats.at), AMBER if is_late else "")
    if journal.quarantined_bytes:
        yield "quarantined", "", (size_text(journal.quarantined_bytes), RED)


def _bars(stats: Stats, console: Console) -> Listing:
    total = sum(stats.statuses.values())
    bars = bars_of([count for _, count in stats.top], console)
    rows: list[tuple[Cell, ...]] = [
        (_name(stats, value), f"{count:,}", share_text(count, total), (bar, BLUE))
        for (value, count), bar in zip(stats.top, bars, strict=True)
    ]
    return Listing(columns=(Column(stats.by), *_BAR_COLUMNS), rows=tuple(rows))


def _name(stats: Stats, value: str | int | None) -> str:
    if value is None:
        return f"no {stats.by}"
    if stats.by == "asn" and isinstance(value, int):
        return f"AS{value} {(stats.organisations or {}).get(value, '')}".strip()
    return f"{value} {country_name(str(value)) or ''}".strip() if stats.by == "country" else str(value)


def _map(stats: Stats, console: Console) -> RenderableType:
    from rich.text import Text

    total = sum(stats.statuses.values()) or 1
    shares = {code: count / total for code, count in (stats.countries or {}).items()}
    pen = BLOCKS if has_blocks(console) else ASCII
    width = console.width if console.width < PIPE_CELLS else COLUMNS
    styled = ([(piece, MAP_STYLES[is_mark]) for piece, is_mark in line] for line in world(shares, width, pen))
    return Text("\n").join(Text.assemble(*pieces) for pieces in styled)
