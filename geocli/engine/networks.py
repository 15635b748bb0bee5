"""Walk over all networks of a database in the order of their addresses."""

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

NETWORKS_PER_CALL = 4096
"""Maximum number of networks that one call of the kernel returns."""
TOO_DEEP = "damaged: its search tree is deeper than addresses have bits"


def networks(database: Database) -> Iterator[tuple[int, int, int]]:
    """Yield all networks, including those without data: the first address, the prefix length, the offset of the data.

    Addresses have 128 bits in an IPv6 tree, including those of IPv4. The offset is 0 for networks without data. A
    malformed tree, in which nodes are shared, may have 2^128 networks; call `check_tree` first.

    Raises:
        DatabaseError: the tree is damaged, or the file cannot be read or was replaced.

    """
    return _walk(database) if load() is None else _walk_by_kernel(SearchTree(database))


def _walk_by_kernel(tree: SearchTree) -> Iterator[tuple[int, int, int]]:
    cursor, buffer = Cursor(), (Network * NETWORKS_PER_CALL)()
    while count := kernel().networks(byref(tree.tree), byref(cursor), buffer, NETWORKS_PER_CALL):
        if count < 0:
            raise DatabaseError(tree.database.file.path, TOO_DEEP)
        for network in buffer[:count]:
            yield network.high << 64 | network.low, network.prefix, network.offset


def _walk(database: Database) -> Iterator[tuple[int, int, int]]:
    """Walk without the kernel."""
    path, bits = database.file.path, 32 if database.only_ipv4 else 128
    records = _nodes(database)
    node_count, pending = len(records) // 2, [(0, 0, 0)]
    while pending:
        record, address, depth = pending.pop()
        if record >= node_count:
            yield address, depth, record - node_count
        elif depth == bits:
            raise DatabaseError(path, TOO_DEEP)
        else:
            left, right = records[2 * record : 2 * record + 2]
            depth += 1
            pending += [(right, address | 1 << (bits - depth), depth), (left, address, depth)]


def _nodes(database: Database) -> array[int]:
    try:
        return nodes(database)
    except (OSError, ValueError) as error:
        raise DatabaseError(database.file.path, str(error)) from error
