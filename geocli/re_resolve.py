"""Resolve stored rows again: which of them, in which order, and what came of it."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

from geocli.errors import BusyError, JournalError
from geocli.freshness import MAX_LIFETIME, RETRY_AFTER
from geocli.immutable import Value
from geocli.logs import log
from geocli.storage.flush import LOCK
from geocli.timestamps import earlier, instant_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Protocol

    from geocli.api_arguments import Mode, Which
    from geocli.errors import GeocliError
    from geocli.models import Entry
    from geocli.storage.directory import DataDirectory
    from geocli.storage.flush import FlushReport
    from geocli.storage.store import Report, Store

    class Cache(Protocol):
        """The part of a GeoCache that resolves, appends and flushes."""

        on_problem: Callable[[GeocliError], None]

        @property
        def directory(self) -> DataDirectory:
            """The data directory."""

        def generation(self) -> str:
            """Return the current generation."""

        def lookup_batch(self, texts: Sequence[str], *, mode: Mode) -> Iterator[Entry]:
            """Return an entry for each address, in their order."""

        def flush_dirty(self, *, wait_seconds: float) -> FlushReport:
            """Move the journal into the store."""


FLUSH_TIMEOUT_SECONDS = 10.0
"""Time to wait for cron's flush of the same minute."""
RE_RESOLVE_LOCK = "re-resolve.lock"
PAGE = 500
"""Rows that are read, and resolved again, together."""
LATEST = "9999-12-31T23:59:59Z"
OF_GENERATION = "+geo_cache.generation = ?"
"""The sign keeps SQLite from using the index on generations: nearly all rows are of this one."""
AHEAD = (
    "geo_cache.rowid IN (SELECT rowid FROM geo_cache WHERE retry_at > ? AND (status = 'unresolved' OR retry_at > ?)) "
    f"AND {OF_GENERATION}"
)
"""Rows whose retry time was set by a wrong clock; found by the index on retry times."""


class ReResolveReport(Value):
    """Result of resolving rows again."""

    retried: int = 0
    """Rows that were resolved again."""
    found: int = 0
    """Of these, rows that were unresolved and now are resolved."""
    changed: int = 0
    """Of these, rows whose country changed."""
    unknown: int = 0
    """Of these, rows that still are unresolved."""

    @property
    def sentence(self) -> str:
        """The report for people."""
        return f"{self.retried} retried, {self.found} found, {self.changed} changed, {self.unknown} still unknown"


def re_resolve(  # noqa: PLR0913 (each is an option of the command)
    cache: Cache,
    store: Store,
    now: datetime,
    which: Which = "due",
    *,
    limit: int | None = None,
    dry_run: bool = False,
    flush: bool = True,
) -> ReResolveReport:
    """Resolve stored rows again, page by page; the answers of each page are in the journal before the next begins.

    Args:
        cache: resolves, appends and flushes.
        store: has the rows.
        now: the time, in UTC.
        which: `due` (the sources changed, the retry time has come, or the answer of a web service has expired),
            `unresolved`, `all`, or the minimum age of rows.
        limit: maximum number of rows.
        dry_run: whether to count the rows only.
        flush: whether to move the answers into the store at the end.

    Raises:
        StorageError: the store cannot be read, or answers cannot be appended.
        BusyError: another process resolves rows again, or another program keeps the store locked.

    """
    limit = sys.maxsize if limit is None else min(limit, sys.maxsize)  # `islice` takes no larger one
    if dry_run:
        rows = islice(_selected(store, which, now, cache), limit)
        return ReResolveReport(retried=sum(1 for _ in rows))
    counts = dict.fromkeys(("retried", "found", "changed", "unknown"), 0)
    with cache.directory.locked(RE_RESOLVE_LOCK, 0):  # no service may be asked twice
        if flush:  # an earlier run may have been killed before it stored its answers
            _flush(cache)
        rows = islice(_selected(store, which, now, cache), limit)
        while page := list(islice(rows, PAGE)):
            _resolve_again(cache, page, "due" if which == "due" else "again", counts)
        if flush:
            _flush(cache)
    return ReResolveReport(**counts)


def _resolve_again(cache: Cache, page: list[Entry], mode: Mode, counts: dict[str, int]) -> None:
    counts["retried"] += len(page)
    for before, after in zip(page, cache.lookup_batch([entry.ip for entry in page], mode=mode), strict=True):
        counts["unknown"] += after.status == "unresolved"
        counts["found"] += before.status == "unresolved" and after.status == "resolved"
        if before.status == after.status and before.place.country_code != after.place.country_code:
            counts["changed"] += 1
            log("country changed", ip=after.ip, before=before.place.country_code, after=after.place.country_code)


def _flush(cache: Cache) -> None:
    try:
        cache.flush_dirty(wait_seconds=FLUSH_TIMEOUT_SECONDS)
    except BusyError as error:
        if not error.path.endswith(LOCK):  # else another flush is running; the next one stores the rest
            raise
    except JournalError as error:  # a segment cannot be read; the others are stored
        cache.on_problem(error)


def _selected(store: Store, which: Which, now: datetime, cache: Cache) -> Iterator[Entry]:
    """Yield the selected rows, each once though resolved ones are no longer due, reading a page at a time."""
    report = cache.on_problem
    if isinstance(which, timedelta):
        return _rows(store, report, "resolved_at <= ?", instant_text(earlier(now, which)))
    if which == "all":
        return _rows(store, report, "1")
    if which == "unresolved":
        return _retried(store, report, LATEST, "status = 'unresolved'")
    return _due(store, report, now, cache.generation())


def _due(store: Store, report: Report, now: datetime, generation: str) -> Iterator[Entry]:
    """Yield rows of other generations; then rows whose retry time has come; then those with the time of a wrong clock.

    Local sources can always answer the first ones, which thus never wait for a service that fails.
    """
    numbers = store.generations()
    current = numbers.pop(generation, None)
    for number in (None, *numbers.values()):
        yield from _rows(store, report, "geo_cache.generation IS ?", number)
    if current is not None:
        yield from _retried(store, report, instant_text(now), OF_GENERATION, current)
        ahead = (instant_text(now + RETRY_AFTER[-1]), instant_text(now + MAX_LIFETIME), current)
        yield from _rows(store, report, AHEAD, *ahead)


def _retried(store: Store, report: Report, until: str, condition: str, *values: Any) -> Iterator[Entry]:
    """Yield rows with a retry time up to a time, in the order of their retry times."""
    at = ""
    while at := store.next_retry_at(at, until):
        yield from _rows(store, report, f"retry_at = ? AND {condition}", at, *values)


def _rows(store: Store, report: Report, condition: str, *values: Any) -> Iterator[Entry]:
    after = 0
    while page := store.due(condition, values, after, PAGE, report):
        yield from (entry for _, entry in page)
        after = page[-1][0]
