"""Count the rows of a cache, and describe the databases at hand."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Any

from geocli.errors import BusyError, StorageError
from geocli.immutable import Value
from geocli.storage import aggregates

if TYPE_CHECKING:
    from datetime import datetime

    from geocli.databases.database import Database
    from geocli.errors import DatabaseError
    from geocli.settings import Settings
    from geocli.storage.journal import Journal
    from geocli.storage.journal_reader import JournalStatus
    from geocli.storage.store import Store

STATUSES = ("resolved", "special", "unresolved")
"""What a stored row can be."""
_COLUMNS = {"country": "country_code", "asn": "asn", "city": "city", "source": "source"}


class DatabaseStats(Value):
    """A database at hand."""

    name: str
    """Its edition."""
    path: str
    """Where it is."""
    size_bytes: int
    """Of the file."""
    built_at: datetime | None
    """When it was built; UTC."""
    error: str | None = None
    """Why it cannot be asked."""
    attribution: str | None = None
    """What its licence asks those to show who show its data."""
    kind: str | None = None
    """The kind of value that its first record is: `map`, `string`, `number`, `boolean`, `list` or `bytes`."""


class Stats(Value):
    """What is in a cache, and how it fares."""

    at: datetime
    """When it was counted; UTC."""
    statuses: dict[str, int]
    """Rows of the store by status."""
    by: str
    """What `top` counts by."""
    top: list[tuple[str | int | None, int]]
    """The most frequent values with their numbers of rows."""
    journal: JournalStatus | None
    """What is dirty; None if it cannot be read."""
    last_flush: tuple[str, int, float] | None
    """When the last flush that stored something ended, its entries, its seconds."""
    databases: list[DatabaseStats]
    """In the order in which they are asked."""
    problems: list[str]
    """What cannot be read, and why."""
    organisations: dict[int, str] | None = None
    """Of the autonomous systems in `top`, by their numbers."""
    countries: dict[str, int] | None = None
    """Rows by the code of their country, if they were asked for."""


def collect(  # noqa: PLR0913 (each is an option, or a part of the cache)
    journal: Journal, store: Store, chosen: Settings, now: datetime, *, by: str, top: int, with_countries: bool = False
) -> Stats:
    """Count what is in the cache; what cannot be read is named among the problems.

    Args:
        journal: holds what is dirty.
        store: holds all else; it is read once, twice if the countries are wanted beside another column.
        chosen: say where databases are.
        now: the time, in UTC.
        by: what to count by: `country`, `asn`, `city` or `source`.
        top: how many of the most frequent ones; with 0 only statuses are counted, which is faster.
        with_countries: whether to count all countries, too.

    """
    problems: list[str] = []

    def ask(question: Any, otherwise: Any) -> Any:
        try:
            return question()
        except (StorageError, BusyError) as error:
            if str(error) not in problems:
                problems.append(str(error))
            return otherwise

    def tally(column: str | None) -> tuple[dict[str, int], Counter[Any]]:
        found: tuple[dict[str, int], Counter[Any]] = ask(
            lambda: aggregates.tally(store, column, STATUSES), ({}, Counter())
        )
        return found

    statuses, values = tally(_COLUMNS[by] if top or (with_countries and by == "country") else None)
    countries = values if by == "country" or not with_countries else tally("country_code")[1]
    most_frequent = _most_frequent(values, top)
    asns = [what for what, _ in most_frequent if isinstance(what, int)]
    return Stats(
        at=now,
        statuses=statuses,
        by=by,
        top=most_frequent,
        organisations=ask(lambda: aggregates.organisations(store, asns), None) if by == "asn" else None,
        countries={code: count for code, count in countries.items() if code} if with_countries else None,
        journal=ask(journal.status, None),
        last_flush=ask(store.last_flush, None),
        databases=[*databases(chosen), *missing_directories(chosen)],
        problems=problems,
    )


def _most_frequent(values: Counter[Any], top: int) -> list[tuple[str | int | None, int]]:
    """Return so many values, the largest number first, then in the order of SQLite: nothing, numbers, texts."""
    found = ((repr(what) if isinstance(what, bytes) else what, number) for what, number in values.items())
    ordered = sorted(found, key=lambda item: (-item[1], item[0] is not None, isinstance(item[0], str), item[0]))
    return ordered[:top]


def databases(chosen: Settings) -> list[DatabaseStats]:
    """Return the databases at hand, in the order in which they are asked; those that are damaged come last."""
    from geocli.resolvers.mmdb import MmdbResolver

    problems: list[Any] = []
    resolver = MmdbResolver(chosen.database_dirs, chosen.databases)
    resolver.sources(None, problems.append)
    found = [_described(database) for database in resolver.databases(problems.append)]
    return found + [_damaged(problem) for problem in problems]


def missing_directories(chosen: Settings) -> list[DatabaseStats]:
    """Return the directories of databases that the user named and that are not there, as databases with an error."""
    from geocli.databases.discovery import missing

    return [_damaged(problem) for problem in missing(() if chosen.databases else chosen.named_dirs)]


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
