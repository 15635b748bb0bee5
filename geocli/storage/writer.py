"""Writing the store: its schema, segments, and what users delete."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing, contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from geocli.entries import instant_text
from geocli.errors import StoreError
from geocli.storage.store import COLUMNS, FILE_NAME, SCHEMA_VERSION, check_version, sqlite_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from geocli.storage.files import DataDirectory
    from geocli.storage.frames import Frame
    from geocli.storage.journal import Segment

CACHE_KIBIBYTES = 128 * 1024
"""Page cache of a flush: random keys cost half as much as with SQLite's default of 2 MB."""
BLOCK = 25_000
"""Rows that are sorted and upserted together."""

_WRITTEN = (*COLUMNS, "segment")
_IS_LATER = "excluded.segment >= IFNULL(geo_cache.segment, 0)"
"""Segments decide what is newer, and no clock: a segment may have been left over while later ones were stored."""
_TRIED_LAST = {
    name: f"CASE WHEN {_IS_LATER} THEN excluded.{name} ELSE geo_cache.{name} END" for name in ("retry_at", "generation")
}
_UPDATES = ", ".join(f"{name} = {_TRIED_LAST.get(name, f'excluded.{name}')}" for name in _WRITTEN[1:])
_UPSERT = (
    f"INSERT INTO geo_cache ({', '.join(_WRITTEN)}) VALUES ({', '.join('?' * len(_WRITTEN))}) "
    f"ON CONFLICT(ip) DO UPDATE SET {_UPDATES} WHERE "
)
_UPSERT_KNOWN = f"{_UPSERT} {_IS_LATER} OR geo_cache.status = 'unresolved'"
_UPSERT_UNKNOWN = f"{_UPSERT} {_IS_LATER} AND geo_cache.status <> 'resolved'"
_TRIED = (
    "UPDATE geo_cache SET retry_at = :retry_at, generation = :generation "
    "WHERE ip = :ip AND status = 'resolved' AND IFNULL(segment, 0) <= :segment"
)


class StoreWriter:
    """Writes the table `geo_cache` for one flush; one at a time, by the caller's flush lock."""

    def __init__(self, directory: DataDirectory, *, busy_timeout_seconds: float = 30) -> None:
        """Open the store, made if it is missing, migrated if it is older.

        Raises:
            StoreError: it cannot be opened, is no store, or was made by a newer geocli.
            BusyError: another program keeps it locked.

        """
        self.path = directory.file(FILE_NAME)
        self._busy_timeout_seconds = busy_timeout_seconds
        self._began: datetime | None = None
        self._stored = 0
        try:
            directory.create(FILE_NAME)
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
        if not self._version() and self._values("SELECT 1 FROM sqlite_master"):
            raise StoreError(self.path, "another program's SQLite file; move it away")
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

    def apply(
        self,
        segment: Segment,
        frames: Iterable[Frame],
        now: Callable[[], datetime],
        *,
        oldest: int,
        before_commit: Callable[[], None] | None = None,
    ) -> int:
        """Store a segment exactly once, in one transaction that is on disk when this returns.

        Entries take the place of those before them, except that nothing found never hides a good answer.
        A segment that was left over while later ones were stored only adds what these had no answer for.

        Args:
            segment: names what is stored.
            frames: what it holds.
            now: the clock, for when the flush began and ended.
            oldest: the number of the oldest segment on disk; what was noted of older ones is dropped.
            before_commit: called when all rows are in; if it fails, nothing is stored.

        Returns:
            How many entries were stored; 0 if the segment was stored before.

        Raises:
            StoreError: nothing was stored.
            BusyError: nothing was stored, because another program keeps the store locked.

        """
        with self._transaction():
            if self._is_applied(segment):
                return 0
            self._began = self._began or now()
            stored = 0
            for block in self._blocks(frames, segment.number):
                self._upsert(block)
                stored += len(block)
            if before_commit is not None:
                before_commit()
            ended = now()
            applied = (segment.uuid, segment.number, instant_text(ended))
            self._db.execute("INSERT INTO applied_segments VALUES (?, ?, ?)", applied)
            self._db.execute("DELETE FROM applied_segments WHERE number < ?", (oldest,))
            flushed = (instant_text(ended), self._stored + stored, (ended - self._began).total_seconds())
            self._db.execute("INSERT OR REPLACE INTO last_flush VALUES (1, ?, ?, ?)", flushed)
        self._stored += stored
        return stored

    def _is_applied(self, segment: Segment) -> bool:
        return bool(self._values("SELECT 1 FROM applied_segments WHERE uuid = ?", segment.uuid))

    def _values(self, sql: str, *values: Any) -> list[Any]:
        return [value for (value,) in self._db.execute(sql, values)]

    def _blocks(self, frames: Iterable[Frame], segment: int) -> Iterator[Block]:
        """Gather frames into blocks of bounded size."""
        generation = cache(self._generation)
        block = Block(segment)
        for frame in frames:
            block.add(frame, generation(frame.generation))
            if len(block) >= BLOCK:
                yield block
                block = Block(segment)
        yield block

    def _upsert(self, block: Block) -> None:
        """Upsert rows in the order of their keys, which SQLite stores twice as fast."""
        for rows, upsert in ((block.known, _UPSERT_KNOWN), (block.unknown, _UPSERT_UNKNOWN)):
            self._db.executemany(upsert, (rows[ip] for ip in sorted(rows)))
        self._db.executemany(_TRIED, block.tried.values())
        self._db.executemany("INSERT OR REPLACE INTO source_files VALUES (?, ?, ?, ?, ?)", block.files)

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


class Block:
    """Rows that are upserted together: the last one of each address, but nothing found hides no good answer."""

    def __init__(self, segment: int) -> None:
        """Begin without rows; all will come from the segment of this number."""
        self._segment = segment
        self.known: dict[str, tuple[Any, ...]] = {}
        self.unknown: dict[str, tuple[Any, ...]] = {}
        self.tried: dict[str, dict[str, Any]] = {}
        self.files: set[tuple[str, int, int, int, str]] = set()

    def __len__(self) -> int:
        """Return the number of addresses."""
        return len(self.known) + len(self.unknown)

    def add(self, frame: Frame, generation: int) -> None:
        """Add the rows of a frame, which are later than those that are here."""
        self.files.update(frame.files)
        shapes = [self._shape(place, frame.at, generation) for place in frame.places]
        for ip, number, prefix_len in frame.rows:
            head, tail, tried = shapes[number]
            if tried is None:
                self.known[ip] = (ip, *head, prefix_len, *tail)
                self.unknown.pop(ip, None)
                self.tried.pop(ip, None)
                continue
            self.tried[ip] = {**tried, "ip": ip}
            if ip not in self.known:
                self.unknown[ip] = (ip, *head, prefix_len, *tail)

    def _shape(
        self, place: dict[str, Any], at: str, generation: int
    ) -> tuple[tuple[Any, ...], tuple[Any, ...], dict[str, Any] | None]:
        """Return what a place's rows hold before and after the prefix length, and when to ask again if nobody knew."""
        traits = place.get("traits")
        said = {**place, "resolved_at": at or None, "traits": _json(traits) if traits else None}
        added = {"generation": generation, "segment": self._segment}
        values = tuple(map((said | added).get, _WRITTEN))
        tried = {"retry_at": said.get("retry_at"), **added}
        return values[1:_PREFIX_LEN], values[_PREFIX_LEN + 1 :], tried if place["status"] == "unresolved" else None


_json = json.JSONEncoder(ensure_ascii=False).encode
_PREFIX_LEN = COLUMNS.index("prefix_len")


def check_writable(path: str) -> None:
    """Find out whether a flush could write a store now; one that is missing is made by the next flush.

    Raises:
        StoreError: it could not.
        BusyError: another program keeps it locked.

    """
    if os.path.exists(path):
        with sqlite_errors(path, 0), closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            db.execute("PRAGMA user_version = 0")  # a file that can only be read refuses no sooner
            db.execute("ROLLBACK")
