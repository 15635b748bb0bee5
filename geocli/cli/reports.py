"""The pages of `--report`: about a batch, and about the cache."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Any

from geocli.formats.report import Report, write_report

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from geocli.batch.request import BatchRequest
    from geocli.batch.run import BatchReport
    from geocli.stats import DatabaseStats, Stats


def write_batch_report(
    batch: BatchReport, request: BatchRequest, path: str, databases: Sequence[DatabaseStats], now: datetime
) -> None:
    """Replace a file with a page about the rows of a batch."""
    tally = batch.tally
    rows = [dict(zip(tally.fields, key, strict=True)) | {"lines": count} for key, count in tally.lines.items()]
    step, times = batch.timeline.steps() if batch.timeline else (None, [])
    addresses = f"{'' if tally.is_exact else 'at least '}{tally.addresses.total():,}"
    countries = _counts_of(rows, lambda row: row["country_code"])
    report = Report(
        title=", ".join("standard input" if name == "-" else os.path.basename(name) for name in request.files),
        at=now,
        rows="lines",
        total=tally.lines.total(),
        facts=[("distinct addresses", addresses), ("countries", f"{len(countries):,}")],
        countries=countries,
        networks=_counts_of(rows, lambda row: _network(row["asn"], row["org"])),
        cities=_counts_of(rows, _city),
        without_place=_counts_of(rows, lambda row: None if row["country_code"] else str(row["scope"] or row["status"])),
        times=times,
        databases=databases,
        **({} if step is None else {"step": step}),
    )
    write_report(report, path)


def write_cache_report(stats_by: dict[str, Stats], path: str) -> None:
    """Replace a file with a page about the cache, which was counted by country, by network and by city."""
    stats, networks, cities = stats_by["country"], stats_by["asn"], stats_by["city"]
    names = networks.organisations or {}
    report = Report(
        title="Cache of geocli",
        at=stats.at,
        rows="addresses",
        total=sum(stats.statuses.values()),
        facts=[(status, f"{count:,}") for status, count in stats.statuses.items()],
        countries=stats.countries or {},
        networks={_network(asn, names.get(asn)) or "": n for asn, n in networks.top if isinstance(asn, int)},
        cities={str(city): count for city, count in cities.top if city},
        without_place={kind: count for kind in ("special", "unresolved") if (count := stats.statuses.get(kind))},
        databases=stats.databases,
    )
    write_report(report, path)


def _counts_of(rows: Sequence[dict[str, Any]], name_of: Any) -> Counter[str]:
    counts = Counter[str]()
    for row in rows:
        if name := name_of(row):
            counts[name] += row["lines"]
    return counts


def _network(asn: int | None, org: str | None) -> str | None:
    number = "" if asn is None else f"AS{asn}"
    return f"{org} ({number})" if org and number else org or number or None


def _city(row: dict[str, Any]) -> str | None:
    return f"{row['city']}, {row['country_name'] or row['country_code'] or ''}".rstrip(", ") if row["city"] else None
