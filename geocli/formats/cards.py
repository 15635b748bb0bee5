"""Entries for people: one as a card, several as a table that fits the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from geocli.countries import country_name
from geocli.formats.rows import json_text
from geocli.formats.tables import ago, harmless, make_table, open_console
from geocli.models import value

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from rich.console import RenderableType

    from geocli.formats.tables import Cell
    from geocli.models import Entry

TABLE_FIELDS = ("ip", "status", "country_name", "city", "org", "source")
"""Columns for several addresses on a terminal."""
LEAST_COLUMN_CELLS = 13
"""With less for each column, a table is hard to read, and cards are shown instead."""
REGIONAL_INDICATOR = 0x1F1E6 - ord("A")
"""Two of these letters make a flag (Unicode Technical Standard 51)."""
STATUS_STYLES = {"resolved": "green", "special": "cyan", "unresolved": "yellow", "invalid": "red"}


def print_entries(
    found: Sequence[Entry], fields: Sequence[str] | None, now: datetime, *, with_flags: bool = False
) -> None:
    """Print entries; columns that are empty throughout are left out unless they were named.

    Args:
        found: the entries.
        fields: the columns of a table; default: a card, or the columns that most people look for.
        now: the time, in UTC, to say how old data are.
        with_flags: whether the terminal shows flags.

    """
    console = open_console()
    names = [
        name for name in fields or TABLE_FIELDS if fields or any(value(entry, name) is not None for entry in found)
    ]
    if not fields and (len(found) == 1 or console.width < LEAST_COLUMN_CELLS * len(names)):
        for number, entry in enumerate(found):
            console.print(*[""] * (number > 0), _card(entry, now, with_flags=with_flags), sep="\n")
        return
    rows = ([_cell(entry, name, with_flags=with_flags) for name in names] for entry in found)
    console.print(make_table(names, rows))


def _cell(entry: Entry, name: str, *, with_flags: bool) -> Cell:
    what = value(entry, name)
    if name == "country_name" and what is not None and with_flags:
        return f"{_flag(entry)}{what}", ""
    return _shown(what), STATUS_STYLES.get(entry.status, "") if name == "status" else ""


def _shown(what: Any) -> str:
    if what is None:
        return ""
    return json_text(what) if isinstance(what, dict | bool) else str(what)


def _card(entry: Entry, now: datetime, *, with_flags: bool) -> RenderableType:
    from rich.console import Group
    from rich.table import Column, Table

    status = harmless((entry.status, STATUS_STYLES.get(entry.status, "")))
    grid = Table.grid(Column(no_wrap=True), Column(overflow="fold"), padding=(0, 2))
    for name, said in _lines(entry, now, with_flags):
        if said:
            grid.add_row(harmless((f"  {name}", "dim")), harmless(said))
    return Group(harmless((entry.ip, "bold")).append("  ").append_text(status), grid)


def _lines(entry: Entry, now: datetime, with_flags: bool) -> Iterator[tuple[str, str]]:  # noqa: FBT001 (of _card)
    """Return the lines of a card; those without a text are not shown."""
    place = entry.place
    country = " ".join(filter(None, (place.country_name, place.country_code and f"({place.country_code})")))
    where = ", ".join(filter(None, (place.city, place.region, country)))
    yield "place", f"{_flag(entry)}{where}" if with_flags else where
    yield "postal code", place.postal_code or ""
    yield "coordinates", "" if place.latitude is None else f"{place.latitude}, {place.longitude}"
    yield "time zone", place.time_zone or ""
    yield "network", entry.network or ""
    yield "organisation", " ".join(filter(None, ("" if place.asn is None else f"AS{place.asn}", place.org)))
    yield "scope", entry.scope or ""
    built = "" if entry.built_at is None else f", built {ago(entry.built_at, now)}"
    yield "source", f"{entry.source}{built}" if entry.source else ""
    if entry.status != "invalid":
        yield "cached", f"yes, {ago(entry.resolved_at, now)}".removesuffix(", ") if entry.cached else "no"
    yield "error", entry.error or ""


def _flag(entry: Entry) -> str:
    code = entry.place.country_code
    if country_name(code) is None:
        return ""
    return "".join(chr(ord(letter) + REGIONAL_INDICATOR) for letter in f"{code}") + " "
