"""What people see: tables, bars, and Prometheus's text; rich is loaded when a table is drawn."""

from __future__ import annotations

import sys
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any

from geocli.bulk.outputs import json_text
from geocli.console import complain, write
from geocli.entries import CSV_FIELDS, instant_text, value
from geocli.storage.files import replacing, write_all
from geocli.text import safe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from rich.console import Console
    from rich.table import Table

    from geocli.entries import Entry
    from geocli.upkeep import DatabaseStats, Stats

BAR_CELLS = 30
"""Length of the longest bar."""


def _console() -> Console:
    """Return a console that cuts nothing off when it does not write to a terminal."""
    from rich.console import Console

    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for terminals that cannot show all letters
    width = None if sys.stdout.isatty() else 4096
    return Console(file=sys.stdout, width=width, highlight=False, emoji=False, markup=False, soft_wrap=False)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    from rich import box
    from rich.table import Column, Table
    from rich.text import Text

    table = Table(*(Column(Text(safe(name))) for name in columns), box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(safe(cell)) for cell in row))
    return table


def print_entries(found: Sequence[Entry], fields: Sequence[str] | None) -> None:
    """Print entries as a table, without the columns that are empty throughout unless fields were named."""
    rows = [[_shown(value(entry, name)) for name in fields or CSV_FIELDS] for entry in found]
    names = [
        (number, name) for number, name in enumerate(fields or CSV_FIELDS) if fields or any(row[number] for row in rows)
    ]
    _console().print(_table([name for _, name in names], ([row[number] for number, _ in names] for row in rows)))


def _shown(what: Any) -> str:
    return "" if what is None else str(what)


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
    return [
        _table(("cache", ""), rows),
        _databases_table(found.databases, found.at),
        _table((found.by, "rows", "share", ""), bars),
    ]


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
    return "" if at is None else f"{instant_text(at)} ({(now - at).total_seconds() / 86400:.0f} days ago)"


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
