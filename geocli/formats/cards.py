"""Entries for people: a card for one, a table that fits the terminal for several."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from geocli.countries import country_name
from geocli.databases.titles import titles_of
from geocli.formats.network_kinds import kinds_of
from geocli.formats.rows import value_text
from geocli.formats.terminal import AMBER, BLUE, GREEN, RED, Column, Listing, ago, harmless, open_console, show
from geocli.models import Place, value
from geocli.settings import shows_flags

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from rich.console import RenderableType

    from geocli.formats.terminal import Cell
    from geocli.models import Entry

TABLE_FIELDS = ("ip", "status", "country_name", "city", "org", "source")
"""Default columns of a table."""
MIN_COLUMN_CELLS = 13
"""Average width of columns below which cards are printed instead of a table."""
REGIONAL_INDICATOR = 0x1F1E6 - ord("A")
"""Offset from a letter to its regional indicator, two of which are a flag (Unicode Technical Standard 51)."""
STATUS_STYLES = {"resolved": GREEN, "special": BLUE, "unresolved": AMBER, "invalid": RED}


def print_entries(
    entries: Sequence[Entry], fields: Sequence[str] | None, now: datetime, *, with_flags: bool | None = None
) -> None:
    """Print a table of fields; without fields, cards or a table of the default fields that are not empty.

    By default, flags are printed on a terminal that is known to show them.
    """
    console = open_console()
    if with_flags is None:
        with_flags = sys.stdout.isatty() and shows_flags()
    names = fields or [name for name in TABLE_FIELDS if any(value(entry, name) is not None for entry in entries)]
    if fields or (len(entries) > 1 and console.width >= MIN_COLUMN_CELLS * len(names)):
        show(console, _table(entries, names, with_flags=with_flags), complete="-f jsonl")
        return
    for number, entry in enumerate(entries):
        if number:
            console.print()
        console.print(_card(entry, now, with_flags=with_flags))


def _table(entries: Sequence[Entry], names: Sequence[str], *, with_flags: bool) -> Listing:
    columns = [Column(name, is_fixed=not number) for number, name in enumerate(names)]
    rows = [tuple(_cell(entry, name, with_flags=with_flags) for name in names) for entry in entries]
    return Listing(columns=tuple(columns), rows=tuple(rows))


def _cell(entry: Entry, name: str, *, with_flags: bool) -> Cell:
    content = value(entry, name)
    if name == "source" and content is not None:
        return titles_of(content), ""
    if name == "country_name" and content is not None and with_flags:
        return f"{_flag(entry)}{content}", ""
    return value_text(content), STATUS_STYLES.get(entry.status, "") if name == "status" else ""


def _card(entry: Entry, now: datetime, *, with_flags: bool) -> RenderableType:
    from rich.console import Group
    from rich.table import Column, Table

    status = harmless((entry.status, STATUS_STYLES.get(entry.status, "")))
    grid = Table.grid(Column(no_wrap=True), Column(overflow="fold"), padding=(0, 2))
    for name, text in _lines(entry, now, with_flags=with_flags):
        if text:
            grid.add_row(harmless((f"  {name}", "dim")), harmless(text))
    return Group(harmless((entry.ip, "bold")).append("  ").append_text(status), grid)


def _lines(entry: Entry, now: datetime, *, with_flags: bool) -> Iterator[tuple[str, str]]:
    """Return the lines of a card: labels and texts, which may be empty."""
    place = entry.place
    yield "place", f"{_flag(entry) if with_flags else ''}{_place(place)}"
    yield "postal code", place.postal_code or ""
    yield "coordinates", "" if place.latitude is None else f"{place.latitude}, {place.longitude}"
    yield "time zone", place.time_zone or ""
    yield "network", entry.network or ""
    yield "organisation", _joined(" ", None if place.asn is None else f"AS{place.asn}", place.org)
    yield from _of_traits(place)
    yield "scope", entry.scope or ""
    if entry.source:
        yield "source", _joined(", built ", titles_of(entry.source), ago(entry.built_at, now))
    if entry.status != "invalid":
        yield "cached", _joined(", ", "yes", ago(entry.resolved_at, now)) if entry.cached else "no"
    yield "error", entry.error or ""


def _place(place: Place) -> str:
    country = _joined(" ", place.country_name, place.country_code and f"({place.country_code})")
    return _joined(", ", place.city, place.region, country)


def _of_traits(place: Place) -> Iterator[tuple[str, str]]:
    """Return lines of traits: what the network is seen as; of a place that has nothing else, all traits."""
    if kinds := kinds_of(place.traits):
        yield "seen as", kinds
    elif place.replace(traits=None) == Place():
        yield "traits", "; ".join(f"{name}: {value_text(content)}" for name, content in (place.traits or {}).items())


def _joined(separator: str, *texts: str | None) -> str:
    return separator.join(filter(None, texts))


def _flag(entry: Entry) -> str:
    code = entry.place.country_code
    if country_name(code) is None:
        return ""
    return "".join(chr(ord(letter) + REGIONAL_INDICATOR) for letter in f"{code}") + " "
