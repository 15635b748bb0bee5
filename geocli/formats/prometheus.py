"""Prometheus's text exposition format 0.0.4: figures of a cache, under names that stay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geocli.sanitize import safe
from geocli.timestamps import instant

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from geocli.stats import Stats

    Samples = Iterable[tuple[str, float]]
    """Labels, as they are written, with numbers."""


def prometheus(found: Stats) -> str:
    """Return the figures; what cannot be read is left out, since 0 would be wrong."""
    lines: list[str] = []
    for name, meaning, samples in _metrics(found):
        lines += [f"# HELP geocli_{name} {meaning}", f"# TYPE geocli_{name} gauge"]
        lines += [f"geocli_{name}{labels} {_number(number)}" for labels, number in samples]
    return "\n".join(lines) + "\n"


def _metrics(found: Stats) -> Iterator[tuple[str, str, Samples]]:
    statuses = [(_label("status", status), count) for status, count in found.statuses.items()]
    yield "cache_entries", "Rows of the store.", statuses
    if found.journal is not None:
        yield "journal_entries", "Entries that are not yet in the store.", [("", found.journal.entries)]
        yield "journal_bytes", "Size of the journal and its segments.", [("", found.journal.size_bytes)]
        yield "journal_quarantined_bytes", "Size of journal.bad.", [("", found.journal.quarantined_bytes)]
        if (oldest_at := found.journal.oldest_at) is not None:
            stamp = [("", oldest_at.timestamp())]
            yield "journal_oldest_timestamp_seconds", "When the oldest entry of the journal was written.", stamp
    if found.last_flush is not None and (at := instant(found.last_flush[0])) is not None:
        _, entries, seconds = found.last_flush
        yield "flush_last_success_timestamp_seconds", "When a flush last stored something.", [("", at.timestamp())]
        yield "flush_last_entries", "Entries that it stored.", [("", entries)]
        yield "flush_last_duration_seconds", "How long it took.", [("", seconds)]
    built = {row.name: row.built_at.timestamp() for row in reversed(found.databases) if row.built_at is not None}
    editions = [(_label("edition", name), stamp) for name, stamp in built.items()]
    yield "database_build_timestamp_seconds", "When a database was built.", editions


def _number(number: float) -> str:
    return str(int(number)) if number == int(number) else repr(number)


def _label(name: str, text: str) -> str:
    escaped = safe(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'{{{name}="{escaped}"}}'
