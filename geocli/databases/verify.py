"""Verify that an .mmdb file is the installed one, and that all of it is readable."""

from __future__ import annotations

from collections import Counter
from marshal import dumps
from typing import TYPE_CHECKING, Any

from geocli.databases.database import MAX_RECORD_BYTES, TOO_LARGE, Database, kind_of
from geocli.databases.discovery import examine
from geocli.databases.install import check_sidecar
from geocli.databases.tree_nodes import SEPARATOR_BYTES, check_tree
from geocli.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Callable


REPLACE_SAFELY = "reinstall it with: geocli db update, or write a new file and mv it to this path"
"""Advice; truncating a file kills the processes that have it mapped."""
REPORT_NETWORKS = 1_000
"""Networks between two reports of progress."""


def verify(
    path: str, on_read: Callable[[str, int, int | None], None] = lambda _path, _count, _total: None
) -> Counter[str]:
    """Compare a database with the hash that was written when it was installed, then read all of it.

    Returns the number of its networks by the type of their records: `map`, `string`, ... `on_read` is called with the
    path, a number of read networks, and their approximate total.

    Raises:
        HashMismatchError: the content is not the installed one.
        DatabaseError: the metadata are invalid, or the database is not readable to its end.

    """
    database = Database(examine(path))
    try:
        check_sidecar(path)
        _check_metadata(database)
        check_tree(database)
        kinds, node_count = Counter[str](), database.reader.metadata().node_count
        for count, (_, record) in enumerate(database.reader, 1):
            kinds[_kind_of(record)] += 1
            if not count % REPORT_NETWORKS:
                on_read(path, REPORT_NETWORKS, node_count)
    except (RuntimeError, ValueError) as error:
        raise DatabaseError(path, f"damaged: {error}; {REPLACE_SAFELY}") from error
    except OSError as error:
        raise DatabaseError(error.filename or path, f"cannot be read: {error.strerror}") from error
    if not kinds:
        raise DatabaseError(path, f"contains no network; {REPLACE_SAFELY}")
    return kinds


def _kind_of(record: Any) -> str:
    """Return the type of a record."""
    if len(dumps(record)) > MAX_RECORD_BYTES:
        raise ValueError(TOO_LARGE)
    return kind_of(record)


def _check_metadata(database: Database) -> None:
    """Check the metadata that the reader does not check when it opens the file."""
    metadata = database.reader.metadata()
    if not metadata.database_type or database.built_at is None:
        raise ValueError("no type or no date in its metadata")
    with open(database.file.path, "rb") as file:
        file.seek(metadata.node_count * metadata.record_size // 4)
        separator = file.read(SEPARATOR_BYTES)
    if separator != bytes(SEPARATOR_BYTES):
        raise ValueError("the size of its search tree is not that of its metadata")
