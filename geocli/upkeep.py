"""Keeping a cache in good order: asking again, counting, forgetting."""

from __future__ import annotations

import os
from collections import Counter
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from geocli.entries import RETRY_AFTER, instant_text
from geocli.errors import BusyError, DatabaseError, StorageError
from geocli.logs import log
from geocli.storage.flushing import LOCK
from geocli.storage.store import FILE_NAME
from geocli.values import Value

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from geocli.cache import GeoCache
    from geocli.databases.discovery import Database
    from geocli.entries import Entry
    from geocli.settings import Settings
    from geocli.storage.files import DataDirectory
    from geocli.storage.journal import Journal, JournalStatus
    from geocli.storage.store import Store

FLUSH_PATIENCE_SECONDS = 10.0
"""How long asking again waits for cron's flush of the same minute."""
PAGE = 500
"""Rows that are read, and resolved again, together."""
STATUSES = ("resolved", "special", "unresolved")
"""What a stored row can be."""
_COLUMNS = {"country": "country_code", "asn": "asn", "city": "city", "source": "source"}


class ReResolveReport(Value):
    """What asking again came to."""

    retried: int = 0
    """Rows that were asked for again."""
    found: int = 0
    """Of these, nobody knew before, and somebody does now."""
    changed: int = 0
    """Of these, are in another country now."""
    unknown: int = 0
    """Of these, nobody knows still."""

    @property
    def sentence(self) -> str:
        """What a person reads."""
        return f"{self.retried} retried, {self.found} found, {self.changed} changed, {self.unknown} still unknown"


def re_resolve(  # noqa: PLR0913 (each is an option of the command)
    cache: GeoCache,
    store: Store,
    now: datetime,
    which: str | timedelta = "due",
    *,
    limit: int | None = None,
    dry_run: bool = False,
    flush: bool = True,
) -> ReResolveReport:
    """Ask the sources again for stored rows; the answers go through the journal, page by page.

    Args:
        cache: asks and keeps.
        store: says which rows there are.
        now: the time, in UTC.
        which: `due` (retry time has come, or other sources are there now), `unresolved`, `all`, or the age
            from which on rows are asked for again.
        limit: at most so many rows.
        dry_run: count the rows, and ask nobody.
        flush: move the answers into the store at the end.

    Raises:
        StorageError: the store cannot be read, or answers cannot be kept.
        BusyError: another program keeps the store locked.

    """
    counts = dict.fromkeys(("retried", "found", "changed", "unknown"), 0)
    for page in _pages(store, _condition(which, now, cache), limit):
        counts["retried"] += len(page)
        if dry_run:
            continue
        for before, after in zip(page, cache.lookup_batch([entry.ip for entry in page], mode="refresh"), strict=True):
            counts["unknown"] += after.status == "unresolved"
            counts["found"] += before.status == "unresolved" and after.status == "resolved"
            if before.status == after.status and before.place.country_code != after.place.country_code:
                counts["changed"] += 1
                log("country changed", ip=after.ip, before=before.place.country_code, after=after.place.country_code)
    if flush and not dry_run:
        try:
            cache.flush_dirty(wait_seconds=FLUSH_PATIENCE_SECONDS)
        except BusyError as error:
            if not error.path.endswith(LOCK):  # else another flush is at it, and the next one has the rest
                raise
    return ReResolveReport(**counts)


def _condition(which: str | timedelta, now: datetime, cache: GeoCache) -> tuple[str, tuple[Any, ...]]:
    if isinstance(which, timedelta):
        return "resolved_at <= ?", (instant_text(now - which),)
    if which == "due":
        due = "retry_at <= ? OR retry_at > ? OR generations.sources IS NOT ?"
        return due, (instant_text(now), instant_text(now + RETRY_AFTER[-1]), cache.generation())
    return {"unresolved": "status = 'unresolved'", "all": "1"}[which], ()


def _pages(store: Store, condition: tuple[str, tuple[Any, ...]], limit: int | None) -> Iterator[list[Entry]]:
    """Return the selected rows in pages; the place is kept by address, so that each row comes once."""
    after, left = "", limit if limit is not None else 1 << 62
    while page := store.due(*condition, after, min(PAGE, left)):
        after, left = page[-1].ip, left - len(page)
        yield page


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


def stats(  # noqa: PLR0913 (each is an option, or a part of the cache)
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
        found: tuple[dict[str, int], Counter[Any]] = ask(lambda: store.tally(column, STATUSES), ({}, Counter()))
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
        organisations=ask(lambda: store.organisations(asns), None) if by == "asn" else None,
        countries={code: count for code, count in countries.items() if code} if with_countries else None,
        journal=ask(journal.status, None),
        last_flush=ask(store.last_flush, None),
        databases=databases(chosen),
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
    resolver.sources({}, problems.append)
    found = [_described(database) for database in resolver.databases(lambda _: None)]
    return found + [_damaged(problem) for problem in problems]


def _described(database: Database) -> DatabaseStats:
    file = database.file
    return DatabaseStats(
        name=database.name,
        path=file.path,
        size_bytes=file.size_bytes,
        built_at=database.built_at,
        attribution=database.attribution,
    )


def _damaged(problem: DatabaseError) -> DatabaseStats:
    name = os.path.basename(problem.path).removesuffix(".mmdb")
    return DatabaseStats(name=name, path=problem.path, size_bytes=0, built_at=None, error=str(problem))


def clear(directory: DataDirectory, chosen: Settings, *, unresolved: bool, resolved_before: datetime | None) -> int:
    """Delete rows of the store, all by default, and return how many.

    Raises:
        BusyError: a flush is running, or another program keeps the store locked.
        StoreError: nothing was deleted.

    """
    from geocli.storage.writer import StoreWriter

    if not os.path.exists(directory.file(FILE_NAME)):
        return 0
    conditions: list[tuple[str, Sequence[Any]]] = [("1", ())]
    if unresolved:
        conditions.append(("status = 'unresolved'", ()))
    if resolved_before is not None:
        conditions.append(("resolved_at < ?", (instant_text(resolved_before),)))
    where = " AND ".join(condition for condition, _ in conditions)
    values = tuple(value for _, given in conditions for value in given)
    with directory.locked(LOCK, chosen.lock_timeout_seconds):
        writer = StoreWriter(directory, busy_timeout_seconds=chosen.busy_timeout_seconds)
        try:
            return writer.delete(where, values)
        finally:
            writer.close()
