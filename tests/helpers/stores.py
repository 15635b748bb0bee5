"""Read and change stores, as other programs do."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geocli.storage.store import FILE_NAME, Store

if TYPE_CHECKING:
    from geocli.models import Entry
    from geocli.storage.directory import DataDirectory

DUMPS = Path(__file__).parents[1] / "storage" / "stores"
"""SQL dumps of stores, one for each schema of an older release."""


def select(path: str, sql: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def change(path: str, *statements: str) -> None:
    """Execute statements."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(";".join(statements))


def stored_entries(directory: DataDirectory) -> dict[str, Entry]:
    """Return the entries of a store by address, as geocli reads them."""
    with closing(Store(directory.file(FILE_NAME))) as store:
        return {entry.ip: entry for entry in store.entries("ORDER BY ip")}
