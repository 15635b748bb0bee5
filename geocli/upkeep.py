"""Keeping a cache in good order: asking again, counting, forgetting."""

from __future__ import annotations

import os
from collections import Counter
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

from geocli.errors import BusyError, DatabaseError, JournalError, StorageError
from geocli.freshness import MOST_LIFETIME, RETRY_AFTER
from geocli.immutable import Value
from geocli.logs import log
from geocli.storage import aggregates
from geocli.storage.flush import LOCK
from geocli.timestamps import earlier, instant_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geocli.cache import GeoCache, Mode, Which
    from geocli.databases.discovery import Database
    from geocli.models import Entry
    from geocli.settings import Settings
    from geocli.storage.journal import Journal
    from geocli.storage.journal_reader import JournalStatus
    from geocli.storage.store import Report, Store

FLUSH_PATIENCE_SECONDS = 10.0
"""How long asking again waits for cron's flush of the same minute."""
RE_RESOLVE_LOCK = "re-resolve.lock"
PAGE = 500
"""Rows that are read, and resolved again, together."""
LAST = "9999-12-31T23:59:59Z"
"""No time is later."""
OF_GENERATION = "+geo_cache.generation = ?"
"""The sign keeps SQLite from the index on generations, where nearly all rows are of this one."""
AHEAD = (
    "geo_cache.rowid IN (SELECT rowid FROM geo_cache WHERE retry_at > ? AND (status = 'unresolved' OR retry_at > ?)) "
    f"AND {OF_GENERATION}"
)
"""Rows that are to be tried again after a longer time than there is; by the index on the times."""
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
    which: Which = "due",
    *,
    limit: int | None = None,
    dry_run: bool = False,
    flush: bool = True,
) -> ReResolveReport:
    """Ask the sources again for stored rows; the answers go through the journal, page by page.

    Web services are asked for what no local source knows. Whoever is killed has kept all pages but the last.

    Args:
        cache: asks and keeps.
        store: says which rows there are.
        now: the time, in UTC.
        which: `due` (other sources are there now, the retry time has come, or the lifetime of a web service's
            answer is over), `unresolved`, `all`, or the age from which on rows are asked for again.
        limit: at most so many rows.
        dry_run: count the rows, and ask nobody.
        flush: move the answers into the store at the end.

    Raises:
        StorageError: the store cannot be read, or answers cannot be kept.
        BusyError: another run is at it, or another program keeps the store locked.

    """
    if dry_run:
        rows = islice(_selected(store, which, now, cache), limit)
        return ReResolveReport(retried=sum(1 for _ in rows))
    counts = dict.fromkeys(("retried", "found", "changed", "unknown"), 0)
    with cache.directory.locked(RE_RESOLVE_LOCK, 0):  # a service must not be asked twice
        if flush:  # what an earlier run that was killed has found out is not asked for again
            _flush(cache)
        rows = islice(_selected(store, which, now, cache), limit)
        while page := list(islice(rows, PAGE)):
            _ask_again(cache, page, "due" if which == "due" else "again", counts)
        if flush:
            _flush(cache)
    return ReResolveReport(**counts)


def _ask_again(cache: GeoCache, page: list[Entry], mode: Mode, counts: dict[str, int]) -> None:
    counts["retried"] += len(page)
    for before, after in zip(page, cache.lookup_batch([entry.ip for entry in page], mode=mode), strict=True):
        counts["unknown"] += after.status == "unresolved"
        counts["found"] += before.status == "unresolved" and after.status == "resolved"
        if before.status == after.status and before.place.country_code != after.place.country_code:
            counts["changed"] += 1
            log("country changed", ip=after.ip, before=before.place.country_code, after=after.place.country_code)


def _flush(cache: GeoCache) -> None:
    try:
        cache.flush_dirty(wait_seconds=FLUSH_PATIENCE_SECONDS)
    except BusyError as error:
        if not error.path.endswith(LOCK):  # else another flush is at it, and the next one has the rest
            raise
    except JournalError as error:  # a segment that cannot be read; all others are stored
        cache.on_problem(error)


def _selected(store: Store, which: Which, now: datetime, cache: GeoCache) -> Iterator[Entry]:
    """Return rows, each once although what is asked for meanwhile is no longer due, and few of them at a time."""
    report = cache.on_problem
    if isinstance(which, timedelta):
        return _rows(store, report, "resolved_at <= ?", instant_text(earlier(now, which)))
    if which == "all":
        return _rows(store, report, "1")
    if which == "unresolved":
        return _retried(store, report, LAST, "status = 'unresolved'")
    return _due(store, report, now, cache.chain.generation(cache.sources()[0]))


def _due(store: Store, report: Report, now: datetime, generation: str) -> Iterator[Entry]:
    """Return rows of other generations; then those whose time has come; then those with the time of a wrong clock.

    The local sources can always answer the first ones, so these never wait behind those of a service that fails.
    """
    numbers = store.generations()
    current = numbers.pop(generation, None)
    for number in (None, *numbers.values()):
        yield from _rows(store, report, "geo_cache.generation IS ?", number)
    if current is not None:
        yield from _retried(store, report, instant_text(now), OF_GENERATION, current)
        ahead = (instant_text(now + RETRY_AFTER[-1]), instant_text(now + MOST_LIFETIME), current)
        yield from _rows(store, report, AHEAD, *ahead)


def _retried(store: Store, report: Report, until: str, condition: str, *values: Any) -> Iterator[Entry]:
    """Return rows that are to be tried again until some time, in the order of theirs."""
    at = ""
    while at := store.next_retry_at(at, until):
        yield from _rows(store, report, f"retry_at = ? AND {condition}", at, *values)


def _rows(store: Store, report: Report, condition: str, *values: Any) -> Iterator[Entry]:
    after = 0
    while page := store.due(condition, values, after, PAGE, report):
        yield from (entry for _, entry in page)
        after = page[-1][0]


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
