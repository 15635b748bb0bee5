"""All networks of a database, in the order of their addresses."""

from __future__ import annotations

from ctypes import byref
from typing import TYPE_CHECKING

from geocli.databases.tree_nodes import nodes
from geocli.engine.kernel import Cursor, Network, kernel, load
from geocli.engine.search_tree import SearchTree
from geocli.errors import DatabaseError

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterator

    from geocli.databases.database import Database

READ_TOGETHER = 4096
"""Networks that the kernel finds in one call."""
TOO_DEEP = "damaged: its search tree is deeper than addresses have bits"


def networks(database: Database) -> Iterator[tuple[int, int, int]]:
    """Return all networks, those without data too: the first address, the prefix length, and the offset of the data.

    Addresses are those of the tree: with 128 bits in one of IPv6, also for IPv4. The offset is 0 where there are no
    data. In a graph there may be 2^128 networks; `check_tree` excludes that.

    Raises:
        DatabaseError: the tree is damaged, or the file cannot be read or was replaced.

    """
    return _walked(database) if load() is None else _found(SearchTree(database))


def _found(tree: SearchTree) -> Iterator[tuple[int, int, int]]:
    cursor, found = Cursor(), (Network * READ_TOGETHER)()
    while count := kernel().networks(byref(tree.tree), byref(cursor), found, READ_TOGETHER):
        if count < 0:
            raise DatabaseError(tree.database.file.path, TOO_DEEP)
        for network in found[:count]:
            yield network.high << 64 | network.low, network.prefix, network.offset


def _walked(database: Database) -> Iterator[tuple[int, int, int]]:
    """Do the same without the kernel."""
    path, bits = database.file.path, 32 if database.only_ipv4 else 128
    records = _nodes(database)
    node_count, waiting = len(records) // 2, [(0, 0, 0)]
    while waiting:
        record, address, depth = waiting.pop()
        if record >= node_count:
            yield address, depth, record - node_count
        elif depth == bits:
            raise DatabaseError(path, TOO_DEEP)
        else:
            left, right = records[2 * record : 2 * record + 2]
            depth += 1
            waiting += [(right, address | 1 << (bits - depth), depth), (left, address, depth)]


def _nodes(database: Database) -> array[int]:
    try:
        return nodes(database)
    except (OSError, ValueError) as error:
        raise DatabaseError(database.file.path, str(error)) from error
