"""Statistics of a cache as a table with bars and a map, as JSON, or for Prometheus."""

from __future__ import annotations

import sys
from io import StringIO
from typing import TYPE_CHECKING

from geocli.console import complain, write
from geocli.countries import country_name
from geocli.files.atomic import replacing, write_all
from geocli.formats.database_list import databases_json, databases_table
from geocli.formats.prometheus import prometheus
from geocli.formats.rows import json_text
from geocli.formats.svg_map import standalone_map
from geocli.formats.tables import (
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
from geocli.timestamps import instant, instant_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import Console, RenderableType

    from geocli.formats.tables import Cell
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


def print_stats(stats: Stats, format_: str | None, output: str | None) -> None:
    """Print statistics in a format, or replace a file with them."""
    for_people = stats.countries is not None or (sys.stdout.isatty() and output is None)
    format_ = format_ or ("table" if for_people else "json")
    # JSON contains the problems.
    if format_ != "json":
        print_reasons(stats.problems)
    if output is not None and stats.countries is not None and output.lower().endswith(".svg"):
        _write(output, standalone_map(stats.countries, sum(stats.statuses.values())))
    elif output is not None:
        _write(output, _FORMATS[format_](stats))
    elif format_ == "table":
        console = open_console()
        show(console, *_parts(stats, console), complete="-f json")
    else:
        write(_FORMATS[format_](stats).encode())


def _write(path: str, text: str) -> None:
    with replacing(path) as (descriptor, _):
        write_all(descriptor, text.encode())


def _table_text(stats: Stats) -> str:
    text = StringIO()
    console = open_console(text)
    show(console, *_parts(stats, console))
    return text.getvalue()


def print_reasons(reasons: Sequence[str]) -> int:
    """Print complaints to standard error, and return the exit status."""
    for reason in reasons:
        complain(reason)
    return 1 if reasons else 0


def _parts(stats: Stats, console: Console) -> Iterator[RenderableType | Listing]:
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


def _json(stats: Stats) -> str:
    journal = stats.journal
    flush = dict(zip(("finished_at", "entries", "duration_seconds"), stats.last_flush or (), strict=False)) or None
    fields = {
        "entries": stats.statuses,
        "journal": journal
        and {**journal.as_dict(), "oldest_at": journal.oldest_at and instant_text(journal.oldest_at)},
        "last_flush": flush,
        "databases": databases_json(stats.databases),
        "by": stats.by,
        "top": [{"value": value, "entries": count} for value, count in stats.top],
        "problems": stats.problems,
    }
    return json_text(fields) + "\n"


_FORMATS: dict[str, Callable[[Stats], str]] = {"json": _json, "prometheus": prometheus, "table": _table_text}
