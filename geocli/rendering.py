"""What people see: tables, bars, and Prometheus's text; rich is loaded when a table is drawn."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any, TextIO

from geocli.bulk.outputs import json_text
from geocli.console import complain, write
from geocli.entries import CSV_FIELDS, instant_text, value
from geocli.resolvers.countries import country_name
from geocli.storage.files import replacing, write_all
from geocli.text import safe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from rich.console import Console
    from rich.table import Table

    from geocli.entries import Entry
    from geocli.upkeep import DatabaseStats, Stats

TABLE_FIELDS = ("ip", "status", "country_name", "city", "org", "source")
"""Columns for several addresses on a terminal."""
BAR_CELLS = 30
"""Length of the longest bar."""


def _console(stream: TextIO | None = None) -> Console:
    """Return a console that cuts nothing off when it does not write to a terminal; default: standard output."""
    from rich.console import Console

    stream = stream or sys.stdout
    if isinstance(stream, TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")  # for terminals that cannot show all letters
    width = None if stream.isatty() else 4096
    return Console(file=stream, width=width, highlight=False, emoji=False, markup=False, soft_wrap=False)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    from rich import box
    from rich.table import Column, Table
    from rich.text import Text

    headers = [Column(Text(safe(name)), no_wrap=number == 0, overflow="fold") for number, name in enumerate(columns)]
    table = Table(*headers, box=box.SIMPLE_HEAD, pad_edge=False, show_header=any(columns))
    for row in rows:
        table.add_row(*(Text(safe(cell)) for cell in row))
    return table


@contextmanager
def progress(total_bytes: int | None) -> Iterator[Callable[[int], None]]:
    """Show how far a batch is, on standard error; yields what is told how many bytes were read.

    A bar with the rate and the time left if it is known how many there are, else a count and the rate.
    """
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = [] if total_bytes is None else [BarColumn(), TimeRemainingColumn()]
    with Progress(*columns, DownloadColumn(), TransferSpeedColumn(), console=_console(sys.stderr)) as shown:
        task = shown.add_task("", total=total_bytes)
        yield lambda count: shown.advance(task, count)


def print_summary(counts: Mapping[str, int]) -> None:
    """Print how many rows there are of each country and status, on standard error."""
    total = sum(counts.values())
    rows = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    names = [(name, country_name(name) or "", count) for name, count in rows]
    cells = [[code, name, f"{count:,}", f"{count / total:.1%}"] for code, name, count in names]
    _console(sys.stderr).print(_table(["", "country", "rows", "share"], [*cells, ["all", "", f"{total:,}", ""]]))


def print_entries(found: Sequence[Entry], fields: Sequence[str] | None) -> None:
    """Print one entry as a card, several as a table; what is empty throughout is left out unless it was named."""
    names = list(fields or (CSV_FIELDS if len(found) == 1 else TABLE_FIELDS))
    rows = [[_shown(value(entry, name)) for name in names] for entry in found]
    shown = [number for number in range(len(names)) if fields or any(row[number] for row in rows)]
    if len(rows) == 1 and not fields:
        _console().print(_table(("", ""), [(names[number], rows[0][number]) for number in shown]))
    else:
        cells = ([row[number] for number in shown] for row in rows)
        _console().print(_table([names[number] for number in shown], cells))


def _shown(what: Any) -> str:
    if what is None:
        return ""
    return json_text(what) if isinstance(what, dict | bool) else str(what)


def print_stats(found: Stats, format_: str | None, output: str | None) -> None:
    """Print statistics as a table, JSON or Prometheus's text, or write them to a file all at once."""
    format_ = format_ or ("table" if sys.stdout.isatty() and output is None else "json")
    if format_ != "json":  # which has a place for them
        print_reasons(found.problems)
    if output is not None:
        with replacing(output) as (descriptor, _):
            write_all(descriptor, _FORMATS[format_](found).encode())
    elif format_ == "table":
        _console().print(*_stats_tables(found))
    else:
        write(_FORMATS[format_](found).encode())


def _table_text(found: Stats) -> str:
    console = _console()
    with console.capture() as captured:
        console.print(*_stats_tables(found))
    return captured.get()


def _stats_tables(found: Stats) -> list[Table]:
    total = sum(found.statuses.values())
    rows = [("rows", str(total)), *((f"  {status}", str(count)) for status, count in found.statuses.items())]
    if found.journal is not None:
        rows += [
            ("dirty entries", str(found.journal.entries)),
            ("  bytes", str(found.journal.size_bytes)),
            ("  oldest", _ago(found.journal.oldest_at, found.at)),
            ("quarantined bytes", str(found.journal.quarantined_bytes)),
        ]
    if found.last_flush is not None:
        at, entries, seconds = found.last_flush
        rows.append(("last flush", f"{at}: {entries} entries in {seconds:g} s"))
    longest = max((count for _, count in found.top), default=0)
    bars = [
        (_shown(what) or "unknown", str(count), f"{count / total:.1%}", "█" * -(-count * BAR_CELLS // longest))
        for what, count in found.top
    ]
    tables = [_table(("cache", ""), rows), _databases_table(found.databases, found.at)]
    return [*tables, _table((found.by, "rows", "share", ""), bars)] if bars else tables


def print_databases(found: Sequence[DatabaseStats], now: datetime) -> None:
    """Print the databases at hand as a table."""
    _console().print(_databases_table(found, now))


def _databases_table(found: Sequence[DatabaseStats], now: datetime) -> Table:
    rows = [(row.name, _ago(row.built_at, now), str(row.size_bytes), row.error or row.path) for row in found]
    return _table(
        ("database", "built", "bytes", "path"), rows or [("rir", "", "", "built in: no .mmdb file was found")]
    )


def databases_json(found: Sequence[DatabaseStats]) -> list[dict[str, Any]]:
    """Return the databases at hand ready for JSON."""
    return [{**row.as_dict(), "built_at": row.built_at and instant_text(row.built_at)} for row in found]


def _ago(at: datetime | None, now: datetime) -> str:
    """Say how long ago something was, in the largest unit that gives a whole number."""
    if at is None:
        return ""
    seconds = max(int((now - at).total_seconds()), 0)
    unit, size = next(((unit, size) for unit, size in _UNITS if seconds >= size), ("s", 1))
    return f"{seconds // size} {unit} ago"


_UNITS = (("days", 86400), ("h", 3600), ("min", 60))


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


def _prometheus(found: Stats) -> str:
    """Return Prometheus's text exposition format 0.0.4."""
    lines: list[str] = []

    def metric(name: str, help_: str, samples: Iterable[tuple[str, float]]) -> None:
        lines.extend([f"# HELP geocli_{name} {help_}", f"# TYPE geocli_{name} gauge"])
        lines.extend(
            f"geocli_{name}{labels} {number:g}" if number != int(number) else f"geocli_{name}{labels} {int(number)}"
            for labels, number in samples
        )

    metric(
        "cache_entries",
        "Rows of the store.",
        ((_label("status", status), count) for status, count in found.statuses.items()),
    )
    if found.journal is not None:
        metric("journal_entries", "Entries that are not yet in the store.", [("", found.journal.entries)])
        metric("journal_bytes", "Size of the journal and its segments.", [("", found.journal.size_bytes)])
        metric("journal_quarantined_bytes", "Size of journal.bad.", [("", found.journal.quarantined_bytes)])
    if found.last_flush is not None:
        from datetime import datetime

        at, entries, seconds = found.last_flush
        stamp = datetime.fromisoformat(at).timestamp()
        metric("flush_last_success_timestamp_seconds", "When the last flush stored something.", [("", stamp)])
        metric("flush_last_entries", "Entries that it stored.", [("", entries)])
        metric("flush_last_duration_seconds", "How long it took.", [("", seconds)])
    built = {row.name: row.built_at.timestamp() for row in found.databases if row.built_at is not None}
    samples = [(_label("edition", name), stamp) for name, stamp in built.items()]
    metric("database_build_timestamp_seconds", "When a database was built.", samples)
    return "\n".join(lines) + "\n"


def _label(name: str, text: str) -> str:
    escaped = safe(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'{{{name}="{escaped}"}}'


_FORMATS: dict[str, Callable[[Stats], str]] = {"json": _json, "prometheus": _prometheus, "table": _table_text}


def print_reasons(reasons: Sequence[str]) -> int:
    """Say on standard error what is wrong, a line each, and return the exit status."""
    for reason in reasons:
        complain(reason)
    return 1 if reasons else 0
