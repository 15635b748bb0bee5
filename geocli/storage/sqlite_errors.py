"""Translate errors of SQLite to errors of the store, with advice."""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager

from geocli.errors import BusyError, StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MOVE_STORE = "restore a backup, or move it away with its -wal and -shm, and the next flush creates a new one"
MAX_PATH_BYTES = 504
"""SQLite's MAX_PATHNAME, less the longest suffix of its other files."""
_LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
"""Another program has a lock; SQLITE_PROTOCOL means that of the WAL index, after ten seconds."""
_ADVICE = {
    sqlite3.SQLITE_ERROR: f"another program has changed its tables; {MOVE_STORE}",
    sqlite3.SQLITE_NOTADB: MOVE_STORE,
    sqlite3.SQLITE_CORRUPT: MOVE_STORE,
    sqlite3.SQLITE_FULL: "free some space on the disk",
    sqlite3.SQLITE_IOERR: "check the disk",
    sqlite3.SQLITE_READONLY: "make it writable for this user",
    sqlite3.SQLITE_CANTOPEN: "make it readable for this user",
}


@contextmanager
def sqlite_errors(path: str, waited_seconds: float) -> Iterator[None]:
    """Translate errors of SQLite to a StoreError or BusyError."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in _LOCKED:
            raise BusyError(path, waited_seconds) from error
        advice = _ADVICE.get(code, "see geocli stats --check")
        if code == sqlite3.SQLITE_CANTOPEN and len(os.fsencode(path)) > MAX_PATH_BYTES:
            advice = f"SQLite opens no file with a path of more than {MAX_PATH_BYTES} bytes; use another data directory"
        reason = f"{error}; nothing was changed; {advice}"
        if code == sqlite3.SQLITE_IOERR and is_full(error, path):
            reason = f"{error}: the disk is full; nothing was changed; free some space"
        problem = StoreError(path, reason)
        problem.is_full = is_full(error, path)
        raise problem from error


def is_full(error: sqlite3.Error, path: str) -> bool:
    """Return whether an error of SQLite means that the disk is full."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code != sqlite3.SQLITE_IOERR:
        return code == sqlite3.SQLITE_FULL
    try:
        space = os.statvfs(os.path.dirname(path))
    except OSError:
        return False
    return space.f_bavail * space.f_frsize < 1 << 16
