"""The databases as a table, and as JSON."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from geocli.databases.licences import ATTRIBUTIONS, attribution_of
from geocli.databases.titles import title_of
from geocli.formats.terminal import AMBER, GREEN, RED, Column, Listing, ago, harmless, open_console, show, size_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from geocli.formats.terminal import Cell
    from geocli.stats import DatabaseStats

FRESH_DAYS, OLD_DAYS = 31, 35
"""Age up to which a database is fresh (green), or not yet old (amber)."""
_COLUMNS = (
    Column("database", min_cells=26),
    Column("built", is_fixed=True),
    Column("age", is_number=True, is_fixed=True),
    Column("size", is_number=True, is_minor=True),
    Column("records", is_minor=True),
    Column("path", is_cut_before=True, min_cells=20),
)


def print_databases(databases: Sequence[DatabaseStats], now: datetime) -> None:
    """Print a table of databases, and the attributions that their licences require."""
    sentences = dict.fromkeys(filter(None, [*(row.attribution for row in databases), ATTRIBUTIONS["rir"]]))
    show(open_console(), databases_table(databases, now), *map(harmless, sentences), complete="-f json")


def databases_table(databases: Sequence[DatabaseStats], now: datetime) -> Listing:
    """Return a table of databases, coloured by age."""
    rows: list[tuple[Cell, ...]] = [
        (
            title_of(row.name),
            row.built_at.date().isoformat() if row.built_at else "",
            (ago(row.built_at, now), freshness(row.built_at, now)),
            size_text(row.size_bytes) if row.size_bytes else "",
            row.kind or "",
            row.error or row.path,
        )
        for row in databases
    ]
    built_in: list[tuple[Cell, ...]] = [("rir", "", "", "", "", "built in: no .mmdb file was found")]
    return Listing(columns=_COLUMNS, rows=tuple(rows or built_in))


def print_replaced(names: Sequence[str]) -> None:
    """Print which databases were replaced, and the attributions that licences require, to standard error."""
    lines = [f"{', '.join(names) or 'nothing'} replaced", *filter(None, map(attribution_of, names))]
    print(*dict.fromkeys(lines), sep="\n", file=sys.stderr)


def freshness(built_at: datetime | None, now: datetime) -> str:
    """Return the colour of a database's age; databases are built at least once a month."""
    if built_at is None:
        return ""
    days = (now - built_at).days
    return GREEN if days <= FRESH_DAYS else AMBER if days <= OLD_DAYS else RED
