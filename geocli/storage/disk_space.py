"""Size of a flush's transactions by the free disk space.

SQLite writes changed pages to the WAL, and copies them to the database before it can empty the WAL. With little space,
a segment is stored in several transactions, with a checkpoint after each.
"""

from __future__ import annotations

import os

BLOCK_ROWS = 25_000
"""Rows that are sorted and upserted together."""
CACHE_BYTES, MIN_CACHE_BYTES = 96 << 20, 256 << 10
"""Page cache of a flush; random keys take half the time of SQLite's default of 2 MB."""
ROW_LOG_BYTES = 8192
"""Maximum growth of the WAL for a row: a page of the index of addresses, and parts of others."""
MIN_ROWS = 50
"""Rows of the smallest block; fewer take hardly less space."""
RESERVE_BYTES = 1 << 20
"""Space that a flush leaves free for appends to the journal."""
LOG_SUFFIX, USUAL_LOG_BYTES = "-wal", 1000 * (4096 + 24)
"""Suffix of the WAL, and its size at which SQLite makes a checkpoint: 1000 pages."""
ENTRY_BYTES = 600
"""Maximum size of an entry in the store, with its indexes, for databases with many traits."""


class DiskSpace:
    """Plans the transactions of a flush by the free space of the store's file system.

    Attributes:
        block_rows: rows of a block in the current transaction.
        cache_bytes: size of SQLite's page cache in the current transaction.

    """

    def __init__(self, path: str) -> None:
        self._directory = os.path.dirname(path)
        self._block_limit = BLOCK_ROWS
        self.block_rows, self.cache_bytes = BLOCK_ROWS, CACHE_BYTES

    def begin(self) -> None:
        """Plan a transaction: half of the free space is reserved for pages that are not yet in the WAL."""
        self._free_at_begin = free_bytes(self._directory)
        half = max(self._free_at_begin - RESERVE_BYTES, 0) // 2
        self.cache_bytes = min(max(half // 2, MIN_CACHE_BYTES), CACHE_BYTES)
        self.block_rows = max(min(half // 2 // ROW_LOG_BYTES, self._block_limit), MIN_ROWS)
        self._used_bytes = self._largest_step_bytes = 0

    def is_enough(self, growth_bytes: int) -> bool:
        """Return whether the transaction may store another block, by the growth of the file at the next checkpoint."""
        bytes_free = free_bytes(self._directory)
        used_bytes = self._free_at_begin - bytes_free + growth_bytes
        self._largest_step_bytes = max(self._largest_step_bytes, used_bytes - self._used_bytes)
        self._used_bytes = used_bytes
        needed_bytes = growth_bytes + self.cache_bytes + 2 * self._largest_step_bytes
        return self._block_limit == BLOCK_ROWS and bytes_free - RESERVE_BYTES >= needed_bytes

    def shrink(self) -> bool:
        """Plan smaller blocks after the disk was full; return False if they are the smallest."""
        self._block_limit = self.block_rows // 2
        return self.block_rows > MIN_ROWS


def free_bytes(directory: str) -> int:
    """Return the number of bytes that can be written to the file system of a directory."""
    space = os.statvfs(directory)
    return space.f_bavail * space.f_frsize
