"""Write the store: schema, transactions, segments, each stored exactly once, and clears."""

from __future__ import annotations

import os
import sqlite3
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, Any

from geocli.errors import BusyError, JournalError, StorageError, StoreError
from geocli.files.file_checks import check_store
from geocli.fork_safety import postponed
from geocli.storage.clears import Clear
from geocli.storage.disk_space import BLOCK_ROWS, CACHE_BYTES, LOG_SUFFIX, USUAL_LOG_BYTES
from geocli.storage.segments import MAX_NUMBER
from geocli.storage.sqlite_errors import MOVE_STORE, is_full, sqlite_errors
from geocli.storage.store import FILE_NAME, SCHEMA_VERSION, check_version, version_of
from geocli.storage.store_rows import among
from geocli.storage.upserts import RowBlock, Upserts
from geocli.timestamps import instant_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from geocli.storage.directory import DataDirectory
    from geocli.storage.disk_space import DiskSpace
    from geocli.storage.frames import Frame
    from geocli.storage.journal import Journal
    from geocli.storage.segments import Segment


MAX_BUSY_SECONDS = 2_000_000
"""SQLite counts milliseconds in 32 bits, and does not wait at all for more."""
_NEXT_NUMBER = (
    "SELECT IFNULL(MAX(number), 0) + 1 FROM (SELECT number FROM applied_segments UNION ALL SELECT number FROM clears) "
    "WHERE TYPEOF(number) = 'integer'"
)
_UNNEEDED_CLEARS = "DELETE FROM clears WHERE number <= ? AND number < (SELECT MAX(number) FROM clears)"
"""The last one stays: its number is the revision of caches."""


class StoreWriter:
    """Writes the table `geo_cache` for one flush; one at a time, by the caller's flush lock."""

    def __init__(self, directory: DataDirectory, *, busy_timeout_seconds: float = 30) -> None:
        """Open the store; it is created if it does not exist, and migrated if it is older.

        Raises StoreError if it cannot be opened, is not a store, or was written by a newer geocli, or if a file that
        SQLite would open is not regular, or has hard links; BusyError if another program locked it.
        """
        self.path = directory.file(FILE_NAME)
        self._busy_timeout_seconds = min(busy_timeout_seconds, MAX_BUSY_SECONDS)
        self._began: datetime | None = None
        self._stored = 0
        try:
            directory.create(FILE_NAME)
        except OSError as error:
            raise StoreError(self.path, f"cannot be opened: {error.strerror}") from error
        check_store(self.path)
        with self._errors():
            self._db = sqlite3.connect(self.path, timeout=self._busy_timeout_seconds, isolation_level=None)
            try:
                self._prepare()
            except BaseException:
                self._db.close()
                raise

    def _prepare(self) -> None:
        check_version(self.path, version_of(self._db))
        if not version_of(self._db) and self._values("SELECT 1 FROM sqlite_master"):
            raise StoreError(self.path, "an SQLite file of another program; move it away")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("PRAGMA temp_store = MEMORY")
        self._db.execute("PRAGMA secure_delete = OFF")  # Debian turns it on, which writes each freed page
        self._db.execute(f"PRAGMA cache_size = -{CACHE_BYTES >> 10}")
        self._page_bytes = int(self._values("PRAGMA page_size")[0])
        self._upserts = Upserts(self._db)
        if version_of(self._db) < SCHEMA_VERSION:
            from geocli.storage.migrations import migrate

            with self.transaction():
                migrate(self._db, version_of(self._db))  # another process may have migrated it since

    def close(self) -> None:
        """Close the file, after emptying a large WAL, which SQLite keeps if other processes have the file open."""
        with suppress(OSError, StorageError, BusyError):
            if os.path.getsize(f"{self.path}{LOG_SUFFIX}") > USUAL_LOG_BYTES:
                self.checkpoint()
        with self._errors():
            self._db.close()

    def _errors(self) -> Any:
        return sqlite_errors(self.path, self._busy_timeout_seconds)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Commit all or nothing."""
        with self._errors():
            # In a deferred transaction, the first write after a read would fail without waiting for a lock.
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException as error:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error) and is_full(error, self.path):
                    with suppress(sqlite3.Error, StorageError):
                        self.checkpoint()  # else the WAL keeps its size
                raise

    def give_back(self) -> None:
        """Free the space of deleted rows, as far as readers allow; the rest is reused."""
        with suppress(sqlite3.Error):
            self._db.execute("VACUUM")
            self.checkpoint()

    def checkpoint(self) -> bool:
        """Copy the WAL to the file and empty it; return False if a reader prevents that."""
        with self._errors():
            self._db.execute("PRAGMA busy_timeout = 0")
            ((is_busy, _, _),) = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            self._db.execute(f"PRAGMA busy_timeout = {self._busy_timeout_seconds * 1000:.0f}")
        return not is_busy

    def next_number(self) -> int:
        """Return a number for a segment that is newer than all stored segments and clears.

        Raises StoreError if one of them has a number that no segment can have, after which none would be found.
        """
        with self._errors():
            number = int(self._values(_NEXT_NUMBER)[0])
        if number > MAX_NUMBER:
            raise StoreError(self.path, f"damaged: a segment or a clear has the number {number - 1}; {MOVE_STORE}")
        return number

    def apply(  # noqa: PLR0913 (what a transaction depends on)
        self,
        segment: Segment,
        frames: Iterable[Frame],
        now: Callable[[], datetime],
        *,
        oldest: int,
        offset: Callable[[], int] = lambda: 0,
        space: DiskSpace | None = None,
    ) -> int:
        """Store a segment exactly once, or as much of it as the disk space allows, in one transaction.

        It is on disk when this returns. Entries replace earlier ones of their address, but unresolved entries never
        replace answers, nor do the entries of a leftover segment replace those of later segments.

        Args:
            segment: the segment.
            frames: its frames, from `stored_bytes` on.
            now: the clock, for the duration of the flush.
            oldest: number of the oldest segment on disk; records about older ones are dropped.
            offset: returns the offset in the segment of the frame that was read last.
            space: the disk space; default: unlimited.

        Returns:
            The number of stored entries; 0 if the segment was stored before.

        Raises:
            StoreError: nothing was stored.
            BusyError: nothing was stored, because another program locked the store.

        """
        if space:
            space.begin()
            self._db.execute(f"PRAGMA cache_size = -{space.cache_bytes >> 10}")
        with self.transaction():
            if self.is_applied(segment):
                return 0
            self._began = self._began or now()
            self._upserts.forget_places()
            count, pages, is_part = 0, self._pages(), False
            blocks = self._blocks(segment, frames, space.block_rows if space else BLOCK_ROWS)
            for block, next_row in blocks:
                self._upserts.write(block, segment.number)
                count += len(block)
                if space and not space.is_enough((self._pages() - pages) * self._page_bytes):
                    mark = segment.uuid, offset(), next_row
                    if is_part := next(blocks, None) is not None:
                        self._db.execute("INSERT OR REPLACE INTO segment_offsets VALUES (?, ?, ?)", mark)
                        break
            if not is_part:
                self._finish(segment, count, now(), oldest)
        self._stored += count
        if is_part:
            self.checkpoint()
        return count

    def clear(self, journal: Journal, conditions: Clear) -> int:
        """Delete rows, and return their number; with a whole clear, also that of dirty addresses without a row.

        Raises:
            StoreError: nothing was cleared.
            JournalError: nothing was cleared, because the journal cannot be sealed.
            BusyError: nothing was cleared, because another program locked the store or the journal.

        """
        with ExitStack() as stack, self.transaction():
            count = self._count_dirty(journal) if conditions.is_whole else 0
            count += self._delete(conditions)
            # Until the end of the transaction no process can append entries that were read before it.
            stack.enter_context(journal.sealing(self.next_number()))
            row = journal.next_number(self.next_number()), conditions.only_unresolved, conditions.resolved_before
            self._db.execute("INSERT INTO clears VALUES (?, ?, ?)", row)
        return count

    def _delete(self, conditions: Clear) -> int:
        """Delete rows; without a condition, SQLite frees the pages of the table without writing them."""
        terms, values = [], []
        if conditions.only_unresolved:
            terms.append("status = 'unresolved'")
        if conditions.resolved_before is not None:
            terms.append("resolved_at < ?")
            values.append(conditions.resolved_before)
        where = f" WHERE {' AND '.join(terms)}" if terms else ""
        return self._db.execute(f"DELETE FROM geo_cache{where}", values).rowcount

    def _count_dirty(self, journal: Journal) -> int:
        """Return the number of dirty addresses without a row, as far as the journal can be read."""
        count = 0
        with suppress(JournalError):  # reported when the segments are discarded
            for addresses in journal.distinct():
                for condition, block in among(list(addresses)):
                    (rows,) = self._values(f"SELECT COUNT(*) FROM geo_cache WHERE {condition}", *block)
                    count += len(block) - rows
        return count

    def _finish(self, segment: Segment, count: int, ended: datetime, oldest: int) -> None:
        """Record that a segment is stored, and drop the records of older ones."""
        applied = (segment.uuid, segment.number, instant_text(ended))
        self._db.execute("INSERT INTO applied_segments VALUES (?, ?, ?)", applied)
        self._db.execute("DELETE FROM applied_segments WHERE number < ?", (oldest,))
        self._db.execute("DELETE FROM segment_offsets WHERE uuid = ?", (segment.uuid,))
        self._db.execute(_UNNEEDED_CLEARS, (oldest,))
        seconds = max((ended - self._began).total_seconds(), 0) if self._began else 0
        flushed = (instant_text(ended), self._stored + count, seconds)
        self._db.execute("INSERT OR REPLACE INTO last_flush VALUES (1, ?, ?, ?)", flushed)

    def is_applied(self, segment: Segment) -> bool:
        """Return whether all of a segment is stored."""
        with self._errors():
            return bool(self._values("SELECT 1 FROM applied_segments WHERE uuid = ?", segment.uuid))

    def stored_bytes(self, segment: Segment) -> int:
        """Return the number of stored bytes of a segment."""
        with self._errors():
            return sum(self._values("SELECT stored_bytes FROM segment_offsets WHERE uuid = ?", segment.uuid))

    def _pages(self) -> int:
        return int(self._values("PRAGMA page_count")[0])

    def _clears_after(self, segment: Segment) -> list[Clear]:
        sql = "SELECT number, only_unresolved, resolved_before FROM clears WHERE number > ?"
        rows = self._db.execute(sql, (segment.number,)).fetchall()
        return [
            Clear(number=number, only_unresolved=bool(only), resolved_before=before) for number, only, before in rows
        ]

    def _values(self, sql: str, *values: Any) -> list[Any]:
        return [value for (value,) in self._db.execute(sql, values)]

    def _blocks(self, segment: Segment, frames: Iterable[Frame], rows: int) -> Iterator[tuple[RowBlock, int]]:
        """Gather the rows that were not cleared into blocks of bounded size, each when the next row is known.

        Yields:
            The block, and the number of the next row in its frame.

        """
        clears, generation = self._clears_after(segment), cache(self._upserts.number_generation)
        first = sum(self._values("SELECT stored_rows FROM segment_offsets WHERE uuid = ?", segment.uuid))
        block = RowBlock()
        for frame in frames:
            covering = [clear for clear in clears if clear.covers_time(frame.at)]
            is_left = all(clear.only_unresolved for clear in covering)
            for start in range(first, len(frame.rows), rows) if is_left else ():
                if len(block) >= rows:
                    yield block, start
                    block = RowBlock()
                    if self._upserts.is_full:
                        self._upserts.forget_places()
                part = frame.replace(rows=frame.rows[start : start + rows])
                places = self._upserts.number_places(frame.places)
                block.add(part, places, generation(frame.generation), with_unresolved=not covering)
            first = 0
        yield block, 0


def check_writable(path: str) -> None:
    """Raise StoreError unless a flush could write a store, or there is none; BusyError if another program locked it."""
    if check_store(path):
        with postponed(), sqlite_errors(path, 0), closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            db.execute("PRAGMA user_version = 0")  # only a write fails on a read-only file
            db.execute("ROLLBACK")
