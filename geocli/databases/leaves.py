"""Find the leaves of a search tree in Python, so that the record of many addresses need be read only once.

The reader decodes a record for each address, which takes two to ten times as long as this walk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from geocli.databases.discovery import examine
from geocli.databases.tree_nodes import nodes
from geocli.errors import DatabaseError

if TYPE_CHECKING:
    from geocli.addresses import Address
    from geocli.databases.database import Database

    Leaf: TypeAlias = tuple[int, int, int]
    """Bits of an address, the leaf, and the bits below it."""
    Walks: TypeAlias = dict[int, tuple[int, int]]
    """By leading bits: the last node, and the number of bits that follow."""

FIRST_BITS = 16
"""Bits whose walk is remembered."""
IPV4_DEPTH = 96
"""Zeros before an IPv4 address in a tree of IPv6."""


class Leaves:
    """The leaves of one search tree; of a damaged one, those within the bits of an address."""

    def __init__(self, database: Database) -> None:
        """Read the tree, which takes about 0.1 s.

        Raises:
            ValueError: the tree does not fit into its file.
            OSError: the file cannot be read.
            DatabaseError: it is not the one that is open.

        """
        self._nodes = nodes(database)
        if examine(database.file.path, database.file.directory) != database.file:
            raise DatabaseError(database.file.path, "was replaced meanwhile")
        self._count = len(self._nodes) // 2
        root = 0 if database.only_ipv4 else self._walk(0, 0, IPV4_DEPTH, 0)[0]
        self._starts: dict[int, tuple[int, Walks, Walks]] = {32: (root, {}, {}), 128: (0, {}, {})}
        """By the bits of addresses: where walks begin, and those of the first octets and of the first bits."""

    def leaf(self, address: Address) -> Leaf:
        """Return the leaf of an address; all addresses with the same one have the same record and prefix length."""
        number, bits = int(address), address.max_prefixlen
        root, octets, walks = self._starts[bits]
        first = number >> (bits - FIRST_BITS)
        walk = walks.get(first)
        if walk is None:
            octet = first >> (FIRST_BITS - 8)
            if octet not in octets:
                octets[octet] = self._walk(number, root, bits, bits - 8)
            walk = walks[first] = self._walk(number, *octets[octet], bits - FIRST_BITS)
        node, below = walk
        if node >= self._count:
            return bits, node, below
        return bits, *self._walk(number, node, below, 0)

    def _walk(self, number: int, node: int, below: int, end: int) -> tuple[int, int]:
        """Follow a number from a node with some bits below it; return the last node and the bits below it."""
        nodes, count = self._nodes, self._count
        while below > end and node < count:
            below -= 1
            node = nodes[2 * node + (number >> below & 1)]
        return node, below
