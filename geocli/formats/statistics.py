"""Statistics: a table with bars and a map for people, JSON, or Prometheus's text."""

from __future__ import annotations

import sys
from io import StringIO
from typing import TYPE_CHECKING

from geocli.console import write
from geocli.countries import country_name
from geocli.files.atomic import replacing, write_all
from geocli.formats.prometheus import prometheus
from geocli.formats.rows import json_text
from geocli.formats.tables import (
    PIPE_CELLS,
    ago,
    databases_json,
    databases_table,
    has_blocks,
    make_table,
    open_console,
    print_reasons,
    size_text,
)
from geocli.formats.worldmap import ASCII, BLOCKS, COLUMNS, world
from geocli.timestamps import instant, instant_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console, RenderableType
    from rich.table import Table

    from geocli.formats.tables import Cell
    from geocli.stats import Stats
    from geocli.storage.journal_reader import JournalStatus

BAR_CELLS = 30
"""Length of the longest bar, where there is room."""
BESIDE_BARS = 45
"""Cells of a line that are left to what stands beside the bars."""
LATE_SECONDS = 300
"""Cron flushes each minute; an older entry makes `--check` complain."""
MAP_STYLES = ("dim", "bold yellow")
"""Of land and sea, and of marks."""


def print_stats(found: Stats, format_: str | None, output: str | None) -> None:
    """Print statistics as a table, JSON or Prometheus's text, or write them to a file all at once."""
    for_people = found.countries is not None or (sys.stdout.isatty() and output is None)
    format_ = format_ or ("table" if for_people else "json")
    if format_ != "json":  # which has a place for them
        print_reasons(found.problems)
    if output is not None:
        with replacing(output) as (descriptor, _):
            write_all(descriptor, _FORMATS[format_](found).encode())
    elif format_ == "table":
        console = open_console()
        console.print(*_parts(found, console))
    else:
        write(_FORMATS[format_](found).encode())


def _table_text(found: Stats) -> str:
    text = StringIO()
    console = open_console(text)
    console.print(*_parts(found, console))
    return text.getvalue()


def _parts(found: Stats, console: Console) -> Iterator[RenderableType]:
    yield make_table(("cache", ""), _rows(found))
    yield databases_table(found.databases, found.at)
    if found.top:
        yield _bars(found, console)
    if found.countries is not None:
        yield _map(found, console)


def _rows(found: Stats) -> Iterator[tuple[str, Cell]]:
    total = sum(found.statuses.values())
    yield "rows", f"{total:,}"
    for status, count in found.statuses.items():
        yield f"  {status}", f"{count:,}{f'  {count / total:.1%}' if count else ''}"
    if found.journal is not None:
        yield from _journal_rows(found, found.journal)
    if found.last_flush is not None:
        at, entries, seconds = found.last_flush
        yield "last flush", f"{ago(instant(at), found.at)}: {entries:,} entries in {seconds:g} s"


def _journal_rows(found: Stats, journal: JournalStatus) -> Iterator[tuple[str, Cell]]:
    yield "dirty entries", f"{journal.entries:,}"
    yield "  size", size_text(journal.size_bytes)
    if journal.oldest_at is not None:
        is_late = (found.at - journal.oldest_at).total_seconds() > LATE_SECONDS
        yield "  oldest", (ago(journal.oldest_at, found.at), "yellow" if is_late else "")
    if journal.quarantined_bytes:
        yield "quarantined", (size_text(journal.quarantined_bytes), "red")


def _bars(found: Stats, console: Console) -> Table:
    total, longest = sum(found.statuses.values()), found.top[0][1]
    full = "█" if has_blocks(console) else "#"
    cells = max(min(BAR_CELLS, console.width - BESIDE_BARS), 5)
    rows: list[tuple[Cell, ...]] = [
        (_name(found, what), f"{count:,}", f"{count / total:.1%}", (full * -(-count * cells // longest), "cyan"))
        for what, count in found.top
    ]
    return make_table((found.by, "rows", "share", ""), rows, fixed=(1, 2, 3))


def _name(found: Stats, what: str | int | None) -> str:
    if what is None:
        return f"no {found.by}"
    if found.by == "asn" and isinstance(what, int):
        return f"AS{what} {(found.organisations or {}).get(what, '')}".strip()
    return f"{what} {country_name(str(what)) or ''}".strip() if found.by == "country" else str(what)


def _map(found: Stats, console: Console) -> RenderableType:
    from rich.text import Text

    total = sum(found.statuses.values()) or 1
    shares = {code: count / total for code, count in (found.countries or {}).items()}
    pen = BLOCKS if has_blocks(console) else ASCII
    width = console.width if console.width < PIPE_CELLS else COLUMNS
    styled = ([(piece, MAP_STYLES[is_mark]) for piece, is_mark in line] for line in world(shares, width, pen))
    return Text("\n").join(Text.assemble(*pieces) for pieces in styled)


def _json(found: Stats) -> str:
    journal = found.journal
    flush = dict(zip(("finished_at", "entries", "duration_seconds"), found.last_flush or (), strict=False)) or None
    said = {
        "entries": found.statuses,
        "journal": journal
        and {**journal.as_dict(), "oldest_at": journal.oldest_at and instant_text(journal.oldest_at)},
        "last_flush": flush,
        "databases": databases_json(found.databases),
        "by": found.by,
        "top": [{"value": what, "entries": count} for what, count in found.top],
        "problems": found.problems,
    }
    return json_text(said) + "\n"


_FORMATS: dict[str, Callable[[Stats], str]] = {"json": _json, "prometheus": prometheus, "table": _table_text}
