"""Checking that an .mmdb file is the one that was installed, and that all of it can be read."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from geocli.databases.database import MAX_RECORD_BYTES, TOO_LARGE, Database, kind_of, size_of
from geocli.databases.discovery import examine
from geocli.databases.install import check_sidecar
from geocli.databases.tree_check import check_tree
from geocli.databases.tree_nodes import SEPARATOR_BYTES
from geocli.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Callable


REPLACE_SAFELY = "install it anew: geocli db update, or write it beside the old one and mv it into place"
"""What to do; cutting a file short that others have open would kill them."""
TOLD_AFTER = 1_000
"""Networks between two reports."""


def verify(
    path: str, on_read: Callable[[str, int, int | None], None] = lambda _path, _count, _total: None
) -> Counter[str]:
    """Compare a database with the hash that was written when it was installed, then read all of it.

    Args:
        path: the database.
        on_read: told of which file how many networks more were read, and about how many there are.

    Returns:
        The numbers of its networks by the kind of their records: `map`, `string`, ...

    Raises:
        HashMismatchError: the bytes are others than those that were installed.
        DatabaseError: its metadata are not what they must be, or it cannot be read to its end.

    """
    database = Database(examine(path))
    try:
        check_sidecar(path)
        _check_metadata(database)
        check_tree(database)
        kinds, node_count = Counter[str](), database.reader.metadata().node_count
        for count, (_, record) in enumerate(database.reader, 1):
            kinds[_kind_of(record)] += 1
            if not count % TOLD_AFTER:
                on_read(path, TOLD_AFTER, node_count)
    except (RuntimeError, ValueError) as error:
        raise DatabaseError(path, f"damaged: {error}; {REPLACE_SAFELY}") from error
    except OSError as error:
        raise DatabaseError(error.filename or path, f"cannot be read: {error.strerror}") from error
    if not kinds:
        raise DatabaseError(path, f"holds no network; {REPLACE_SAFELY}")
    return kinds


def _kind_of(record: object) -> str:
    """Return the kind of a record.

    Raises:
        ValueError: it is too large.

    """
    if size_of(record) > MAX_RECORD_BYTES:
        raise ValueError(TOO_LARGE)
    return kind_of(record)


def _check_metadata(database: Database) -> None:
    """Check what the reader did not when it opened the file: format, version and sizes make sense by now.

    Raises:
        ValueError: there is no type or date, or the search tree has another size.

    """
    said = database.reader.metadata()
    if not said.database_type or database.built_at is None:
        raise ValueError("its metadata have no type, or no date")
    with open(database.file.path, "rb") as file:
        file.seek(said.node_count * said.record_size // 4)
        separator = file.read(SEPARATOR_BYTES)
    if separator != bytes(SEPARATOR_BYTES):
        raise ValueError("its search tree does not end where its metadata say")
