"""The verdict of `stats --check`: what needs an operator, with advice."""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from geocli.errors import BusyError, StorageError
from geocli.files.file_checks import refusal
from geocli.storage.dirty_check import JOURNAL
from geocli.storage.disk_space import ENTRY_BYTES, LOG_SUFFIX, USUAL_LOG_BYTES, free_bytes
from geocli.storage.flush import LOCK
from geocli.storage.journal_reader import QUARANTINE
from geocli.storage.store import FILE_NAME
from geocli.storage.store_writer import check_writable
from geocli.timestamps import instant_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geocli.stats import DatabaseStats, Stats
    from geocli.storage.directory import DataDirectory
    from geocli.storage.journal_reader import JournalStatus

OLD_DATABASE = timedelta(days=35)
"""Age of a database that is no longer updated: all are built at least monthly."""
CLOCK_TOLERANCE = timedelta(minutes=5)
"""Age of future answers that a correct clock may cause."""
MIN_FREE_BYTES = 1 << 20
"""Below this the disk is full: appends may fail."""
WAL_RESET_FIXED = ((3, 44, 6), (3, 50, 7))
"""Releases within the range of the bug with the correction (https://sqlite.org/wal.html#walresetbug)."""


def unhealthy(stats: Stats, directory: DataDirectory, max_lag: timedelta, *, journal_limit_mb: int = 64) -> list[str]:
    """Return a line for each problem of a cache.

    Dirty entries may be as old as `max_lag`, and the journal as large as `journal_limit_mb`, in megabytes.
    """
    entries = stats.journal.entries if stats.journal is not None else 0
    reasons = [*_of_directory(directory, entries), *_of_log(directory), *stats.problems]
    if stats.journal is not None:
        reasons += _of_journal(stats.at, stats.journal, max_lag, directory)
        if (size_mb := stats.journal.size_bytes / 1_000_000) > journal_limit_mb:
            reasons.append(f"the journal has {size_mb:.0f} MB, more than {journal_limit_mb} MB; run geocli flush")
    if stats.last_flush is not None and datetime.fromisoformat(stats.last_flush[0]) > stats.at + CLOCK_TOLERANCE:
        reasons.append(f"the last flush was at {stats.last_flush[0]}, which is in the future; is the clock right?")
    reasons += (reason for database in stats.databases for reason in _of_database(stats.at, database))
    return list(dict.fromkeys(reasons))


def notes(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> list[str]:
    """Return notes for an operator that are not problems, by the release of SQLite."""
    if not (3, 7, 0) <= version <= (3, 51, 2) or version in WAL_RESET_FIXED:
        return []
    running = ".".join(map(str, version))
    fault = "has the WAL-reset bug, corrected in 3.51.3, 3.50.7 and 3.44.6"
    return [f"note: SQLite {running} {fault}; let no other program write {FILE_NAME}"]


def _of_directory(directory: DataDirectory, entries: int) -> Iterator[str]:
    if not os.path.lexists(directory.path):  # the first append creates it
        return
    try:
        directory.prepare()
        space = os.statvfs(directory.path)
    except (OSError, StorageError) as error:
        yield str(error)
        return
    journal = directory.file(JOURNAL)
    if os.path.isfile(journal) and os.lstat(journal).st_nlink != 1:
        yield f"{journal}: has a hard link, so appends are refused; run geocli flush"
    bytes_free, needed_bytes = free_bytes(directory.path), MIN_FREE_BYTES + entries * ENTRY_BYTES
    if space.f_flag & os.ST_RDONLY:
        yield f"{directory.path}: the file system is read-only; remount it writable"
    elif bytes_free < MIN_FREE_BYTES:
        yield f"{directory.path}: the disk is full, {bytes_free >> 10} KiB are free; free some space"
    elif bytes_free < needed_bytes:
        growth = f"{entries} entries of the journal may take {needed_bytes >> 10} KiB in the store"
        yield f"{directory.path}: {bytes_free >> 10} KiB are free, and {growth}; free some space"


def _of_log(directory: DataDirectory) -> Iterator[str]:
    """Report a large WAL of the store while no flush is running."""
    path = directory.file(f"{FILE_NAME}{LOG_SUFFIX}")
    with suppress(OSError, BusyError, StorageError):
        if (size_bytes := os.path.getsize(path)) > USUAL_LOG_BYTES:
            with directory.locked(LOCK, 0):
                keeper = "kept large by a program that reads the store"
                yield f"{path}: {size_bytes / (1 << 20):.1f} MiB, {keeper}; fuser -v {path} names it"


def _of_journal(now: datetime, journal: JournalStatus, max_lag: timedelta, directory: DataDirectory) -> Iterator[str]:
    oldest_at = journal.oldest_at
    if oldest_at is not None and oldest_at > now + CLOCK_TOLERANCE:
        yield f"the journal has answers of {instant_text(oldest_at)}, which is in the future; is the clock right?"
    if oldest_at is not None and now - oldest_at > max_lag:
        segments = "1 sealed segment is" if journal.segments == 1 else f"{journal.segments} sealed segments are"
        waiting = f" ({segments} waiting)" if journal.segments else ""
        yield f"the journal was last flushed before {instant_text(oldest_at)}{waiting}; does cron run geocli flush?"
        yield from _of_flushing(directory)
    if journal.quarantined_bytes:
        yield f"{journal.quarantined_bytes} damaged bytes are in journal.bad; check the disk, then delete the file"
    with suppress(OSError):
        path = directory.file(QUARANTINE)
        if reason := refusal(os.lstat(path)):
            yield f"{path}: {reason}; until then damaged segments stay"


def _of_flushing(directory: DataDirectory) -> Iterator[str]:
    """Report what may block a flush."""
    try:
        with directory.locked(LOCK, 0):
            check_writable(directory.file(FILE_NAME))
    except BusyError as error:
        reason = "a flush is running, or hangs" if error.path.endswith(LOCK) else "locked by another program"
        yield f"{error.path}: {reason}; fuser -v {error.path} names it"
    except StorageError as error:
        yield str(error)


def _of_database(now: datetime, database: DatabaseStats) -> Iterator[str]:
    if database.error is not None:
        yield database.error
    elif database.built_at is not None and now - database.built_at > OLD_DATABASE:
        built = database.built_at.date().isoformat()
        yield f"{database.path}: built on {built}, older than {OLD_DATABASE.days} days; perhaps: geocli db update"
