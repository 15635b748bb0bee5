"""Reading a store of an older schema until a flush migrates it.

Views and tables of the connection stand in for what the store lacks: SQLite looks names up among them before those of
the file (https://sqlite.org/lang_naming.html).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

_LACKING: tuple[tuple[int, str], ...] = (
    (2, "TABLE generations (id INTEGER PRIMARY KEY, sources TEXT)"),
    (5, "TABLE clears (number INTEGER PRIMARY KEY, only_unresolved INTEGER, resolved_before TEXT)"),
)
"""From which version on a store has something that readers ask for, and what stands in for it."""
_COLUMNS = {"generation": 2, "traits": 2, "answered_by": 5}
"""From which version on the table `geo_cache` has a column that readers ask for."""


def stand_in(connection: sqlite3.Connection, version: int) -> None:
    """Let a connection to a store of an older version be asked like one to a store of the current version."""
    connection.execute("PRAGMA temp_store = MEMORY")
    columns = "".join(f", NULL AS {name}" for name, since in _COLUMNS.items() if version < since)
    connection.execute(f"CREATE TEMP VIEW geo_cache AS SELECT rowid AS rowid, *{columns} FROM main.geo_cache")
    for since, lacking in _LACKING:
        if version < since:
            connection.execute(f"CREATE TEMP {lacking}")
