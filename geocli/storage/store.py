"""The store: the SQLite file of all flushed entries.

Lookups open it read-only (`mode=ro`); only `flush`, `re-resolve` and `clear` write it. In WAL mode, other programs can
read it at the same time.
"""

from __future__ import annotations

import os
import sqlite3
from functools import partial
from time import monotonic

from geocli.errors import BusyError, StoreError, fail
from geocli.files.file_checks import check_store, examine
from geocli.files.ownership import check_owner
from geocli.fork_safety import STORE_RANK, ForkAware
from geocli.models import Entry
from geocli.storage.dirty_check import STORE
from geocli.storage.sqlite_errors import sqlite_errors
from geocli.storage.store_rows import COLUMNS, among, entry_of
from geocli.timestamps import instant

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any, TypeAlias, TypeVar

    Report: TypeAlias = Callable[[StoreError], None]
    Row = TypeVar("Row")

    from geocli.storage.clears import Clear

FILE_NAME = STORE
SCHEMA_VERSION = 5
"""`PRAGMA user_version`; see `migrations.py`."""
READ_TIMEOUT_SECONDS = 1.0
"""Time that a lookup waits for a locked store before it asks the sources."""
MIN_WAIT_SECONDS, LOCKED_SECONDS = 0.1, 5.0
"""After a wait of this length, the store counts as locked for a while: else each block of a batch would wait."""

SELECT = (
    f"SELECT {', '.join(f'geo_cache.{name}' for name in ('rowid', *COLUMNS) if name != 'generation')}, "
    "generations.sources, answering.sources FROM geo_cache "
    "LEFT JOIN generations ON generations.id = geo_cache.generation "
    "LEFT JOIN generations AS answering ON answering.id = geo_cache.answered_by "
)

_LATER_TABLES: tuple[tuple[int, str], ...] = (
    (2, "TABLE generations (id INTEGER PRIMARY KEY, sources TEXT)"),
    (5, "TABLE clears (number INTEGER PRIMARY KEY, only_unresolved INTEGER, resolved_before TEXT)"),
)
"""First schema version with a table, and the definition of the table."""
_LATER_COLUMNS = {"generation": 2, "traits": 2, "answered_by": 5}
"""First schema version with each column of the table `geo_cache`."""


class Store(ForkAware):
    """Reads the table `geo_cache`, which `StoreWriter` writes. Threads may share a store; they take turns.

    Methods raise StoreError if the store cannot be read, and BusyError if another program locked it.
    """

    fork_rank = STORE_RANK

    def __init__(self, path: str, *, busy_timeout_seconds: float = 30) -> None:
        """The file is opened by the first query, and need not exist."""
        super().__init__()
        self.path = path
        self._timeout_seconds = min(busy_timeout_seconds, READ_TIMEOUT_SECONDS)
        self._connection: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None
        self._version = SCHEMA_VERSION
        self._locked_until = 0.0

    def close(self) -> None:
        """Close the file; the next query opens it again."""
        with self.fork_lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = self._inode = None

    before_fork = close

    def connection(self) -> sqlite3.Connection | None:
        """Return a read-only connection, None if there is no store yet."""
        if (status := examine(self.path)) is None:
            self.close()
            return None
        inode = status.st_dev, status.st_ino
        if (
            self._connection is None
            or self._inode != inode
            or (self._version < SCHEMA_VERSION and self._version != version_of(self._connection))
        ):
            self.close()
            self._inode = inode
            self._connection = self._open()
        return self._connection

    def _open(self) -> sqlite3.Connection | None:
        check_owner(os.path.dirname(self.path))
        check_store(self.path)
        quoted = self.path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
        timeout = self._timeout_seconds
        connection = sqlite3.connect(
            f"file:{quoted}?mode=ro", uri=True, timeout=timeout, isolation_level=None, check_same_thread=False
        )
        try:
            self._version = version_of(connection)
            check_version(self.path, self._version)
            if 0 < self._version < SCHEMA_VERSION:
                _stand_in(connection, self._version)
        except BaseException:
            connection.close()
            raise
        if not self._version:  # a flush is creating it
            connection.close()
            return None
        return connection

    def is_outdated(self) -> bool:
        """Return whether the store has an older schema, which the next flush migrates."""
        return any(version < SCHEMA_VERSION for (version,) in self.query("PRAGMA user_version"))

    def clears(self) -> list[Clear]:
        """Return the clears that segments may precede, and always the last one."""
        rows = self.query("SELECT number, only_unresolved, resolved_before FROM clears ORDER BY number")
        if not rows:
            return []
        from geocli.storage.clears import Clear

        return [Clear(number=row[0], only_unresolved=bool(row[1]), resolved_before=row[2]) for row in rows]

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query, none if there is no store yet."""
        return self._read(sql, values, _shown)

    def _read(self, sql: str, values: Sequence[Any], convert: Callable[[tuple[Any, ...]], Row]) -> list[Row]:
        """Return the results of a function for each row of a query."""
        with self.fork_lock:
            began = monotonic()
            if began < self._locked_until:
                raise BusyError(self.path, self._timeout_seconds)
            try:
                with sqlite_errors(self.path, self._timeout_seconds):
                    connection = self.connection()
                    return [] if connection is None else _fetch(connection, sql, values, convert)
            except BusyError:
                if monotonic() - began > MIN_WAIT_SECONDS:
                    self._locked_until = monotonic() + LOCKED_SECONDS
                raise

    def get(self, addresses: Sequence[str], report: Report = fail) -> dict[str, Entry]:
        """Return the entries of those addresses that have one.

        Unreadable rows are left out, and reported; by default, their errors are raised.
        """
        entries: dict[str, Entry] = {}
        for condition, block in among(addresses):
            entries |= {entry.ip: entry for entry in self.entries(f"WHERE {condition}", block, report)}
        return entries

    def present(self, addresses: Sequence[str]) -> set[str]:
        """Return the addresses that have a row, including unreadable ones; raises like `get`."""
        ips: set[str] = set()
        for condition, block in among(addresses):
            ips.update(str(ip) for (ip,) in self.query(f"SELECT ip FROM geo_cache WHERE {condition}", block))
        return ips

    def entries(self, where: str, values: Sequence[Any] = (), report: Report = fail) -> Iterator[Entry]:
        """Yield the entries that a clause after FROM selects; reports and raises like `get`."""
        for _, entry in self._rows(where, values):
            if isinstance(entry, StoreError):
                report(entry)
            else:
                yield entry

    def _rows(self, where: str, values: Sequence[Any]) -> list[tuple[int, Entry | StoreError]]:
        """Return entries with their row IDs, errors for unreadable rows."""
        return self._read(SELECT + where, values, lambda row: (row[0], self._entry(row[1:])))

    def _entry(self, row: Sequence[Any]) -> Entry | StoreError:
        try:
            return entry_of(row)
        except ValueError as error:
            problem = StoreError(self.path, f"unreadable row: {row[0]}: {error}")
            problem.row = str(row[0])
            return problem

    def due(
        self, condition: str, values: Sequence[Any], after: int, count: int, report: Report = fail
    ) -> list[tuple[int, Entry]]:
        """Return the next entries that a condition selects, with their row IDs, in their order.

        `after` is the last row ID of the previous call, initially 0. Without an index for the condition, all rows are
        read. An unreadable row is an unresolved entry; it is reported, or by default its error is raised.
        """
        clause = f"({condition}) AND geo_cache.rowid > ? ORDER BY geo_cache.rowid LIMIT ?"
        rows = self._rows(f"WHERE {clause}", (*values, after, count))
        entries = []
        for number, entry in rows:
            if isinstance(entry, StoreError):
                report(entry)
                entries.append((number, Entry(ip=entry.row or "", status="unresolved")))
            else:
                entries.append((number, entry))
        return entries

    def next_retry_at(self, after: str, until: str) -> str:
        """Return the next retry time of any row, as stored; an empty string for none."""
        sql = "SELECT MIN(retry_at) FROM geo_cache WHERE retry_at > ? AND retry_at <= ?"
        return next((at or "" for (at,) in self.query(sql, (after, until))), "")

    def generations(self) -> dict[str, int]:
        """Return the number of each generation, by its labels."""
        return dict(self.query("SELECT sources, id FROM generations"))

    def last_flush(self) -> tuple[str, int, float] | None:
        """Return the end, the number of entries and the seconds of the last flush that stored entries."""
        rows = self.query("SELECT finished_at, entries, duration_seconds FROM last_flush")
        try:
            flushes = [(str(at), int(entries), float(seconds)) for at, entries, seconds in rows]
            for at, _, _ in flushes:
                instant(at)
            return flushes[0] if flushes else None
        except (ValueError, TypeError) as error:
            raise StoreError(self.path, f"the last flush cannot be read: {error}") from error


def version_of(connection: sqlite3.Connection) -> int:
    """Return the version of the schema of a store, 0 for a new one."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _fetch(
    connection: sqlite3.Connection, sql: str, values: Sequence[Any], convert: Callable[[tuple[Any, ...]], Row]
) -> list[Row]:
    """Return the results for all rows, even if text is not UTF-8, with which SQLite fails the whole statement."""
    try:
        return [convert(row) for row in connection.execute(sql, values)]
    except sqlite3.OperationalError as error:
        if connection.text_factory is not str or "decode" not in str(error):
            raise
    connection.text_factory = partial(str, encoding="utf-8", errors="surrogateescape")  # slower
    return _fetch(connection, sql, values, convert)


def _shown(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a row without surrogates, which could not be printed."""
    return tuple(value.encode(errors="replace").decode() if isinstance(value, str) else value for value in row)


def _stand_in(connection: sqlite3.Connection, version: int) -> None:
    """Make an older store, until a flush migrates it, readable like one of the current version.

    Temporary views and tables replace the missing ones: SQLite resolves names to them first
    (https://sqlite.org/lang_naming.html).
    """
    connection.execute("PRAGMA temp_store = MEMORY")
    columns = "".join(f", NULL AS {name}" for name, since in _LATER_COLUMNS.items() if version < since)
    connection.execute(f"CREATE TEMP VIEW geo_cache AS SELECT rowid AS rowid, *{columns} FROM main.geo_cache")
    for since, table in _LATER_TABLES:
        if version < since:
            connection.execute(f"CREATE TEMP {table}")


def check_version(path: str, version: int) -> None:
    """Raise StoreError if the schema of a store is newer than this geocli."""
    if version > SCHEMA_VERSION:
        reason = f"written by a newer geocli (schema {version}, this one supports {SCHEMA_VERSION}); update geocli"
        raise StoreError(path, reason)
