"""Data directories, and the entries and rows in those of geocli processes."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

from geocli.storage.directory import DataDirectory
from geocli.storage.journal import Journal

if TYPE_CHECKING:
    from pathlib import Path

    from geocli.models import Entry
    from tests.helpers.geocli_process import Geocli


def local(path: Path) -> DataDirectory:
    """Return a data directory, also if temporary files are on a network file system."""
    return DataDirectory(str(path), allow_network_fs=True)


def dirty(geocli: Geocli) -> list[Entry]:
    """Return the entries in the journal of geocli."""
    return list(Journal(DataDirectory(str(geocli.data_dir))).dirty())


def stored_rows(geocli: Geocli, columns: str = "ip") -> list[tuple[Any, ...]]:
    """Return the rows in the store of geocli, by address."""
    with closing(sqlite3.connect(geocli.data_dir / "geocli.db")) as db:
        return db.execute(f"SELECT {columns} FROM geo_cache ORDER BY ip").fetchall()
