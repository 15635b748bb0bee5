"""Writing the store: its schema, segments, and what users delete."""

from __future__ import annotations

import json
import sqlite3
from contextlib import contextmanager
from os import O_CREAT, O_RDWR, close
from typing import TYPE_CHECKING, Any

from geocli.entries import instant_text, settle
from geocli.errors import StoreError
from geocli.storage.store import COLUMNS, FILE_NAME, PLACE_COLUMNS, SCHEMA_VERSION, check_version, sqlite_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator
    from datetime import datetime

    from geocli.entries import Entry
    from geocli.storage.files import DataDirectory
    from geocli.storage.frames import Frame
    from geocli.storage.journal import Segment

CACHE_KIBIBYTES = 128 * 1024
"""Page cache of a flush: random keys cost half as much as with SQLite's default of 2 MB."""
BLOCK = 50_000
"""Entries that are sorted and upserted together."""

_MARKS = ", ".join("?" * len(COLUMNS))
_UPDATES = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS[1:])
_UPSERT = (
    f"INSERT INTO geo_cache ({', '.join(COLUMNS)}) VALUES ({_MARKS}) ON CONFLICT(ip) DO UPDATE SET {_UPDATES} WHERE "
)
_NEWER = "(? OR excluded.resolved_at > geo_cache.resolved_at)"
_KNOWN = _UPSERT + _NEWER
_UNKNOWN = _UPSERT + f"geo_cache.status <> 'resolved' AND {_NEWER}"
_TRIED = "UPDATE geo_cache SET retry_at = ?, generation = ? WHERE ip = ? AND status = 'resolved'"


class StoreWriter:
    """Writes the table `geo_cache`; one at a time, by the caller's flush lock."""

    def __init__(self, directory: DataDirectory, *, busy_timeout_seconds: float = 30) -> None:
        """Open the store, made if it is missing, migrated if it is older.

        Raises:
            StoreError: it cannot be opened, is no store, or was made by a newer geocli.
            BusyError: another program keeps it locked.

        """
        self.path = directory.file(FILE_NAME)
        self._busy_timeout_seconds = busy_timeout_seconds
        try:
            close(directory.open(FILE_NAME, O_RDWR | O_CREAT))
        except OSError as error:
            raise StoreError(self.path, f"cannot be opened: {error.strerror}") from error
        with self._errors():
            self._db = sqlite3.connect(self.path, timeout=busy_timeout_seconds, isolation_level=None)
            try:
                self._prepare()
            except BaseException:
                self._db.close()
                raise

    def _prepare(self) -> None:
        check_version(self.path, self._version())
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute(f"PRAGMA cache_size = -{CACHE_KIBIBYTES}")
        if self._version() < SCHEMA_VERSION:
            from geocli.storage.schema import migrate

            with self._transaction():
                migrate(self._db, self._version())  # asked again: another process may have been faster

    def _version(self) -> int:
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        with self._errors():
            self._db.close()

    def _errors(self) -> Any:
        return sqlite_errors(self.path, self._busy_timeout_seconds)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Commit all or nothing. IMMEDIATE: a read that turns into a write is refused without waiting."""
        with self._errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def next_number(self) -> int:
        """Return a number for a segment that is newer than all that were stored."""
        with self._errors():
            return int(self._values("SELECT IFNULL(MAX(number), 0) + 1 FROM applied_segments")[0])

    def apply(self, segment: Segment, frames: Iterable[Frame], now: Callable[[], datetime], *, oldest: int) -> int:
        """Store a segment exactly once, in one transaction that is on disk when this returns.

        Entries take the place of those before them, except that nothing found never hides a good answer.
        A segment that was left over while later ones were stored only adds what is newer than the rows.

        Args:
            segment: names what is stored.
            frames: what it holds.
            now: the clock, for when the flush began and ended.
            oldest: the number of the oldest segment on disk; what was noted of older ones is dropped.

        Returns:
            How many entries were stored; 0 if the segment was stored before.

        Raises:
            StoreError: nothing was stored.
            BusyError: nothing was stored, because another program keeps the store locked.

        """
        with self._transaction():
            if self._is_applied(segment):
                return 0
            in_order = not self._values("SELECT 1 FROM applied_segments WHERE number > ?", segment.number)
            began, stored = now(), 0
            for block, files in _blocks(frames):
                self._upsert(block, in_order=in_order)
                self._db.executemany("INSERT OR REPLACE INTO source_files VALUES (?, ?, ?, ?, ?)", files)
                stored += len(block)
            ended = now()
            applied = (segment.uuid, segment.number, instant_text(ended))
            self._db.execute("INSERT INTO applied_segments VALUES (?, ?, ?)", applied)
            self._db.execute("DELETE FROM applied_segments WHERE number < ?", (oldest,))
            flushed = (instant_text(ended), stored, (ended - began).total_seconds())
            self._db.execute("INSERT OR REPLACE INTO last_flush VALUES (1, ?, ?, ?)", flushed)
        return stored

    def _is_applied(self, segment: Segment) -> bool:
        return bool(self._values("SELECT 1 FROM applied_segments WHERE uuid = ?", segment.uuid))

    def _values(self, sql: str, *values: Any) -> list[Any]:
        return [value for (value,) in self._db.execute(sql, values)]

    def _upsert(self, entries: Iterable[Entry], *, in_order: bool) -> None:
        """Upsert entries in the order of their keys, which SQLite stores twice as fast."""
        generations: dict[str, int] = {}
        known, unknown, tried = [], [], []
        for entry in sorted(entries, key=lambda entry: entry.ip):
            if entry.generation not in generations:
                generations[entry.generation] = self._generation(entry.generation)
            row = _row(entry, generations[entry.generation])
            if entry.status == "unresolved":
                unknown.append((*row, in_order))
                tried.append((row[_RETRY_AT], row[_GENERATION], entry.ip))
            else:
                known.append((*row, in_order))
        for sql, rows in ((_KNOWN, known), (_UNKNOWN, unknown), (_TRIED, tried)):
            self._db.executemany(sql, rows)

    def _generation(self, sources: str) -> int:
        """Return the number of a generation, given it now if it is new."""
        self._db.execute("INSERT OR IGNORE INTO generations (sources) VALUES (?)", (sources,))
        return int(self._values("SELECT id FROM generations WHERE sources = ?", sources)[0])

    def delete(self, where: str, values: tuple[Any, ...] = ()) -> int:
        """Delete the rows that a condition selects, and return how many.

        Raises:
            StoreError: nothing was deleted.
            BusyError: nothing was deleted, because another program keeps the store locked.

        """
        with self._transaction():
            return int(self._db.execute(f"DELETE FROM geo_cache WHERE {where}", values).rowcount)


_RETRY_AT, _GENERATION = COLUMNS.index("retry_at"), COLUMNS.index("generation")


def _row(entry: Entry, generation: int) -> tuple[Any, ...]:
    place = entry.place
    return (
        *(entry.ip, entry.status, entry.scope),
        *(getattr(place, name) for name in PLACE_COLUMNS),
        *(entry.source, entry.prefix_len),
        *(at and instant_text(at) for at in (entry.built_at, entry.resolved_at, entry.retry_at)),
        *(generation, place.traits and json.dumps(place.traits, ensure_ascii=False)),
    )


def _blocks(frames: Iterable[Frame]) -> Iterator[tuple[Collection[Entry], set[tuple[str, int, int, int, str]]]]:
    """Gather frames into blocks with one entry an address, and the database files that they name."""
    entries: dict[str, Entry] = {}
    files: set[tuple[str, int, int, int, str]] = set()
    for frame in frames:
        for entry in frame.entries:
            entries[entry.ip] = settle(entries.get(entry.ip), entry)
        files.update(frame.files)
        if len(entries) >= BLOCK:
            yield entries.values(), files
            entries, files = {}, set()
    yield entries.values(), files
