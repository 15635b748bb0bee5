"""How much of a segment one transaction of a flush may store, by the free space of the disk.

What a transaction changes is written to SQLite's log, and then to the file, before the log can be emptied. Until then
both take space. Where there is little, rows are stored in several transactions, with a checkpoint after each.
"""

from __future__ import annotations

import os

BLOCK_ROWS = 25_000
"""Rows that are sorted and upserted together."""
CACHE_BYTES, LEAST_CACHE_BYTES = 96 << 20, 256 << 10
"""Page cache of a flush: random keys cost half as much as with SQLite's default of 2 MB."""
ROW_LOG_BYTES = 8192
"""What a row adds to the log at most: a page of the index of addresses, and parts of others."""
LEAST_ROWS = 50
"""Fewer rows at once take hardly less room."""
RESERVE_BYTES = 1 << 20
"""What a flush leaves free, so that answers can be journaled meanwhile."""
LOG_SUFFIX, USUAL_LOG_BYTES = "-wal", 1000 * (4096 + 24)
"""Ends the name of the store's log; a log of 1000 pages, at which SQLite makes a checkpoint, is not larger."""
ENTRY_BYTES = 600
"""What a dirty entry takes in the store at most, if its databases say much: a row with its indexes."""


class Room:
    """The free space around a store, from one transaction to the next."""

    def __init__(self, path: str) -> None:
        """Name the store."""
        self._directory = os.path.dirname(path)
        self._block_limit = BLOCK_ROWS
        self.block_rows, self.cache_bytes = BLOCK_ROWS, CACHE_BYTES
        """For the transaction that has begun: rows to sort together, and the size of SQLite's page cache."""

    def begin(self) -> None:
        """Plan a transaction: half of the free space is for what is not yet in the log when it is looked at."""
        self._free_at_begin = free_bytes(self._directory)
        half = max(self._free_at_begin - RESERVE_BYTES, 0) // 2
        self.cache_bytes = min(max(half // 2, LEAST_CACHE_BYTES), CACHE_BYTES)
        self.block_rows = max(min(half // 2 // ROW_LOG_BYTES, self._block_limit), LEAST_ROWS)
        self._used_bytes = self._largest_step_bytes = 0

    def is_enough(self, growth_bytes: int) -> bool:
        """Return whether the transaction may store another block.

        Args:
            growth_bytes: by how much the file will grow at the next checkpoint.

        """
        free = free_bytes(self._directory)
        used = self._free_at_begin - free + growth_bytes
        self._largest_step_bytes = max(self._largest_step_bytes, used - self._used_bytes)
        self._used_bytes = used
        needed = growth_bytes + self.cache_bytes + 2 * self._largest_step_bytes
        return self._block_limit == BLOCK_ROWS and free - RESERVE_BYTES >= needed

    def shrink(self) -> bool:
        """Plan for less, since the disk was full all the same; return False if that is not possible."""
        self._block_limit = self.block_rows // 2
        return self.block_rows > LEAST_ROWS


def free_bytes(directory: str) -> int:
    """Return how many bytes a user can write to the file system of a directory."""
    space = os.statvfs(directory)
    return space.f_bavail * space.f_frsize
