"""Count the rows of a cache, and describe its databases."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Any

from geocli.errors import BusyError, StorageError
from geocli.immutable import Value
from geocli.storage import aggregates

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from typing import TypeAlias

    from geocli.databases.database import Database
    from geocli.errors import DatabaseError
    from geocli.settings import Settings
    from geocli.storage.journal import Journal
    from geocli.storage.journal_reader import JournalStatus
    from geocli.storage.store import Store

    Tally: TypeAlias = tuple[dict[str, int], Counter[Any]]

STATUSES = ("resolved", "special", "unresolved")
"""Statuses of stored rows."""
_COLUMNS = {"country": "country_code", "asn": "asn", "city": "city", "source": "source"}


class DatabaseStats(Value):
    """A database that is used for lookups, or cannot be."""

    name: str
    """Edition."""
    path: str
    size_bytes: int
    built_at: datetime | None
    """Build time; UTC."""
    error: str | None = None
    """Why it cannot be used."""
    attribution: str | None = None
    """Attribution that its licence requires."""
    kind: str | None = None
    """Type of its first record: `map`, `string`, `number`, `boolean`, `list` or `bytes`."""


class Stats(Value):
    """The content and the state of a cache."""

    at: datetime
    """Time of counting; UTC."""
    statuses: dict[str, int]
    """Rows of the store by status."""
    by: str
    """Field by which `top` counts."""
    top: list[tuple[str | int | None, int]]
    """Most frequent values with their numbers of rows."""
    journal: JournalStatus | None
    """State of the journal; None if it cannot be read."""
    last_flush: tuple[str, int, float] | None
    """End, number of entries and seconds of the last flush that stored entries."""
    databases: list[DatabaseStats]
    """Databases in their order."""
    problems: list[str]
    """Errors of reading the cache."""
    organisations: dict[int, str] | None = None
    """Organisations of the autonomous systems in `top`, by their numbers."""
    countries: dict[str, int] | None = None
    """Rows by country code, if requested."""


def collect(  # noqa: PLR0913 (each is an option, or a part of the cache)
    journal: Journal,
    store: Store,
    settings: Settings,
    now: datetime,
    *,
    by: str,
    top: int,
    with_countries: bool = False,
) -> Stats:
    """Count the rows of a cache by `country`, `asn`, `city` or `source`; errors of reading are among the problems.

    The store is read once; twice to count countries and another column. With a `top` of 0 only statuses are counted,
    which is faster.
    """
    problems: list[str] = []

    def read(query: Callable[[], Any], default: Any) -> Any:
        try:
            return query()
        except (StorageError, BusyError) as error:
            if str(error) not in problems:
                problems.append(str(error))
            return default

    def tally(column: str | None) -> Tally:
        counts: Tally = read(lambda: aggregates.tally(store, column, STATUSES), ({}, Counter()))
        return counts

    statuses, values = tally(_COLUMNS[by] if top or (with_countries and by == "country") else None)
    countries = None
    if with_countries:
        by_country = values if by == "country" else tally("country_code")[1]
        countries = {code: count for code, count in by_country.items() if code}
    most_frequent = _most_frequent(values, top)
    asns = [value for value, _ in most_frequent if isinstance(value, int)]
    return Stats(
        at=now,
        statuses=statuses,
        by=by,
        top=most_frequent,
        organisations=read(lambda: aggregates.organisations(store, asns), None) if by == "asn" else None,
        countries=countries,
        journal=read(journal.status, None),
        last_flush=read(store.last_flush, None),
        databases=[*databases(settings), *missing_directories(settings)],
        problems=problems,
    )


def _most_frequent(values: Counter[Any], top: int) -> list[tuple[str | int | None, int]]:
    """Return the most frequent values; those of equal number in the order of SQLite: NULL, integers, text."""
    counts = ((repr(value) if isinstance(value, bytes) else value, number) for value, number in values.items())
    ordered = sorted(counts, key=lambda item: (-item[1], item[0] is not None, isinstance(item[0], str), item[0]))
    return ordered[:top]


def databases(settings: Settings) -> list[DatabaseStats]:
    """Return the databases in their order, then the damaged ones."""
    from geocli.resolvers.mmdb import MmdbResolver

    problems: list[Any] = []
    resolver = MmdbResolver(settings.database_dirs, settings.databases)
    resolver.sources(None, problems.append)
    opened = [_described(database) for database in resolver.databases(problems.append)]
    return opened + [_damaged(problem) for problem in problems]


def missing_directories(settings: Settings) -> list[DatabaseStats]:
    """Return the configured directories of databases that do not exist, as databases with an error."""
    from geocli.databases.discovery import missing

    return [_damaged(problem) for problem in missing(() if settings.databases else settings.named_dirs)]


def _described(database: Database) -> DatabaseStats:
    file = database.file
    return DatabaseStats(
        name=database.name,
        path=file.path,
        size_bytes=file.size_bytes,
        built_at=database.built_at,
        attribution=database.attribution,
        kind=database.kind,
    )


def _damaged(problem: DatabaseError) -> DatabaseStats:
    name = os.path.basename(problem.path).removesuffix(".mmdb")
    return DatabaseStats(name=name, path=problem.path, size_bytes=0, built_at=None, error=str(problem))
