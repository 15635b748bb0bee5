"""Read a store of an older schema, until a flush migrates it.

Temporary views and tables replace the missing ones: SQLite resolves names to them first
(https://sqlite.org/lang_naming.html).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

_TABLES: tuple[tuple[int, str], ...] = (
    (2, "TABLE generations (id INTEGER PRIMARY KEY, sources TEXT)"),
    (5, "TABLE clears (number INTEGER PRIMARY KEY, only_unresolved INTEGER, resolved_before TEXT)"),
)
"""First schema version with a table, and the definition of the table."""
_COLUMNS = {"generation": 2, "traits": 2, "answered_by": 5}
"""First schema version with each column of the table `geo_cache`."""


def stand_in(connection: sqlite3.Connection, version: int) -> None:
    """Make a connection to an older store readable like one to a store of the current version."""
    connection.execute("PRAGMA temp_store = MEMORY")
    columns = "".join(f", NULL AS {name}" for name, since in _COLUMNS.items() if version < since)
    connection.execute(f"CREATE TEMP VIEW geo_cache AS SELECT rowid AS rowid, *{columns} FROM main.geo_cache")
    for since, table in _TABLES:
        if version < since:
            connection.execute(f"CREATE TEMP {table}")
