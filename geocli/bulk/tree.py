"""The search tree of a database, walked for many addresses at once.

Follows the MaxMind DB File Format Specification, version 2.0 (maxmind.github.io/MaxMind-DB): nodes of two
records of 24, 28 or 32 bits, of which each names the next node, nothing, or where data are.
"""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING

import numpy as np

from geocli.errors import DatabaseError

if TYPE_CHECKING:
    from typing import Self

    from numpy.typing import NDArray

    from geocli.databases.database import Database
    from geocli.databases.discovery import DatabaseFile

NOTHING = 0
"""The offset of an address without a record; data begin after 16 zeros, so that no record is there."""
FIRST_BITS = 16
"""So many bits of an address are looked up in a table, which is made when the tree is opened."""
IPV4_BITS = 96
"""An IPv4 address stands in an IPv6 tree under so many zeros."""
SEPARATOR_BYTES = 16
"""Zeros between the tree and the data."""


class Tree:
    """A search tree, in a memory map of its file."""

    def __init__(self, file: DatabaseFile, node_count: int, record_size: int, ip_version: int) -> None:
        """Map a file whose metadata have been read.

        Args:
            file: the database; if another file is at its path by now, that is an error.
            node_count: nodes of the tree.
            record_size: bits of a record: 24, 28 or 32.
            ip_version: 4 for a tree of 32 levels, 6 for one of 128.

        Raises:
            DatabaseError: it is damaged, or was replaced.

        """
        self._path, self._node_count, self._record_size, self._ip_version = (
            file.path,
            node_count,
            record_size,
            ip_version,
        )
        self._node_bytes = record_size // 4
        self._map = _mapped(file)
        self._data_bytes = len(self._map) - node_count * self._node_bytes - SEPARATOR_BYTES
        if record_size not in {24, 28, 32} or ip_version not in {4, 6} or node_count <= 0 or self._data_bytes <= 0:
            raise self._damaged("its search tree does not fit into the file")
        octets = np.frombuffer(self._map, np.uint8, node_count * self._node_bytes + SEPARATOR_BYTES)
        self._words = np.lib.stride_tricks.as_strided(octets[:4].view(">u4"), (len(octets) - 3,), (1,))
        """The four bytes from each byte of the tree on, as big-endian numbers."""
        self._ipv4_root = self._find_ipv4_root()
        self._tables: dict[int, tuple[NDArray[np.int64], NDArray[np.uint8]]] = {}

    @classmethod
    def of(cls, database: Database) -> Self:
        """Map an open database.

        Raises:
            DatabaseError: it is damaged, or was replaced.

        """
        metadata = database.reader.metadata()
        return cls(database.file, metadata.node_count, metadata.record_size, metadata.ip_version)

    def walk(self, addresses: NDArray[np.unsignedinteger]) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """Find the records of many addresses.

        Args:
            addresses: of IPv4 as uint32 with shape (n,); of IPv6 as uint64 with shape (n, 2), the high half first.

        Returns:
            Where the data of each begin, in bytes from the end of the tree, `NOTHING` where there are none, as
            int64; and the length in bits of the prefix that this holds for, as uint8.

        Raises:
            DatabaseError: the tree is damaged on the way to one of the addresses.

        """
        is_ipv4 = addresses.ndim == 1
        bits = 32 if is_ipv4 else 128
        halves = addresses.reshape(-1, 1) if is_ipv4 else addresses
        width = 32 if is_ipv4 else 64
        nodes, depths = (column[halves[:, 0] >> (width - FIRST_BITS)] for column in self._table(bits))
        active = np.flatnonzero(nodes < self._node_count)
        for depth in range(FIRST_BITS, bits):
            if not len(active):
                break
            half, shift = halves[active, depth // width], width - 1 - depth % width
            found = self._next(nodes[active], (half >> shift & 1).astype(np.int64))
            nodes[active], depths[active] = found, depth + 1
            active = active[found < self._node_count]
        return self._offsets(nodes), depths

    def _table(self, bits: int) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """Return where the walk is after the first bits of an address, and how many bits it took."""
        if bits not in self._tables:
            nodes = np.array([self._ipv4_root if bits == 32 else 0])
            depths = np.zeros(1, np.uint8)
            for depth in range(FIRST_BITS):
                nodes, depths, bit = nodes.repeat(2), depths.repeat(2), np.tile([0, 1], len(nodes))
                active = nodes < self._node_count
                nodes[active], depths[active] = self._next(nodes[active], bit[active]), depth + 1
            self._tables[bits] = nodes, depths
        return self._tables[bits]

    def _find_ipv4_root(self) -> int:
        """Return where the walk of an IPv4 address begins."""
        node = np.zeros(1, np.int64)
        for _ in range(IPV4_BITS if self._ip_version == 6 else 0):
            node = self._next(node, np.zeros(1, np.int64)) if node[0] < self._node_count else node
        return int(node[0])

    def _next(self, nodes: NDArray[np.int64], bits: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the left or right records of nodes."""
        if self._record_size == 28:
            words = self._read(nodes * 7 + bits * 3)
            return np.where(bits, words & 0x0FFFFFFF, words >> 8 | (words & 0xF0) << 20)
        words = self._read(nodes * self._node_bytes + bits * (self._node_bytes // 2))
        return words >> 8 if self._record_size == 24 else words

    def _read(self, at: NDArray[np.int64]) -> NDArray[np.int64]:
        return self._words[at].astype(np.int64)

    def _offsets(self, records: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where the data are that records name, and check that this is in the file."""
        offsets = records - self._node_count
        is_wrong = (offsets < 0) | (offsets >= self._data_bytes) | ((offsets > 0) & (offsets < SEPARATOR_BYTES))
        if is_wrong.any():
            raise self._damaged("its search tree points to where no data are")
        return offsets

    def _damaged(self, reason: str) -> DatabaseError:
        return DatabaseError(self._path, f"damaged: {reason}; install it anew")


def _mapped(file: DatabaseFile) -> mmap.mmap:
    try:
        descriptor = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            found = os.fstat(descriptor)
            seen = file.path, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
            if seen != file.identity:
                raise DatabaseError(file.path, "was replaced meanwhile")
            return mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise DatabaseError(file.path, f"cannot be read: {error.strerror}") from error
