"""Metrics of a cache in Prometheus's text exposition format 0.0.4; their names are stable."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geocli.sanitize import safe
from geocli.timestamps import instant

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from geocli.stats import Stats

    Samples = Iterable[tuple[str, float]]
    """Labels as they are printed, and values."""


def prometheus(stats: Stats) -> str:
    """Return the metrics; those that cannot be read are omitted, since 0 would be wrong."""
    lines: list[str] = []
    for name, help_, samples in _metrics(stats):
        lines += [f"# HELP geocli_{name} {help_}", f"# TYPE geocli_{name} gauge"]
        lines += [f"geocli_{name}{labels} {_number(number)}" for labels, number in samples]
    return "\n".join(lines) + "\n"


def _metrics(stats: Stats) -> Iterator[tuple[str, str, Samples]]:
    statuses = [(_label("status", status), count) for status, count in stats.statuses.items()]
    yield "cache_entries", "Rows of the store by status.", statuses
    if stats.journal is not None:
        yield "journal_entries", "Entries that are not in the store yet.", [("", stats.journal.entries)]
        yield "journal_bytes", "Size of the journal and its segments.", [("", stats.journal.size_bytes)]
        yield "journal_quarantined_bytes", "Size of journal.bad.", [("", stats.journal.quarantined_bytes)]
        if (oldest_at := stats.journal.oldest_at) is not None:
            stamp = [("", oldest_at.timestamp())]
            yield "journal_oldest_timestamp_seconds", "Time of the oldest entry in the journal.", stamp
    if stats.last_flush is not None and (at := instant(stats.last_flush[0])) is not None:
        _, entries, seconds = stats.last_flush
        yield (
            "flush_last_success_timestamp_seconds",
            "End of the last flush with entries.",
            [("", at.timestamp())],
        )
        yield "flush_last_entries", "Entries that the last flush stored.", [("", entries)]
        yield "flush_last_duration_seconds", "Duration of the last flush.", [("", seconds)]
    built = {row.name: row.built_at.timestamp() for row in reversed(stats.databases) if row.built_at is not None}
    editions = [(_label("edition", name), stamp) for name, stamp in built.items()]
    yield "database_build_timestamp_seconds", "Time at which a database was built.", editions


def _number(number: float) -> str:
    return str(int(number)) if number == int(number) else repr(number)


def _label(name: str, text: str) -> str:
    escaped = safe(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'{{{name}="{escaped}"}}'
