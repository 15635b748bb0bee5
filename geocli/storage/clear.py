"""Clear the store: rows are deleted at one point in the order of segments.

The transaction also stores the number of that point. Readers and appenders compare it: older entries that are not yet
stored are cleared, too, and no entry that was read before may be appended or used after it.
"""

from __future__ import annotations

from contextlib import ExitStack, suppress
from itertools import islice
from typing import TYPE_CHECKING

from geocli.errors import JournalError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    from geocli.storage.journal import Journal
    from geocli.storage.store_transactions import StoreWriter
    from geocli.storage.tombstones import Clear

STATEMENT_ADDRESSES = 500
"""Addresses of one SELECT."""


def clear(writer: StoreWriter, journal: Journal, wanted: Clear) -> int:
    """Delete rows, and return their number; with a whole clear, also that of dirty addresses without a row.

    The caller holds the lock of flushes.

    Raises:
        StoreError: nothing was cleared.
        JournalError: nothing was cleared, because the journal cannot be sealed.
        BusyError: nothing was cleared, because another program locked the store or the journal.

    """
    with ExitStack() as stack, writer.transaction() as db:
        count = _count_dirty(db, journal) if wanted.is_whole else 0
        count += _delete(db, wanted)
        # Until the end of the transaction no process can append entries that were read before it.
        stack.enter_context(journal.sealing(writer.next_number()))
        number = journal.next_number(writer.next_number())
        db.execute("INSERT INTO clears VALUES (?, ?, ?)", (number, wanted.only_unresolved, wanted.resolved_before))
    return count


def _delete(db: sqlite3.Connection, wanted: Clear) -> int:
    """Delete rows; without a condition, SQLite frees the pages of the table without writing them."""
    conditions = []
    if wanted.only_unresolved:
        conditions.append("status = 'unresolved'")
    if wanted.resolved_before is not None:
        conditions.append("resolved_at < ?")
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    values = [wanted.resolved_before] if wanted.resolved_before is not None else []
    return db.execute(f"DELETE FROM geo_cache{where}", values).rowcount


def _count_dirty(db: sqlite3.Connection, journal: Journal) -> int:
    """Return the number of dirty addresses without a row, as far as the journal can be read."""
    count = 0
    with suppress(JournalError):  # reported when the segments are discarded
        for addresses in journal.distinct():
            count += _not_stored(db, addresses)
    return count


def _not_stored(db: sqlite3.Connection, addresses: Iterable[str]) -> int:
    """Return the number of addresses without a row."""
    count, rest = 0, iter(addresses)
    while block := list(islice(rest, STATEMENT_ADDRESSES)):
        marks = ", ".join("?" * len(block))
        ((stored,),) = db.execute(f"SELECT COUNT(*) FROM geo_cache WHERE ip IN ({marks})", block).fetchall()
        count += len(block) - stored
    return count
