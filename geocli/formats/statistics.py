"""Statistics of a cache as JSON, as a table with bars and a map, or for Prometheus."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from geocli.console import complain
from geocli.files.atomic import output_to
from geocli.formats.rows import json_text
from geocli.timestamps import instant_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geocli.stats import DatabaseStats, Stats


def print_stats(stats: Stats, format_: str | None, output: str | None) -> None:
    """Print statistics in a format, or replace a file with them."""
    for_people = stats.countries is not None or (sys.stdout.isatty() and output is None)
    format_ = format_ or ("table" if for_people else "json")
    # JSON contains the problems.
    if format_ != "json":
        print_reasons(stats.problems)
    if format_ == "table" and output is None:
        from geocli.formats.statistics_table import print_table

        print_table(stats)
        return
    text = _text(stats, format_, is_svg=output is not None and output.lower().endswith(".svg"))
    with output_to(output) as put:
        put(text.encode())


def _text(stats: Stats, format_: str, *, is_svg: bool) -> str:
    if is_svg and stats.countries is not None:
        from geocli.formats.svg_map import standalone_map

        return standalone_map(stats.countries, sum(stats.statuses.values()))
    if format_ == "prometheus":
        from geocli.formats.prometheus import prometheus

        return prometheus(stats)
    if format_ == "table":
        from geocli.formats.statistics_table import parts
        from geocli.formats.terminal import text_of

        return text_of(lambda console: parts(stats, console))
    return _json(stats)


def print_reasons(reasons: Sequence[str]) -> int:
    """Print complaints to standard error, and return the exit status."""
    for reason in reasons:
        complain(reason)
    return 1 if reasons else 0


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


def databases_json(databases: Sequence[DatabaseStats]) -> list[dict[str, Any]]:
    """Return databases as values of JSON."""
    return [{**row.as_dict(), "built_at": row.built_at and instant_text(row.built_at)} for row in databases]
