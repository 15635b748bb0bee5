"""The schema of the store, version by version; imported only to create or to migrate a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlite_utils import Database

from geocli.storage.store import SCHEMA_VERSION
from geocli.storage.store_rows import COLUMNS

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable


def _version_1(db: Database) -> None:
    text = dict.fromkeys(COLUMNS[:-2], str)
    numbers = {"latitude": float, "longitude": float, "asn": int, "prefix_len": int}
    db.table("geo_cache").create(text | numbers, pk="ip", not_null={"status"})
    db.execute("CREATE INDEX geo_cache_retry_at ON geo_cache(retry_at) WHERE retry_at IS NOT NULL")
    db.table("applied_segments").create({"uuid": str, "number": int, "applied_at": str}, pk="uuid")
    db.table("last_flush").create({"id": int, "finished_at": str, "entries": int, "duration_seconds": float}, pk="id")


def _version_2(db: Database) -> None:
    db.table("geo_cache").add_column("generation", int)
    db.table("geo_cache").add_column("traits", str)
    db.table("generations").create({"id": int, "sources": str}, pk="id")
    db.table("generations").create_index(["sources"], unique=True)
    columns = {"path": str, "inode": int, "size": int, "mtime_ns": int, "source": str}
    db.table("source_files").create(columns, pk="path")


def _version_3(db: Database) -> None:
    db.table("geo_cache").add_column("segment", int)
    db.table("geo_cache").add_column("tried_segment", int)


def _version_4(db: Database) -> None:
    db.execute("CREATE INDEX geo_cache_generation ON geo_cache(generation)")


def _version_5(db: Database) -> None:
    clears = {"number": int, "only_unresolved": int, "resolved_before": str}
    db.table("clears").create(clears, pk="number", not_null={"only_unresolved"})
    offsets = {"uuid": str, "stored_bytes": int, "stored_rows": int}
    db.table("segment_offsets").create(offsets, pk="uuid", not_null={"stored_bytes", "stored_rows"})
    db.table("geo_cache").add_column("answered_by", int)
    db.table("source_files").drop()  # replaced by databases/digest_cache.py


MIGRATIONS: tuple[Callable[[Database], None], ...] = (_version_1, _version_2, _version_3, _version_4, _version_5)
"""Migrations to each version of the schema."""


def migrate(connection: sqlite3.Connection, version: int) -> None:
    """Migrate a store from a version to `SCHEMA_VERSION`, within the transaction of the caller."""
    db = Database(connection, execute_plugins=False)
    for step in MIGRATIONS[version:]:
        step(db)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
