"""Clearing the store: rows are deleted at one point in the order of segments.

The number of that point stands in the same transaction. What appends and what reads compares it: what was learned
before and is not yet stored was cleared too, and nothing that was read before may be kept or believed after it.
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
    from geocli.storage.store_writer import StoreWriter
    from geocli.storage.tombstones import Clear

STATEMENT_ADDRESSES = 500
"""Addresses that one SELECT asks for."""


def clear(writer: StoreWriter, journal: Journal, wanted: Clear) -> int:
    """Delete the rows that were asked for, and return how many.

    If everything is cleared, dirty addresses count as the rows that a flush would have made of them. The caller
    holds the lock of flushes.

    Raises:
        StoreError: nothing was cleared.
        JournalError: nothing was cleared, because the journal cannot be sealed.
        BusyError: nothing was cleared, because another program keeps the store or the journal locked.

    """
    with ExitStack() as held, writer.transaction() as db:
        count = _count_dirty(db, journal) if wanted.is_whole else 0
        count += _delete(db, wanted)
        # Until the end of the transaction nobody can append what was read before it.
        held.enter_context(journal.sealing(writer.next_number()))
        number = journal.next_number(writer.next_number())
        db.execute("INSERT INTO clears VALUES (?, ?, ?)", (number, wanted.only_unresolved, wanted.resolved_before))
    return count


def _delete(db: sqlite3.Connection, wanted: Clear) -> int:
    """Delete rows; without a condition, SQLite frees all pages of a table without writing them."""
    conditions = []
    if wanted.only_unresolved:
        conditions.append("status = 'unresolved'")
    if wanted.resolved_before is not None:
        conditions.append("resolved_at < ?")
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    values = [wanted.resolved_before] if wanted.resolved_before is not None else []
    return db.execute(f"DELETE FROM geo_cache{where}", values).rowcount


def _count_dirty(db: sqlite3.Connection, journal: Journal) -> int:
    """Return how many dirty addresses have no row, as far as the journal can be read."""
    count = 0
    with suppress(JournalError):  # told when the segments are discarded
        for addresses in journal.distinct():
            count += _not_stored(db, addresses)
    return count


def _not_stored(db: sqlite3.Connection, addresses: Iterable[str]) -> int:
    """Return how many of some addresses have no row."""
    count, rest = 0, iter(addresses)
    while block := list(islice(rest, STATEMENT_ADDRESSES)):
        marks = ", ".join("?" * len(block))
        ((stored,),) = db.execute(f"SELECT COUNT(*) FROM geo_cache WHERE ip IN ({marks})", block).fetchall()
        count += len(block) - stored
    return count
