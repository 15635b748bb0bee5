"""The store: the SQLite file that holds every answer that was flushed.

Lookups read it (`mode=ro`), only `flush`, `re-resolve` and `clear` write it, and anybody may read it
meanwhile: it is in WAL mode.
"""

from __future__ import annotations

import os
import sqlite3
from collections import deque
from functools import partial
from time import monotonic

from geocli.errors import BusyError, StoreError
from geocli.files.file_checks import check_store, examine
from geocli.files.ownership import check_owner
from geocli.fork_safety import STORE_RANK, ForkAware
from geocli.models import Entry
from geocli.storage.dirty_check import STORE
from geocli.storage.sqlite_errors import sqlite_errors
from geocli.storage.store_rows import COLUMNS, entry_of
from geocli.timestamps import instant

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any, TypeAlias, TypeVar

    Report: TypeAlias = Callable[[StoreError], None]
    Row = TypeVar("Row")

    from geocli.storage.tombstones import Clear

FILE_NAME = STORE
SCHEMA_VERSION = 5
"""`PRAGMA user_version`; see `migrations.py` for what each version added."""
READ_PATIENCE_SECONDS = 1.0
"""A lookup asks the sources again rather than wait longer for a locked store."""
LEAST_WAIT_SECONDS, RESPITE_SECONDS = 0.1, 5.0
"""Who waited for a locked store in vain leaves it alone for a while, or each block of a batch would wait again."""
BLOCK = 500
"""Addresses that one SELECT asks for."""

SELECT = (
    f"SELECT {', '.join(f'geo_cache.{name}' for name in ('rowid', *COLUMNS) if name != 'generation')}, "
    "generations.sources, answering.sources FROM geo_cache "
    "LEFT JOIN generations ON generations.id = geo_cache.generation "
    "LEFT JOIN generations AS answering ON answering.id = geo_cache.answered_by "
)


def _raise(error: StoreError) -> None:
    raise error


class Store(ForkAware):
    """Reads the table `geo_cache`; `StoreWriter` writes it. May be shared by threads, which take turns."""

    fork_rank = STORE_RANK

    def __init__(self, path: str, *, busy_timeout_seconds: float = 30) -> None:
        """Name a store; it is opened when it is first asked, and need not exist."""
        super().__init__()
        self.path = path
        self._patience_seconds = min(busy_timeout_seconds, READ_PATIENCE_SECONDS)
        self._connection: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None
        self._version = SCHEMA_VERSION
        self._locked_until = 0.0

    def close(self) -> None:
        """Close the file; the next question opens it again."""
        with self.fork_lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = self._inode = None

    before_fork = close

    def connection(self) -> sqlite3.Connection | None:
        """Return a connection that can only read, None if there is no store yet.

        Raises:
            StoreError: the file is no store, or was made by a newer geocli; it, or what SQLite would open with it, is
                not a regular file, or one with a hard link.

        """
        if (found := examine(self.path)) is None:
            self.close()
            return None
        is_same = self._connection is not None and self._inode == (found.st_dev, found.st_ino)
        if not is_same or (self._version < SCHEMA_VERSION and self._version != _version(self._connection)):
            self.close()
            self._inode = found.st_dev, found.st_ino
            self._connection = self._open()
        return self._connection

    def _open(self) -> sqlite3.Connection | None:
        check_owner(os.path.dirname(self.path))
        check_store(self.path)
        quoted = self.path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
        patience = self._patience_seconds
        connection = sqlite3.connect(
            f"file:{quoted}?mode=ro", uri=True, timeout=patience, isolation_level=None, check_same_thread=False
        )
        try:
            self._version = _version(connection)
            check_version(self.path, self._version)
            if 0 < self._version < SCHEMA_VERSION:
                from geocli.storage.old_schemas import stand_in

                stand_in(connection, self._version)
        except BaseException:
            connection.close()
            raise
        if not self._version:  # a file that a flush is about to fill
            connection.close()
            return None
        return connection

    def is_outdated(self) -> bool:
        """Return whether there is a store of an older schema, which the next flush migrates.

        Raises:
            StoreError: the store cannot be read.
            BusyError: locked by another program.

        """
        return any(version < SCHEMA_VERSION for (version,) in self.query("PRAGMA user_version"))

    def clears(self) -> list[Clear]:
        """Return what was cleared, as far as segments may be left from before; the last one is always among them.

        Raises:
            StoreError: the store cannot be read.
            BusyError: locked by another program.

        """
        rows = self.query("SELECT number, only_unresolved, resolved_before FROM clears ORDER BY number")
        if not rows:
            return []
        from geocli.storage.tombstones import Clear

        return [Clear(number=row[0], only_unresolved=bool(row[1]), resolved_before=row[2]) for row in rows]

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Ask, and return the rows; none if there is no store yet.

        Raises:
            StoreError: the store cannot be read.
            BusyError: locked by another program.

        """
        return self._read(sql, values, _shown)

    def _read(self, sql: str, values: Sequence[Any], made: Callable[[tuple[Any, ...]], Row]) -> list[Row]:
        """Ask, and return what is made of each row."""
        with self.fork_lock:
            began = monotonic()
            if began < self._locked_until:
                raise BusyError(self.path, self._patience_seconds)
            try:
                with sqlite_errors(self.path, self._patience_seconds):
                    connection = self.connection()
                    return [] if connection is None else _fetch(connection, sql, values, made)
            except BusyError:
                if monotonic() - began > LEAST_WAIT_SECONDS:
                    self._locked_until = monotonic() + RESPITE_SECONDS
                raise

    def get(self, addresses: Sequence[str], report: Report = _raise) -> dict[str, Entry]:
        """Return the entries of those addresses that have one.

        Args:
            addresses: canonical ones.
            report: told of each row that cannot be read, and is left out; default: it is an error.

        Raises:
            StoreError: the store cannot be read.
            BusyError: locked by another program.

        """
        found: dict[str, Entry] = {}
        for start in range(0, len(addresses), BLOCK):
            block = addresses[start : start + BLOCK]
            marks = ",".join("?" * len(block))
            found |= {entry.ip: entry for entry in self.entries(f"WHERE ip IN ({marks})", block, report)}
        return found

    def present(self, addresses: Sequence[str]) -> set[str]:
        """Return which of these addresses have a row, also one that cannot be read; raises as `get`."""
        found: set[str] = set()
        for start in range(0, len(addresses), BLOCK):
            block = addresses[start : start + BLOCK]
            marks = ",".join("?" * len(block))
            found.update(str(ip) for (ip,) in self.query(f"SELECT ip FROM geo_cache WHERE ip IN ({marks})", block))
        return found

    def entries(self, where: str, values: Sequence[Any] = (), report: Report = _raise) -> Iterator[Entry]:
        """Return the entries that a clause after FROM selects; `report` and what is raised are those of `get`."""
        for _, found in self._rows(where, values):
            if isinstance(found, StoreError):
                report(found)
            else:
                yield found

    def _rows(self, where: str, values: Sequence[Any]) -> list[tuple[int, Entry | StoreError]]:
        """Return rows with their numbers."""
        return self._read(SELECT + where, values, lambda row: (row[0], self._entry(row[1:])))

    def _entry(self, row: Sequence[Any]) -> Entry | StoreError:
        try:
            return entry_of(row)
        except ValueError as error:
            problem = StoreError(self.path, f"a row cannot be read: {row[0]}: {error}")
            problem.row = str(row[0])
            return problem

    def due(
        self, condition: str, values: Sequence[Any], after: int, count: int, report: Report = _raise
    ) -> list[tuple[int, Entry]]:
        """Return the next entries that a condition selects, each with the number of its row, in their order.

        A row that cannot be read is an address that nobody knows.

        Args:
            condition: over `geo_cache`; one that no index answers makes all rows be looked at.
            values: of the condition's parameters.
            after: the number that the last call ended on, at first 0.
            count: how many at most.
            report: told of each row that cannot be read; default: it is an error.

        Raises:
            StoreError: the store cannot be read.
            BusyError: locked by another program.

        """
        clause = f"({condition}) AND geo_cache.rowid > ? ORDER BY geo_cache.rowid LIMIT ?"
        rows = self._rows(f"WHERE {clause}", (*values, after, count))
        deque(map(report, (found for _, found in rows if isinstance(found, StoreError))), maxlen=0)
        return [
            (number, Entry(ip=found.row or "", status="unresolved") if isinstance(found, StoreError) else found)
            for number, found in rows
        ]

    def next_retry_at(self, after: str, until: str) -> str:
        """Return the next time at which some row is to be tried again, as the store has it; an empty text for none.

        Raises:
            StoreError: the store cannot be read.
            BusyError: locked by another program.

        """
        sql = "SELECT MIN(retry_at) FROM geo_cache WHERE retry_at > ? AND retry_at <= ?"
        return next((found or "" for (found,) in self.query(sql, (after, until))), "")

    def generations(self) -> dict[str, int]:
        """Return the number of each generation that some row was answered by, by its sources.

        Raises:
            StoreError: the store cannot be read.
            BusyError: locked by another program.

        """
        return dict(self.query("SELECT sources, id FROM generations"))

    def last_flush(self) -> tuple[str, int, float] | None:
        """Return when the last flush that stored something ended, its entries, and its seconds.

        Raises:
            StoreError: the store cannot be read.
            BusyError: locked by another program.

        """
        rows = self.query("SELECT finished_at, entries, duration_seconds FROM last_flush")
        try:
            found = [(str(at), int(entries), float(seconds)) for at, entries, seconds in rows]
            deque((instant(at) for at, _, _ in found), maxlen=0)
            return found[0] if found else None
        except (ValueError, TypeError) as error:
            raise StoreError(self.path, f"the last flush cannot be read: {error}") from error


def _version(connection: sqlite3.Connection | None) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0]) if connection is not None else 0


def _fetch(
    connection: sqlite3.Connection, sql: str, values: Sequence[Any], made: Callable[[tuple[Any, ...]], Row]
) -> list[Row]:
    """Return what is made of each row, also where text is not UTF-8: for SQLite that is an error of the statement."""
    try:
        return [made(row) for row in connection.execute(sql, values)]
    except sqlite3.OperationalError as error:
        if connection.text_factory is not str or "decode" not in str(error):
            raise
    connection.text_factory = partial(str, encoding="utf-8", errors="surrogateescape")  # takes a call for each text
    return _fetch(connection, sql, values, made)


def _shown(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a row whose text can be written."""
    return tuple(value.encode(errors="replace").decode() if isinstance(value, str) else value for value in row)


def check_version(path: str, version: int) -> None:
    """Refuse a store that a newer geocli made.

    Raises:
        StoreError: it is newer.

    """
    if version > SCHEMA_VERSION:
        reason = f"made by a newer geocli (schema {version}, this one knows {SCHEMA_VERSION}); update geocli"
        raise StoreError(path, reason)
